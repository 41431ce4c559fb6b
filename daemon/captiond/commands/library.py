"""Adding a library: what lies there, what would be done about it, and the marker that makes it one.

Without a yes nothing is written.  The settings file belongs to a person: captiond only prints what to add.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands.status import duration
from captiond.delivery.nesting import refuse_nested
from captiond.errors import CannotStart, ExitCode, Surroundings, as_surroundings
from captiond.history import Wanted, looked_into
from captiond.libraries import MARKER, walk
from captiond.libraries.marker import mark, marked
from captiond.names import shown
from captiond.service.build import places_of
from captiond.service.rules import ignore_of
from captiond.settings.library import Library

if TYPE_CHECKING:
    from captiond.settings import Settings

_RECENT = 100  # pictures whose mean time makes the estimate


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that may become a library, as it is now."""

    library: Library
    is_in_settings: bool
    is_marked: bool
    marker_goes_into: Path
    pictures: int
    size: int  # bytes
    described: int  # how many have a sidecar
    seconds_each: float | None  # by what the history knows

    @property
    def to_describe(self) -> int:
        return max(self.pictures - self.described, 0) if self.library.existing else 0


def look(settings: Settings, path: Path, *, name: str | None, sidecars: Path | None, existing: bool) -> Found:
    """Raises: CannotStart, if the folder cannot be a library; Surroundings, if it cannot be read."""
    library, is_in_settings = _library(settings, path, name, sidecars, existing)
    others = [one for one in settings.libraries if one.path != library.path]
    folders = settings.folders
    places = places_of([*others, library])
    refuse_nested(folders.inbox, folders.done, folders.failed, folders.state, **places)
    ignore = ignore_of(settings, library.name)
    try:
        root = os.open(library.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            pictures, size = walk.count(root, ignore)
            target = library.mirror or library.path
            described, is_marked = _described(root, target, library), marked(root) is not None
        finally:
            os.close(root)
    except OSError as error:
        raise as_surroundings(error, f"looking into {library.path}") from error
    return Found(
        library=library,
        is_in_settings=is_in_settings,
        is_marked=is_marked or _is_marked(library.mirror),
        marker_goes_into=_goes_into(library),
        pictures=pictures,
        size=size,
        described=described,
        seconds_each=_seconds_each(settings),
    )


def add(found: Found) -> Path:
    """Mark the library, and return the marker.  Raises: Surroundings, if it cannot be written."""
    try:
        found.marker_goes_into.mkdir(parents=True, exist_ok=True)
        folder = os.open(found.marker_goes_into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mark(folder, found.pictures)
        finally:
            os.close(folder)
    except OSError as error:
        raise as_surroundings(error, f"marking {found.library.path} as a library") from error
    return found.marker_goes_into / MARKER


def lines(found: Found, *, is_added: bool) -> Iterator[str]:
    """What was found and what it means, for people."""
    library, mirror = found.library, found.library.mirror
    yield (
        f"{shown(str(library.path))}: {found.pictures:,} pictures ({_bytes(found.size)}), "
        f"{found.described:,} of them described already."
    )
    yield _what(found)
    where = f"in {shown(str(mirror))}, at the same paths" if mirror is not None else "beside the pictures"
    yield f"What is said of photo.jpg goes into {_names(library)} {where}; no picture is changed or moved."
    marker = shown(str(found.marker_goes_into / MARKER))
    if is_added:
        yield f"It is marked as a library: {marker}"
    elif found.is_marked:
        yield f"It is marked already; --yes marks it anew, as of now: {marker}"
    else:
        yield f"Nothing was written.  With --yes it is marked as a library: {marker}"
    if not found.is_in_settings:
        yield "Put this into the settings, and start captiond again:"
        yield ""
        yield from _settings(library)


def _what(found: Found) -> str:
    if not found.library.existing:
        return (
            "What lies there now is left as it is, and what comes later is described; --existing: all of it."
        )
    if not found.pictures:
        return "What comes there is described."
    if not found.to_describe:
        return "All of it is described already, and so will be what comes later."
    if found.seconds_each is None:
        how_long = "`captiond bench` tells how long one takes"
    else:
        whole = duration(found.to_describe * found.seconds_each)
        each = f"{found.seconds_each:.1f} s each, as the last ones took"
        how_long = f"about {whole} ({each}; less where several are asked at once)"
    return f"{found.to_describe:,} are to be described: {how_long}."


def _settings(library: Library) -> Iterator[str]:
    yield "libraries:"
    yield f"  - name: {library.name}"
    yield f"    path: {_quoted(library.path)}"
    if library.mirror is not None:
        yield f"    sidecars: {_quoted(library.mirror)}"
    if library.existing:
        yield "    existing: true"


def _quoted(path: Path) -> str:
    """The path in quotes, so that YAML takes any."""
    return "'" + str(path).replace("'", "''") + "'"


def _names(library: Library) -> str:
    names = {"json": "photo.jpg.caption.json", "xmp": "photo.jpg.xmp"}
    return " and ".join(names[one] for one in library.write)


def _library(
    settings: Settings, path: Path, name: str | None, sidecars: Path | None, existing: bool
) -> tuple[Library, bool]:
    """The library as the settings have it, if they do; else as it is asked for."""
    known = next((one for one in settings.libraries if os.path.normpath(one.path) == str(path)), None)
    if known is not None:
        return known, True
    called = name or _name_of(path, {one.name.casefold() for one in settings.libraries})
    try:
        made = Library.model_validate(
            {"name": called, "path": path, "sidecars": sidecars or "beside", "existing": existing}
        )
    except ValueError as error:
        raise CannotStart(
            f"{called!r} cannot be the name of a library: one word of letters, digits, `.`, `_` and `-`",
            exit_code=ExitCode.USAGE,
            advice="Choose one: --name photos",
        ) from error
    return made, False


def _name_of(path: Path, taken: set[str]) -> str:
    word = "".join(char if char.isalnum() or char in "._-" else "-" for char in shown(path.name)).strip(".-")
    base = word[:60] or "library"
    numbered = (f"{base}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (base, *numbered) if one.casefold() not in taken)


def _described(root: int, target: Path, library: Library) -> int:
    """How many have a sidecar, by names alone."""
    from captiond.inbox.ignore import Ignore

    if library.mirror is None:
        found = walk.walked(root, root, Ignore())
    else:
        with suppress(FileNotFoundError):
            mirror = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                found = walk.walked(root, mirror, Ignore())
            finally:
                os.close(mirror)
            return found.records - len(found.left_behind)
        return 0
    return found.records - len(found.left_behind)


def _is_marked(mirror: Path | None) -> bool:
    return mirror is not None and (mirror / MARKER).exists()


def _goes_into(library: Library) -> Path:
    """Its root, if that can be written; else where its sidecars go."""
    if library.mirror is None or os.access(library.path, os.W_OK | os.X_OK):
        return library.path
    return library.mirror


def _seconds_each(settings: Settings) -> float | None:
    try:
        with looked_into(settings.folders.state) as history:
            entries = [] if history is None else history.find(Wanted("done"), _RECENT)
    except Surroundings:
        return None
    times = [one.timings.caption for one in entries if one.timings is not None]
    return sum(times) / len(times) if times else None


def _bytes(size: int) -> str:
    number, units = float(size), iter(("bytes", "kB", "MB", "GB"))
    for unit in units:
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
