"""A user's own list of keywords: terms, trees and synonyms, parsed from a text.  Pure.

One term a line.  `animal|dog` is a tree, of which every part is a term; `dog = hound, doggy` names synonyms;
what follows a `#` is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from captiond import characters
from captiond.checking.plurals import singulars

LONGEST_TERM_BYTES = 64  # IPTC's field for keywords holds no more
LONGEST_LINE = 2000
_COMMENT = re.compile(r"(?:^|\s)#.*")


class WrongVocabulary(ValueError):
    """A line of the vocabulary cannot be understood; the message names the line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Term:
    """A keyword of the user's, and its path if it is in a tree."""

    name: str
    path: str  # `animal|dog`; the name alone if it has no parent

    @property
    def is_in_tree(self) -> bool:
        return "|" in self.path


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Terms by the words that mean them, in lower case."""

    terms: dict[str, Term] = field(default_factory=dict)

    def find(self, said: str, *, english: bool = False) -> Term | None:
        """The term for a word: exact, by a synonym, or by an English singular or plural."""
        key = said.casefold()
        found = self.terms.get(key)
        if found is not None or not english:
            return found
        for one in singulars(key):
            if one in self.terms:
                return self.terms[one]
        return next((self.terms[one] for one in (f"{key}s", f"{key}es") if self._is_plural(one, key)), None)

    def _is_plural(self, one: str, key: str) -> bool:
        return one in self.terms and key in singulars(one)


def parse(text: str) -> Vocabulary:
    """The vocabulary in `text`.

    Raises: WrongVocabulary, if a line cannot be understood.
    """
    lines = list(_lines(text))
    terms: dict[str, tuple[Term, int]] = {}
    for number, parts, _ in lines:
        for depth in range(1, len(parts) + 1) if len(parts) > 1 else ():
            _add(terms, parts[depth - 1], Term(parts[depth - 1], "|".join(parts[:depth])), number)
    for number, parts, _ in lines:  # `dog = hound` means `animal|dog`, wherever that stands
        terms.setdefault(parts[-1].casefold(), (Term(parts[-1], parts[-1]), number))
    for number, parts, synonyms in lines:
        for synonym in synonyms:
            _add(terms, synonym, terms[parts[-1].casefold()][0], number)
    return Vocabulary({key: term for key, (term, _) in terms.items()})


def _lines(text: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """For each line with content: its number, the parts of its path, and the synonyms."""
    for number, raw in enumerate(text.splitlines(), 1):
        if len(raw) > LONGEST_LINE:
            raise WrongVocabulary(number, f"has more than {LONGEST_LINE} characters")
        said = characters.line(_COMMENT.sub("", raw.lstrip("\ufeff")))
        if said:
            left, is_told, right = said.partition("=")
            yield number, _parts(left, number), _listed(right, number) if is_told else []


def _parts(said: str, number: int) -> list[str]:
    parts = [" ".join(part.split()) for part in said.split("|")]
    if not all(parts):
        raise WrongVocabulary(number, "a term is missing beside `|` or before `=`")
    for part in parts:
        _checked(part, number)
    return parts


def _add(terms: dict[str, tuple[Term, int]], said: str, term: Term, number: int) -> None:
    known, line = terms.setdefault(said.casefold(), (term, number))
    if known.path.casefold() != term.path.casefold():
        raise WrongVocabulary(
            number, f"`{said}` would be `{term.path}`, but line {line} makes it `{known.path}`"
        )


def _listed(said: str, number: int) -> list[str]:
    synonyms = [" ".join(one.split()) for one in said.split(",")]
    if not all(synonyms):
        raise WrongVocabulary(number, "a synonym is missing behind `=` or beside a comma")
    if any("=" in one or "|" in one for one in synonyms):
        raise WrongVocabulary(number, "a synonym holds `=` or `|`")
    return synonyms


def _checked(part: str, number: int) -> None:
    if "," in part or ";" in part:
        raise WrongVocabulary(number, f"`{part}` holds a comma or a semicolon: one term stands on a line")
    if len(part.encode("utf-8")) > LONGEST_TERM_BYTES:
        raise WrongVocabulary(number, f"`{part[:40]}` has more than {LONGEST_TERM_BYTES} bytes")
