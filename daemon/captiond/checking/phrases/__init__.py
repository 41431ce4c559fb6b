"""The phrases by which refusals, preambles, labels and the like are known: data files, one for a language.

A phrase is written as people write it.  `{a|b|}` in it stands for one of several, or for nothing; a blank
for any white space, `...` for a few words of the same sentence, an apostrophe for every kind.  Case does not
count.  To teach captiond another language, copy a file; no code changes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from captiond.checking.scripts import is_unspaced

_PIECES = re.compile(r"\.\.\.| ?[{|}] ?|[^{|}. ]+|[ .]")
_NEVER = r"(?!)"
_SOME_WORDS = r"[^.!?。！？\n]{0,60}?"


def languages() -> tuple[str, ...]:
    """The languages that have a file."""
    return tuple(_all())


def of(language: str | None, key: str) -> tuple[str, ...]:
    """The phrases of one language under a dotted key; none if it has no file or no such key."""
    return tuple(one for one in _under(language, key) if isinstance(one, str))


def pairs(language: str | None, key: str) -> tuple[tuple[str, str], ...]:
    """The phrases that stand before and behind an answer, in pairs."""
    return tuple((one[0], one[1]) for one in _under(language, key) if isinstance(one, list) and len(one) == 2)


def _under(language: str | None, key: str) -> list[Any]:
    found: Any = _all().get((language or "").partition("-")[0].casefold(), {})
    for part in key.split("."):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, list) else []


@cache
def every(key: str) -> tuple[str, ...]:
    """The phrases of all languages under a dotted key: a model may answer in another than it was asked in."""
    return tuple(dict.fromkeys(phrase for language in languages() for phrase in of(language, key)))


def sentence(language: str | None, key: str) -> str:
    """One sentence of a language; the English one if it has none."""
    found = _all().get((language or "en").partition("-")[0].casefold(), {}).get(key)
    return str(found or _all()["en"][key])


def any_of(phrases: Iterable[str]) -> str:
    """A pattern that matches one of `phrases`, whole words, the longest first."""
    patterns = sorted({_pattern(phrase) for phrase in phrases}, key=len, reverse=True)
    return "|".join(patterns) or _NEVER


def _pattern(phrase: str) -> str:
    phrase = phrase.strip()
    made = "".join(_piece(piece) for piece in _PIECES.findall(phrase))
    letters = [char for char in phrase if char.isalpha()]
    is_spaced = bool(letters) and not is_unspaced(letters[-1])
    return made + (r"(?!\w)" if is_spaced and phrase[-1] not in ".,:)]" else "")


def _piece(piece: str) -> str:
    if piece == "...":
        return _SOME_WORDS
    bare = piece.strip(" ")
    if bare and bare in "{|}":  # a blank beside a choice may fall away with it
        blank = {True: r"\s*", False: ""}
        return (
            blank[piece[0] == " "]
            + {"{": "(?:", "|": "|", "}": ")"}[bare]
            + blank[len(piece) > 1 and piece[-1] == " "]
        )
    escaped = re.escape(piece).replace("\\ ", r"\s+")
    return escaped.replace("'", "['’‘ʼ]")


@cache
def _all() -> dict[str, dict[str, Any]]:
    here = files(__package__)
    names = sorted(entry.name for entry in here.iterdir() if entry.name.endswith(".toml"))
    return {
        name.removesuffix(".toml"): tomllib.loads(here.joinpath(name).read_text(encoding="utf-8"))
        for name in names
    }
