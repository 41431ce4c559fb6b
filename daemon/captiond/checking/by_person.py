"""What a person writes instead of a model's texts: cleaned, and refused if it is over a limit.  Pure.

A model's text is cut to its limit.  A person's is not: they alone know what can be left out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from captiond import characters
from captiond.errors import Verdict
from captiond.records import FieldName, Limits, Texts

Words = str | Sequence[str] | None  # None: there is to be no such text
Changes = Mapping[FieldName, Words]

LONGEST_CAPTION = 4000  # characters; a JPEG holds 64 KiB of EXIF, and other programs use most of it
LONGEST_KEYWORD_BYTES = 64  # IPTC-IIM 4.2, 2:25
_APART = ";"  # separates keywords in each place that has them in one line


class Unfit(Verdict):
    """What a person wrote cannot stand as such a text, and why."""


def changed(texts: Texts, changes: Changes, limits: Limits) -> Texts:
    """`texts` with a person's `changes`; a text that stays the same is held to no limit.

    Raises: Unfit, if a change cannot stand.
    """
    news = {name: words for name, words in changes.items() if differs(texts, {name: words})}
    told: dict[str, Any] = {name: _cleaned(name, words, limits) for name, words in news.items()}
    if "keywords" in told:
        told["keyword_paths"] = _paths_to(told["keywords"], texts.keyword_paths)
    return replace(texts, **told)


def differs(texts: Texts, was: Changes) -> bool:
    """Whether any of `texts` differs from what `was` gives for it."""
    return any(_plain(name, getattr(texts, name)) != _plain(name, words) for name, words in was.items())


def _plain(name: FieldName, words: Words) -> object:
    """The words in a form to compare: for most texts an empty one equals None."""
    if words is None or isinstance(words, str):
        return words if words or name == "visible_text" else None
    return tuple(words) or None


def _cleaned(name: FieldName, words: Words, limits: Limits) -> str | tuple[str, ...] | None:
    what = name.replace("_", " ")
    if name == "keywords":
        if isinstance(words, str):
            raise Unfit("the keywords are a list of texts")
        return _keywords(words or (), limits.keywords)
    if not (words is None or isinstance(words, str)):
        raise Unfit(f"the {what} is one text")
    line = None if words is None else cleaned(words, what)
    if name == "caption":
        return _within(_within(_some(line), LONGEST_CAPTION, what), limits.caption, what)
    most: int | None = getattr(limits, name)
    if name == "visible_text":  # an empty one says that there is nothing to be read
        return line if line is None else _within(line, most, what)
    return _within(line, most, what) if line else None


def cleaned(text: str, what: str = "text") -> str:
    """One line in NFC of what `characters` allows, like the model's texts.

    Raises: Unfit, if it holds half of a surrogate pair.
    """
    if any(unicodedata.category(char) == "Cs" for char in text):
        raise Unfit(f"the {what} is text: this holds half of a surrogate pair")
    return " ".join(characters.line(text).split())


def _some(line: str | None) -> str:
    if not line:
        raise Unfit("a caption has at least one word")
    return line


def _within(line: str, most: int | None, what: str) -> str:
    if most is not None and len(line) > most:
        raise Unfit(f"the {what} has at most {most:,} characters, and this has {len(line):,}")
    return line


def _keywords(words: Sequence[str], most: int) -> tuple[str, ...]:
    """The keywords, each once, spelt as it came first."""
    lines: dict[str, str] = {}
    for line in (cleaned(word, "keyword") for word in words):
        if _APART in line:
            raise Unfit(f"a keyword holds no semicolon: {line}")
        if len(line.encode()) > LONGEST_KEYWORD_BYTES:
            raise Unfit(f"a keyword has at most {LONGEST_KEYWORD_BYTES} bytes, and this has more: {line}")
        if line:
            lines.setdefault(line.casefold(), line)
    if len(lines) > most:
        raise Unfit(f"there are at most {most:,} keywords, and these are {len(lines):,}")
    return tuple(lines.values())


def _paths_to(keywords: Sequence[str], paths: Sequence[str]) -> tuple[str, ...]:
    """The paths that lead to a keyword which is still there."""
    leaves = {word.casefold() for word in keywords}
    return tuple(path for path in paths if path.rpartition("|")[2].strip().casefold() in leaves)
