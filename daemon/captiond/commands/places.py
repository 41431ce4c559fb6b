"""Where described pictures lie, and which of them a person or a table names: in done/, or in a library.

A picture of a library is named as in the log: the library's name, then the path there (`photos/trip/a.jpg`).
A folder of done/ may be called like a library; then such a path may mean two pictures, and is refused, and a
whole path (`/srv/photos/trip/a.jpg`) says which.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands import library_files
from captiond.commands.folders import refuse_missing
from captiond.libraries.marker import Place
from captiond.libraries.trees import opened
from captiond.names import shown
from captiond.redo import walk
from captiond.redo.walk import Beside
from captiond.sidecar import CAPTION_SUFFIX

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.settings.library import Library


class Ambiguous(Exception):
    """The path means two things."""

    def __init__(self, given: str, done: Path, library: Library) -> None:
        super().__init__(
            f"{shown(given)} lies in {done} and in the library {library.name!r}: give the whole path, "
            f"beginning with {done} or {library.path}"
        )


@dataclass(frozen=True, slots=True)
class Named:
    """What a path means."""

    path: str  # beneath done/; in a library, its name and the path there
    library: Library | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is all of done/, or all of the library."""
        return self.path == (self.library.name if self.library is not None else ".")


def picture(settings: Settings, given: str, cwd: Path) -> Named:
    """The described picture that is meant, by its name or its sidecar's.  Raises: Ambiguous."""
    path = given.removesuffix(CAPTION_SUFFIX)
    return _named(settings, path, cwd, _has_record)


def of_table(settings: Settings, path: str) -> Named:
    """The described picture that a table means which does not tell its library.  Raises: Ambiguous."""
    return _by_name(settings, path, _has_record)


def folder(settings: Settings, given: str, cwd: Path) -> Named | None:
    """The folder of done/ or of a library that is meant; None if none is given.  Raises: Ambiguous."""
    return _named(settings, given, cwd, os.path.isdir) if given else None


def _named(settings: Settings, given: str, cwd: Path, is_there: Callable[[Path], bool]) -> Named:
    done = settings.folders.done
    absolute = Path(os.path.abspath(cwd / given))  # noqa: PTH100 - resolve would follow links
    if absolute.is_relative_to(done):
        return Named(str(absolute.relative_to(done)))
    if (within := library_files.within(settings, absolute)) is not None:
        library, inner = within
        return Named(library.name if inner == "." else f"{library.name}/{inner}", library)
    return _by_name(settings, given, is_there)


def _by_name(settings: Settings, given: str, is_there: Callable[[Path], bool]) -> Named:
    done = settings.folders.done
    first, _, inner = given.partition("/")
    called = next((one for one in settings.libraries if one.name == first), None)
    if called is None:
        return Named(given.lstrip("/"))
    if not is_there(done / given):
        return Named(given, called)
    if is_there(_target(called) / inner):
        raise Ambiguous(given, done, called)
    return Named(given)


def _has_record(picture: Path) -> bool:
    return os.path.lexists(f"{picture}{CAPTION_SUFFIX}")


def _target(library: Library) -> Path:
    """Where its sidecars lie."""
    return library.path if library.mirror is None else library.mirror


def all_of(settings: Settings, named: Named | None) -> Iterator[Library | None]:
    """Where to look for what is named, or for everything: None is done/."""
    yield from (None, *settings.libraries) if named is None else (named.library,)


@contextmanager
def opened_for_reading(settings: Settings, library: Library | None) -> Iterator[tuple[int, Beside]]:
    """The opened folder with the records of done/ or of a library, and where their pictures lie.

    Raises: LibraryAway; Surroundings.
    """
    if library is None:
        refuse_missing(settings, "done")
        with walk.opened(settings.folders.done) as root:
            yield root, Beside()
        return
    with opened(place_of(library)) as trees:
        yield trees.target.root, Beside(trees.library.root, library.name)


def place_of(library: Library) -> Place:
    return Place(library.name, library.path, library.mirror)
