"""Which keywords stand in a list: all that any list of the picture held, a person's first, then ours.  Pure.

Programs read one list and ignore the others: Immich TagsList, else hierarchicalSubject, else IPTC's.  So each
list that is written says what all of them said.  Flat lists hold words, trees hold paths.  Nothing that a
person wrote is removed or respelt; a list does not get a keyword that it cannot hold unchanged.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from captiond import characters
from captiond.records import Texts

from .policy import HIERARCHY, KEYWORDS, TAGS, Said
from .refusal import Refused

Path = tuple[str, ...]  # from the root to the word itself
_OURS = "|"  # between the parts of a path in `Texts`


class Kind(Enum):
    """A kind of list: what stands between the parts of a path, what no word may hold, and its longest."""

    FLAT = (None, "", 0)
    TREE_BY_SLASH = ("/", "/", 0)  # digiKam's
    TREE_BY_BAR = ("|", "|", 0)  # Lightroom's
    WINDOWS = (None, ";", 0)
    IPTC = (None, "", 64)  # bytes: IPTC-IIM 4.2, 2:25

    def __init__(self, separator: str | None, forbidden: str, longest: int) -> None:
        self.separator = separator
        self.forbidden = forbidden
        self.longest = longest  # 0: no limit

    def path(self, text: str) -> Path:
        """What an entry of such a list means."""
        parts = text.split(self.separator) if self.separator else [text]
        return tuple(part.strip() for part in parts if part.strip())

    def entry(self, path: Path) -> str | None:
        """The entry that means this; None if such a list cannot hold it."""
        text = self.separator.join(path) if self.separator else path[-1]
        if any(mark in part for part in path for mark in self.forbidden):
            return None
        return None if self.longest and len(text.encode()) > self.longest else text


_KINDS = {KEYWORDS: Kind.FLAT, TAGS: Kind.TREE_BY_SLASH, HIERARCHY: Kind.TREE_BY_BAR}


@dataclass(frozen=True, slots=True)
class Plan:
    """The change to a list: which of its entries go, and which are added behind the last."""

    removed: tuple[int, ...]
    added: tuple[str, ...]

    def over(self, existing: Sequence[str]) -> list[str]:
        kept = [text for place, text in enumerate(existing) if place not in self.removed]
        return [*kept, *self.added]


@dataclass(frozen=True, slots=True)
class Union:
    """What people said and what we say; and what we said before, which goes if we no longer say it."""

    theirs: tuple[Path, ...] = ()
    ours: tuple[Path, ...] = ()
    former: tuple[Path, ...] = ()

    @classmethod
    def of(cls, said: Iterable[Said], texts: Texts, own: Texts | None) -> Union:
        former = _paths(own) if own is not None else ()
        theirs = []
        for one in said:
            kind = _KINDS.get(one.field)
            text = _shown(one.text or "")
            if kind and text and text not in _entries(former, kind) and kind.path(text):
                theirs.append(kind.path(text))
        return cls(tuple(dict.fromkeys(theirs)), _paths(texts), former)

    @property
    def shared(self) -> tuple[str, ...]:
        """Our words that people had said before us: they stay when ours go."""
        said = {path[-1] for path in self.theirs}
        return tuple(dict.fromkeys(path[-1] for path in self.ours if path[-1] in said))

    def plan(self, existing: Sequence[str], kind: Kind) -> Plan:
        """The change to a list.  Raises: Refused, if a person's keyword cannot stand there unchanged."""
        shown = [_shown(text) for text in existing]
        gone = _entries(self.former, kind) - _entries(self.ours, kind)
        removed = tuple(place for place, text in enumerate(shown) if text in gone)
        if not self.ours:
            return Plan(removed, ())
        held = {text for text in shown if text not in gone}
        added = [*self._theirs_missing(held, kind)]
        folded = {_folded(text) for text in (*held, *added)}
        if kind.separator:
            folded |= {_folded(kind.path(text)[-1]) for text in (*held, *added) if kind.path(text)}
        for path in self.ours:
            entry = kind.entry(path)
            if entry is not None and _folded(entry) not in folded:
                folded.add(_folded(entry))
                added.append(entry)
        return Plan(removed, tuple(added))

    def _theirs_missing(self, held: Collection[str], kind: Kind) -> Iterator[str]:
        """People's keywords that the list lacks, each once."""
        meant = {kind.path(text) for text in held}
        told = set(held)
        for path in self._wanted(kind):
            entry = kind.entry(path)
            if path in meant or (len(path) == 1 and path[0] in told):
                continue
            if entry is None:
                raise Refused("a keyword that stands elsewhere cannot stand in this list as it is")
            meant.add(path)
            told.add(entry)
            yield entry

    def _wanted(self, kind: Kind) -> Iterator[Path]:
        """For a flat list the words; for a tree the paths, and in their place words that end no path."""
        if kind.separator is None:
            yield from dict.fromkeys(path[-1:] for path in self.theirs)
            return
        trees = [path for path in self.theirs if len(path) > 1]
        leaves = {path[-1] for path in trees}
        for path in self.theirs:
            if len(path) > 1:
                yield path
            elif path[0] not in leaves:
                inner = (tree[: tree.index(path[0]) + 1] for tree in trees if path[0] in tree)
                yield next(inner, path)


NO_KEYWORDS = Union()


def _paths(texts: Texts) -> tuple[Path, ...]:
    """Our keywords, each with its path if it has one, cleaned."""
    by_leaf: dict[str, Path] = {}
    for text in texts.keyword_paths:
        parts = tuple(filter(None, (characters.line(part) for part in text.split(_OURS))))
        if parts:
            by_leaf.setdefault(_folded(parts[-1]), parts)
    words = filter(None, map(characters.line, texts.keywords))
    paths = [by_leaf.pop(_folded(word), (word,)) for word in words]
    return tuple(dict.fromkeys([*paths, *by_leaf.values()]))


def _entries(paths: Iterable[Path], kind: Kind) -> set[str]:
    return {_shown(entry) for path in paths if (entry := kind.entry(path)) is not None}


def _shown(text: str) -> str:
    """A person's word unchanged, except for characters that no list can hold."""
    kept, line = text.strip(), characters.line(text)
    return kept if unicodedata.normalize("NFC", kept) == line else line


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
