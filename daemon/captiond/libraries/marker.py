"""A library as a folder: is it there, and is it the right one?

A share that went away leaves a bare mount point, which looks like a library whose pictures are all gone.  So
a library has a marker, `.captiond-library`, which a person has made by `captiond library add`: in its root
or, if that cannot be written, where its sidecars go.  A library without a marker is away, never empty.  If
the marker lies with the sidecars, a library that had pictures and shows none is away, too.  Nothing is
created in a library that is not marked.

The marker says when it was made, by the clock of its own file system, since what lay there before is
described only if the settings ask for it.  A file that came later has a later time of change (ctime), which
no program sets, whatever its modification time was set to.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from captiond.delivery.files import read, remove, write
from captiond.errors import LibraryAway, as_surroundings
from captiond.inbox.root import Known
from captiond.sidecar import checked
from captiond.sidecar.decode import read_json
from captiond.support.openat import FOLDER, sync_folder

MARKER = ".captiond-library"
_PROBE = f"{MARKER}-probe"
_NOTE = "captiond describes the pictures of this folder; without this file it takes the folder for unmounted."


@dataclass(frozen=True, slots=True)
class Marker:
    """What was known when the library was added."""

    added_at_ns: int  # by the clock of the file system that the marker lies on
    pictures: int = 0  # that lay there


@dataclass(frozen=True, slots=True)
class Place:
    """Where a library lies, and where its sidecars go; what `inbox` asks of a root."""

    name: str
    path: Path
    mirror: Path | None = None  # None: beside the pictures

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The folder with the pictures.  Raises: LibraryAway, if there is none."""
        with self._open(self.path) as descriptor:
            yield descriptor

    @contextmanager
    def written_into(self, root: int) -> Iterator[int]:
        """The folder beneath which sidecars go, where `root` is the opened library."""
        if self.mirror is None:
            yield root
            return
        with self._open(self.mirror) as descriptor:
            yield descriptor

    @contextmanager
    def _open(self, path: Path) -> Iterator[int]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._away(path, error) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _away(self, path: Path, error: OSError) -> LibraryAway:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return LibraryAway(
                f"the library {self.name!r} ({path}) is gone",
                advice="Mount its volume; work goes on by itself when it is back.",
            )
        return away(self.name, error, f"opening {path}")

    def must_be_it(self, descriptor: int, known: Known) -> None:
        self.marker(descriptor)

    def marker(self, root: int) -> Marker:
        """What the marker says.  Raises: LibraryAway, if there is none."""
        try:
            found = marked(root)
            if found is not None:
                return found
            with self.written_into(root) as target:
                found = marked(target) if self.mirror is not None else None
                if found is None:
                    raise self._not_marked()
                if (found.pictures or _holds_anything(target)) and not _holds_anything(root):
                    raise self.all_gone()
                return found
        except OSError as error:
            raise away(self.name, error, f"looking for {MARKER}") from error

    def _not_marked(self) -> LibraryAway:
        where = self.path if self.mirror is None else f"{self.path} or {self.mirror}"
        return LibraryAway(
            f"the library {self.name!r} has no {MARKER} in {where}: it was never added, or is unmounted",
            advice=f"Mount its volume, or look at what it would do: captiond library add {self.path}",
        )

    def all_gone(self) -> LibraryAway:
        return LibraryAway(
            f"the library {self.name!r} ({self.path}) is empty, and was not: its volume is away",
            advice="Mount it.  If the pictures are really gone, remove the library from the settings.",
        )


def away(name: str, error: OSError, doing: str) -> LibraryAway:
    told = as_surroundings(error, f"the library {name!r}: {doing}")
    return LibraryAway(told.message, advice=told.advice)


def marked(folder: int) -> Marker | None:
    """What the marker in this folder says, or None.  One that cannot be read is as old as its file."""
    try:
        there = os.stat(MARKER, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        told = read_json(read(folder, MARKER) or b"")
        return Marker(checked.whole(told.get("added_at_ns")), checked.count(told.get("pictures")) or 0)
    except ValueError:
        return Marker(there.st_ctime_ns)


def mark(folder: int, pictures: int) -> Marker:
    """Mark the folder, durably; every file put there from now on counts as later.  Raises: OSError."""
    with ExitStack() as undo:
        undo.callback(remove, folder, _PROBE)
        write(folder, _PROBE, [b""])
        now = os.stat(_PROBE, dir_fd=folder, follow_symlinks=False).st_ctime_ns
    made = Marker(now, pictures)
    text = json.dumps({"captiond": "library", **asdict(made), "note": _NOTE}, indent=2)
    write(folder, MARKER, [text.encode() + b"\n"], lambda file: os.fchmod(file, 0o644))
    sync_folder(folder)
    return made


def _holds_anything(folder: int) -> bool:
    """Whether it holds a name that is not hidden."""
    own = os.open(".", FOLDER, dir_fd=folder)
    try:
        with os.scandir(own) as entries:
            return any(not entry.name.startswith(".") for entry in entries)
    finally:
        os.close(own)
