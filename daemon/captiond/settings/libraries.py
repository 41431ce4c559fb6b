"""The list `libraries` of a settings file: each item checked, and none inside another or a folder of ours.

Only the paths are compared here; `delivery.nesting` asks the kernel when a daemon starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path

from pydantic import ValidationError

from captiond.settings.explain import in_our_words
from captiond.settings.library import Library
from captiond.settings.schema import Folders
from captiond.settings.sources import GivenLibrary

PLACES = ("path", "sidecars")


def checked(given: Iterable[GivenLibrary], folders: Folders, problems: list[str]) -> tuple[Library, ...]:
    """The libraries that are sound; each fault of the others is added to `problems`."""
    made = [(one.where, library) for one in given if (library := _library(one, problems)) is not None]
    problems += _told_twice(made)
    problems += _overlapping(made, folders)
    return tuple(library for _, library in made)


def _library(given: GivenLibrary, problems: list[str]) -> Library | None:
    values = {key: value for key, value in given.values.items() if value is not None}
    try:
        for key in PLACES:
            if key in values and (key, values[key]) != ("sidecars", "beside"):
                values[key] = _place(values[key], given.base)
        return Library.model_validate(values)
    except ValidationError as error:
        problems += [_problem(str(one["loc"][0]), in_our_words(one), given) for one in error.errors()]
    except (ValueError, RuntimeError) as error:  # RuntimeError: `~name` of an unknown user
        problems.append(f"a library's {error} ({given.where})")
    return None


def _problem(key: str, words: str, given: GivenLibrary) -> str:
    if key not in given.values:
        return f"a library must say `{key}: ...` ({given.where})"
    if key == "name":
        words = "must be one word of letters, digits, `.`, `_` and `-`, at most 64 of them"
    return f"a library's `{key}` {words} ({given.where})"


def _place(value: object, base: Path) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("`path` and `sidecars` must be paths")
    return base / Path(value).expanduser()


def _told_twice(made: Iterable[tuple[str, Library]]) -> Iterator[str]:
    names: dict[str, str] = {}
    for where, library in made:
        name = library.name.casefold()
        if name in names:
            yield f"the library {library.name!r} stands twice ({names[name]} and {where})"
        names[name] = where


def _overlapping(made: Iterable[tuple[str, Library]], folders: Folders) -> Iterator[str]:
    ours = [(f"folders.{name}", "", path) for name, path in folders]
    theirs = [
        (what, where, path)
        for where, library in made
        for what, path in (
            (f"the library {library.name!r}", library.path),
            (f"the sidecars of {library.name!r}", library.mirror),
        )
        if path is not None
    ]
    for (one, _, path), (other, where, second) in combinations([*ours, *theirs], 2):
        if where and _overlap(path, second):
            yield f"{one} ({path}) and {other} ({second}) lie inside one another ({where})"


def _overlap(one: Path, other: Path) -> bool:
    first, second = (Path(os.path.normpath(path)) for path in (one, other))
    return first.is_relative_to(second) or second.is_relative_to(first)
