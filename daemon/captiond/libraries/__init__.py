"""Libraries: pictures that are described where they lie, and never moved, written into or touched.

Only `X.caption.json` and `X.xmp` appear, beside the picture or at the same path in a mirror, and one marker,
`.captiond-library`.  This room is made of parts of the inbox and delivery: a library is looked through as the
inbox is (events are hints, the scan is the truth, a file settles until it is quiet and whole), and what it
writes gets its names by delivery's own moves.

    marker      is the library there, and the one that was added?
    walk        by names alone: how many pictures, and which records lost theirs
    index       what is known without reading, in the state folder: a cache
    knowing     is a picture described already?  At a glance, or by reading it
    candidates  those that are not, and since when each has been quiet
    around      the record, the .xmp and other words beside a picture
    placing     giving the files their names: each .xmp first, the record last
    trees       the opened library, and the lock between those who write beside its pictures
    desk        claiming, describing, failing; everything beneath opened folders
    revising    other texts for a described picture: a person's, a model's later ones, or former ones
    library     one library and its thread

A picture is done if it has a valid record with its checksum and the questions that the settings ask now.  If
a glance cannot tell, the picture is read; the model is asked only if no record answers.  What a person has
edited is not described anew, whatever becomes of the picture.  Bytes that were described under another name
are known by their checksum: their record is written anew, and the old one is left and counted.

At every instant each picture lies where it lay with the bytes, the name and the time that it had.  A sidecar
appears whole or not at all, and replaces nothing but the very bytes that were read just before.

Accepted risks.  A new name in a folder gives the folder another time; a mirror avoids that.  Reading a
picture may set its time of access, as any reader does.  If a file system knows no exchange of names,
microseconds lie between the last look at an .xmp and its replacement.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from captiond.libraries.index import Index
from captiond.libraries.library import Library, Watching
from captiond.libraries.marker import MARKER, Place
from captiond.libraries.revising import Revising
from captiond.records import SettledFile
from captiond.status import LibraryStatus

__all__ = ["MARKER", "Index", "Libraries", "Library", "Place", "Revising", "Watching"]

_ENDING_SECONDS = 5.0  # a thread may hang on a lost mount, and is left behind then


class Libraries:
    """All libraries; each has a thread, so that one on a lost mount keeps no other waiting."""

    def __init__(self, libraries: Sequence[Library], index: Index) -> None:
        self._libraries = {library.name: library for library in libraries}
        self._turns = list(libraries)
        self._taking = threading.Lock()
        self._index = index

    def __bool__(self) -> bool:
        return bool(self._libraries)

    def __iter__(self) -> Iterator[Library]:
        return iter(self._libraries.values())

    def __contains__(self, name: object) -> bool:
        return name in self._libraries

    def __getitem__(self, name: str) -> Library:
        return self._libraries[name]

    @contextmanager
    def looked_through(self, *, once: bool = False) -> Iterator[None]:
        """Look through the libraries while this lasts; with `once`, each until nothing in it waits."""
        stop = threading.Event()
        threads = [
            threading.Thread(
                target=library.run,
                args=(stop,),
                kwargs={"once": once},
                name=f"library-{library.name}",
                daemon=True,
            )
            for library in self
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread, library in zip(threads, self, strict=True):
                thread.join(_ENDING_SECONDS)
                if not thread.is_alive():
                    library.close()
            if self._libraries:
                self._index.close()

    def take(self) -> SettledFile | None:
        """A picture to be described, if one is ready: the libraries by turns."""
        with self._taking:
            for _ in self._turns:
                library = self._turns.pop(0)
                self._turns.append(library)
                if (settled := library.take()) is not None:
                    return settled
        return None

    @property
    def are_at_rest(self) -> bool:
        """Whether nothing waits in any of them, under `once`."""
        return all(library.is_at_rest for library in self)

    def status(self) -> tuple[LibraryStatus, ...]:
        return tuple(library.status() for library in self)
