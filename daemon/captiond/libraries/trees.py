"""A library as two opened folders, and the lock between those who write beside its pictures.

The lock lies in the state folder, since file systems of libraries may know none.  Whoever describes pictures
shares it; whoever replaces texts (`revising`), or finishes what a crash left, has it alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from captiond.delivery.files import give_to_owner_of
from captiond.errors import LibraryAway, Surroundings, TryLater
from captiond.inbox.root import Known
from captiond.libraries.around import Tree
from captiond.libraries.marker import Marker, Place, away
from captiond.names import shown
from captiond.records import Fingerprint
from captiond.support.openat import opened as opened_folder
from captiond.support.openat import split

CLOSED_RETRY_SECONDS = 300.0
# The errors that concern one name or one sub-folder, and not the library.
_OF_ONE_PICTURE = {
    errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ,
    errno.ENOENT,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trees:
    """The opened library, and the opened folder beneath which its sidecars go."""

    library: Tree
    target: Tree


@contextmanager
def opened(place: Place) -> Iterator[Trees]:
    """Raises: LibraryAway, if the library cannot be seen, is not marked, or makes trouble meanwhile."""
    with _seen(place), place.opened() as root:
        place.marker(root)
        with place.written_into(root) as target:
            yield Trees(Tree(root), Tree(target))


@contextmanager
def of_one_picture(path: str) -> Iterator[None]:
    """Raises: TryLater, if an error concerns this picture alone."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_ONE_PICTURE:
            raise TryLater(f"{shown(path)}: {error.strerror}", after_seconds=CLOSED_RETRY_SECONDS) from error
        raise


@contextmanager
def locked(state: Path, name: str, *, alone: bool) -> Iterator[None]:
    """Hold the library's lock while this lasts; wait for it.  Raises: Surroundings."""
    with opened_folder(state, f"locking the library {name!r} in folders.state ({state})") as folder:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(f"library-{name}.lock", flags, 0o600, dir_fd=folder)
        give_to_owner_of(folder, lock)  # root may run a command beside a daemon that is not root
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


@contextmanager
def _seen(place: Place) -> Iterator[None]:
    try:
        yield
    except LibraryAway:
        raise
    except Surroundings as trouble:
        raise LibraryAway(trouble.message, advice=trouble.advice) from trouble
    except FileNotFoundError as error:
        raise TryLater("it is not there any more") from error
    except OSError as error:
        raise away(place.name, error, "looking into it") from error


class Root:
    """The library as a folder that is looked into."""

    def __init__(self, place: Place, see: Callable[[Marker], None]) -> None:
        self._place = place
        self._see = see

    def opened(self) -> AbstractContextManager[int]:
        return self._place.opened()

    def must_be_it(self, descriptor: int, known: Known) -> None:
        self._see(self._place.marker(descriptor))


def as_away(name: str, error: Exception) -> LibraryAway:
    if isinstance(error, LibraryAway):
        return error
    if isinstance(error, Surroundings):
        return LibraryAway(error.message, advice=error.advice)
    return LibraryAway(f"the library {name!r} cannot be looked through: {error!r}")


def fingerprint_of(trees: Trees, path: str) -> Fingerprint:
    folder_name, name = split(path)
    with trees.library.folder(folder_name) as folder:
        return Fingerprint.of(os.stat(name, dir_fd=folder, follow_symlinks=False))
