"""Descriptions that no person wrote: what firmware and programs put there, and the names of files.

firmware.toml lists them, with a date and a source for each; it is read once.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_LONGEST = 128  # characters; a longer one is a person's, except `settings`
_LONGEST_SETTINGS = 8192
_ENDING = re.compile(r"\.[a-z0-9]{2,5}\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Lists:
    texts: re.Pattern[str]
    settings: re.Pattern[str]  # which may be long
    file_names: re.Pattern[str]


def is_nobodys(line: str, name: str = "") -> bool:
    """Is `line`, cleaned, no person's text?  `name` is the picture's file, whose name it may be."""
    if not line or is_name_of(line, name):
        return True
    lists = _lists()
    if len(line) <= _LONGEST:
        bare = _ENDING.sub("", line)
        return any(
            pattern.fullmatch(one) is not None
            for pattern, one in (
                (lists.texts, line),
                (lists.settings, line),
                (lists.file_names, line),
                (lists.file_names, bare),
            )
        )
    return len(line) <= _LONGEST_SETTINGS and lists.settings.fullmatch(line) is not None


def is_name_of(line: str, name: str) -> bool:
    """Is it the file's name, with its ending, or without it if the rest is a single word?

    Programs also name files after captions: "Grandma in the garden" may be a person's even then.
    """
    last = name.rpartition("/")[2].casefold()
    stem = last.rpartition(".")[0]
    said = line.casefold()
    return bool(last) and (said == last or (said == stem and not any(char.isspace() for char in said)))


@cache
def _lists() -> _Lists:
    told = tomllib.loads(files(__package__).joinpath("firmware.toml").read_text(encoding="utf-8"))
    entries = told["entry"]
    return _Lists(
        _any_of([one for one in entries if not one.get("is_long")]),
        _any_of([one for one in entries if one.get("is_long")]),
        _any_of(told["file_name"]),
    )


def _any_of(entries: list[dict[str, list[str]]]) -> re.Pattern[str]:
    texts = [re.escape(text) for one in entries for text in one.get("texts", ())]
    patterns = [f"(?:{pattern})" for one in entries for pattern in one.get("patterns", ())]
    return re.compile("|".join((*texts, *patterns)), re.IGNORECASE | re.DOTALL)
