"""The inbox as a folder: is it there, and is it the right one?

A share that went away leaves a bare mount point that looks like an empty inbox.  So a marker,
`.captiond/inbox`, is written once; from then on a folder without it is not the inbox, and nothing is
created in it.  The root is opened anew for each round of work, since a held descriptor would go on showing
a share that was unmounted; `Known` holds one beside it, to recognize the folder if it loses its marker.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from captiond.errors import Surroundings, as_surroundings
from captiond.inbox import mounts
from captiond.names import OWN_FOLDER
from captiond.support import own

MARKER = "inbox"

_MARKER_TEXT = (
    "captiond keeps this file to tell its inbox from a folder whose volume is not mounted.\n"
    "Without it captiond waits.  Starting captiond again writes it anew.\n"
)


@contextmanager
def opened(inbox: Path) -> Iterator[int]:
    """A descriptor of the inbox folder, whatever lies at its path now."""
    try:
        descriptor = os.open(inbox, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise Surroundings(
                f"The inbox {inbox} is gone.",
                advice="Create it or mount its volume; work goes on by itself when it is back.",
            ) from error
        raise as_surroundings(error, f"Opening the inbox {inbox}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Root(Protocol):
    """A folder that is looked into: how to open it, and how to tell it from another folder at its path."""

    def opened(self) -> AbstractContextManager[int]:
        """Raises: Surroundings, if there is no folder."""

    def must_be_it(self, descriptor: int, known: Known) -> None:
        """`known`: the folder that it was before.

        Raises: Surroundings, if the opened folder is not the one that is meant.
        """


@dataclass(frozen=True, slots=True)
class InboxRoot:
    """The inbox, which is marked when it is first seen."""

    path: Path

    def opened(self) -> AbstractContextManager[int]:
        return opened(self.path)

    def must_be_it(self, descriptor: int, known: Known) -> None:
        if has_marker(descriptor):
            return
        # Write a lost marker anew into the same folder: programs that mirror (rsync --delete) remove it.
        if known and not known.is_it(descriptor):
            raise unmounted(self.path)
        write_marker(self.path, descriptor)


class Known:
    """The folder that was last seen to be the inbox; while it is held open, no other gets its inode."""

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def __bool__(self) -> bool:
        return self._descriptor is not None

    def is_it(self, root: int) -> bool:
        """Whether `root` is this very folder."""
        held = self._descriptor
        return held is not None and os.path.samestat(os.fstat(root), os.fstat(held))

    def take(self, root: int) -> None:
        former, self._descriptor = self._descriptor, os.dup(root)
        if former is not None:
            os.close(former)

    def let_go(self) -> None:
        held, self._descriptor = self._descriptor, None
        if held is not None:
            os.close(held)


def has_marker(root: int) -> bool:
    try:
        os.stat(f"{OWN_FOLDER}/{MARKER}", dir_fd=root, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def unmounted(inbox: Path) -> Surroundings:
    """What to say of a folder that lost its marker."""
    return Surroundings(
        f"The inbox {inbox} has lost its marker {OWN_FOLDER}/{MARKER}, as if its volume were not mounted.",
        advice="Mount its volume. If this is the right folder, start captiond again.",
    )


def write_marker(inbox: Path, root: int) -> None:
    """Marks the folder as the inbox, unless it is known to be a bare mount point."""
    if mounts.is_waiting_for_its_mount(inbox):
        raise Surroundings(
            f"The inbox {inbox} lies on a volume of /etc/fstab that is not mounted.",
            advice="Mount it; work goes on by itself.",
        )
    own.despite_sweeps(lambda: _write_beneath(root, inbox))


def _write_beneath(root: int, inbox: Path) -> None:
    folder = own.enter(root, inbox).descriptor
    try:
        _write(folder)
    except FileExistsError:
        pass
    finally:
        os.close(folder)


def _write(folder: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(MARKER, flags, 0o644, dir_fd=folder)
    try:
        os.write(descriptor, _MARKER_TEXT.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.fsync(folder)
