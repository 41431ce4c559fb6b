"""Files that come in over the network: written aside, then moved to a free name in the inbox.

    1  write  inbox/.captiond/intake/<number>    as it comes in; fsync
    2  move   -> its path in the inbox, without replacing; fsync

The inbox never sees half a file, and no file is ever replaced by one that comes: if a name is taken, the next
candidate is used, as in done/.  A crash leaves at most files in `intake`, which the next start removes.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from contextlib import ExitStack
from pathlib import Path

from captiond.delivery.files import enter, names_in, remove
from captiond.delivery.folders import make_folder
from captiond.delivery.moves import Move, move_at_once, move_beside
from captiond.errors import Verdict, as_surroundings
from captiond.names import checked_path, shown
from captiond.support import own
from captiond.support.openat import NEW, folder_of, split, sync_folder

DEEPEST_FOLDERS = 32  # how many one request may make, one inside the other
_INTAKE = "intake"
# What a file system answers to a name that it cannot hold, or that leads through a file.
_NO_NAME = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ, errno.ELOOP, errno.EISDIR}


class BadName(Verdict):
    """The inbox cannot or may not hold a file of this path; the message says why."""


class Intake:
    """Safe to use from many threads."""

    def __init__(self, inbox: Path, move: Move = move_at_once) -> None:
        self._inbox = inbox
        self._move = move
        self._numbers = itertools.count()

    def clear(self) -> None:
        """Remove what an earlier run left.  Raises: Surroundings, if the inbox cannot be used."""
        try:
            with ExitStack() as closing:
                folder = self._opened(closing)[1]
                for name in names_in(folder):
                    remove(folder, name)
        except OSError as error:
            raise as_surroundings(error, "looking into the inbox") from error

    def begin(self) -> Incoming:
        """Raises: Surroundings, if the inbox cannot be written."""
        try:
            with ExitStack() as closing:
                root, folder, name, file = own.despite_sweeps(lambda: self._begun(closing))
                return Incoming(root, folder, name, file, self._move, closing.pop_all())
        except OSError as error:
            raise as_surroundings(error, "writing into the inbox") from error

    def _begun(self, closing: ExitStack) -> tuple[int, int, str, int]:
        """The opened inbox and `intake` in it, and a new file there with its name."""
        root, folder = self._opened(closing)
        name = f"{os.getpid()}-{next(self._numbers)}"
        file = os.open(name, NEW, 0o666, dir_fd=folder)
        closing.callback(os.close, file)
        return root, folder, name, file

    def _opened(self, closing: ExitStack) -> tuple[int, int]:
        root = os.open(self._inbox, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        closing.callback(os.close, root)
        work = own.enter(root, self._inbox).descriptor
        closing.callback(os.close, work)
        folder = enter(work, _INTAKE, 0o700)
        closing.callback(os.close, folder)
        return root, folder


class Incoming:
    """One file on its way in; the caller closes it, whatever becomes of it."""

    def __init__(self, root: int, folder: int, name: str, file: int, move: Move, closing: ExitStack) -> None:
        self._root = root
        self._folder = folder
        self._name = name
        self._file = file
        self._move = move
        self._closing = closing
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Raises: Surroundings, if the inbox cannot be written."""
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            raise as_surroundings(error, "writing into the inbox") from error
        self._sha256.update(data)
        self.size += len(data)

    def finish(self, path: str, modified_seconds: float | None = None) -> str:
        """Give it its name; the path that it has now.

        Raises: BadName, if the inbox cannot or may not hold that path; Surroundings.
        """
        try:
            if path.count("/") > DEEPEST_FOLDERS:
                raise ValueError("a path that is too deep")
            checked_path(path)
        except ValueError as error:
            raise BadName(str(error)) from error
        try:
            if modified_seconds is not None:
                os.utime(self._file, (modified_seconds, modified_seconds))
            os.fsync(self._file)
            return self._named(path)
        except OSError as error:
            if error.errno in _NO_NAME:
                raise BadName(f"the inbox cannot hold {shown(path)}: {error.strerror}") from error
            raise as_surroundings(error, f"putting {shown(path)} into the inbox") from error

    def _named(self, path: str) -> str:
        folder_name, name = split(path)
        folder_name = make_folder(self._root, folder_name)
        with folder_of(self._root, f"{folder_name}/{name}" if folder_name else name) as (folder, _):
            source = self._folder, self._name
            free = move_beside(self._move, source, (folder, name), self._sha256.hexdigest())
            sync_folder(folder)
        return f"{folder_name}/{free}" if folder_name else free

    def close(self) -> None:
        """Close the file, and remove it if it did not get its name."""
        with self._closing:
            remove(self._folder, self._name)
