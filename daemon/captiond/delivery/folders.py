"""One of our folders, held open: its `.captiond/` beside users' files, its lock, and whether it still stands.

Everything is done relative to descriptors that are opened once, so that a folder that is swapped or
unmounted while we run cannot lead work astray: `stands` compares what the path means now with what was
opened.  Links beneath a folder are never followed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from errno import EACCES, EILSEQ, EINVAL, ELOOP, ENAMETOOLONG, ENODATA, ENOENT, ENOTDIR
from functools import partial
from pathlib import Path
from typing import Protocol

from captiond.delivery import access
from captiond.delivery.files import enter
from captiond.errors import CannotStart, ExitCode, Surroundings, as_surroundings
from captiond.names import OWN_FOLDER, candidates, checked_name, fitting, is_refused_somewhere
from captiond.records import Notice
from captiond.support import own
from captiond.support.openat import FOLDER, beneath

WORK = OWN_FOLDER
_LOCK = "lock"

# What a file system answers to a name that it cannot hold.
REFUSED_NAMES = {EINVAL, EILSEQ, ENAMETOOLONG}


class Beneath(Protocol):
    """An opened folder, and the folders in it."""

    @property
    def root(self) -> int: ...

    def folder(self, folder: str) -> AbstractContextManager[int]: ...


@dataclass(frozen=True, slots=True)
class Folder:
    name: str  # inbox, done or failed
    path: Path
    root: int
    work: int  # the folder .captiond/ in it
    lock: int
    token: str  # what this process wrote into the lock, to know the folder again after a remount
    is_private: bool = True  # False: this file system cannot keep others out of .captiond/
    notices: tuple[Notice, ...] = ()  # what its owner should know of it

    @classmethod
    def open(cls, name: str, path: Path, token: str | None = None) -> Folder:
        """Open the folder and take its lock.  Raises: CannotStart, if it cannot do both."""
        token = token or f"{os.getpid()}\n{secrets.token_hex(16)}\n"
        with ExitStack() as undo:
            try:
                path = path.resolve(strict=True)
                root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                undo.callback(os.close, root)
                if not os.access(path, os.W_OK | os.X_OK):
                    raise PermissionError(EACCES, "it is not writable", str(path))
                opened, lock = own.despite_sweeps(partial(_enter_and_lock, path, root, token))
                undo.callback(os.close, opened.descriptor)
            except Surroundings as trouble:
                raise CannotStart(
                    trouble.message, exit_code=ExitCode.TRY_AGAIN, advice=trouble.advice
                ) from trouble
            except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
                raise _cannot_open(name, path, error) from error
            undo.pop_all()
        notices = own.notices(path, root, opened)
        return cls(name, path, root, opened.descriptor, lock, token, opened.is_private, notices)

    def stands(self) -> bool:
        """Whether path and descriptors still mean the same folder.  Raises: OSError, if nothing is there."""
        there = self.path.stat()
        if not os.path.samestat(there, os.fstat(self.root)):
            return False
        try:
            work = os.stat(WORK, dir_fd=self.root, follow_symlinks=False)
            lock = os.stat(_LOCK, dir_fd=self.work, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if self.is_private and work.st_mode & own.OTHERS_MAY_WRITE:
            return False
        return os.path.samestat(work, os.fstat(self.work)) and os.path.samestat(lock, os.fstat(self.lock))

    def reopened(self) -> Folder:
        """The folder that has our path now, if it may be taken for ours.

        A folder made anew in the same file system is ours: a user cleared it.  A folder of another file
        system is ours only if it carries our token; else it lies under a mount that went away, and what we
        delivered there would be hidden when the mount comes back.
        """
        if self.path.stat().st_dev != os.fstat(self.root).st_dev and self._token_there() != self.token:
            raise CannotStart(
                f"folders.{self.name} ({self.path}) is not the folder that it was at the start",
                exit_code=ExitCode.TRY_AGAIN,
                advice="Is its volume mounted?  If the new folder is meant, restart captiond.",
            )
        fcntl.flock(self.lock, fcntl.LOCK_UN)  # the new path may still lead to the very same lock
        return Folder.open(self.name, self.path, self.token)

    def close(self) -> None:
        for descriptor in (self.lock, self.work, self.root):
            os.close(descriptor)

    def folder(self, folder: str) -> AbstractContextManager[int]:
        """A descriptor of `folder` beneath this one, while it lasts."""
        return beneath(self.root, folder)

    def make_folder(self, folder: str) -> str:
        """See the function `make_folder`."""
        return make_folder(self.root, folder)

    def find_folder(self, folder: str) -> str | None:
        """The path that `make_folder` gave it, or None if it is not there; makes nothing."""
        return _walked(self.root, folder, _found)

    def _token_there(self) -> str | None:
        try:
            return (self.path / WORK / _LOCK).read_text()
        except (OSError, ValueError):
            return None


def make_folder(root: int, folder: str) -> str:
    """Make `folder` beneath `root`, durably, if it is missing; the path that it has there.

    If a part of it is a file or a link, or a name that the file system refuses, that part gets another name.
    """
    made = _walked(root, folder, _entered)
    assert made is not None
    return made


def _walked(root: int, folder: str, enter_one: Callable[[int, str], tuple[int, str] | None]) -> str | None:
    path: list[str] = []
    descriptor = os.open(".", FOLDER, dir_fd=root)
    try:
        for part in folder.split("/") if folder else ():
            entered = enter_one(descriptor, checked_name(part))
            if entered is None:
                return None
            os.close(descriptor)
            descriptor, name = entered
            path.append(name)
    finally:
        os.close(descriptor)
    return "/".join(path)


def _entered(parent: int, part: str) -> tuple[int, str]:
    """The folder for `part` and its name, made if it is missing."""
    digest = hashlib.sha256(os.fsencode(part)).hexdigest()
    refused: OSError | None = None
    for call in fitting(part, is_folder=True):
        for name in candidates(call, digest, suffix=""):
            try:
                return enter(parent, name), name
            except OSError as error:
                if error.errno in (ENOTDIR, ELOOP):
                    continue
                if not is_refused(parent, call, error):
                    raise
                refused = error
                break
    raise refused or AssertionError


def _found(parent: int, part: str) -> tuple[int, str] | None:
    digest = hashlib.sha256(os.fsencode(part)).hexdigest()
    for call in fitting(part, is_folder=True) if is_refused_somewhere(part) else (part,):
        for name in candidates(call, digest, suffix=""):
            try:
                return os.open(name, FOLDER, dir_fd=parent), name
            except OSError as error:
                if error.errno in (ENOTDIR, ELOOP):
                    continue
                if error.errno not in {*REFUSED_NAMES, ENOENT}:
                    raise
                break
    return None


def is_refused(folder: int, name: str, error: OSError) -> bool:
    """Whether the file system of the opened folder says that it cannot hold the name.

    Shares of Windows, and exFAT in user space, answer "no such file", even when we are creating it.
    """
    if error.errno in REFUSED_NAMES:
        return True
    is_odd = is_refused_somewhere(name) and os.fstat(folder).st_nlink > 0
    return is_odd and isinstance(error, FileNotFoundError)


class Folders:
    """The three opened folders by name; each access checks once more that the folder still stands."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[str, Folder] = {}
        self._replaced: list[Folder] = []  # kept open: another thread may be in the middle of using one

    def open(self, paths: Mapping[str, Path]) -> None:
        for name, path in paths.items():
            self._opened[name] = Folder.open(name, path)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What the daemon's owner should know of the folders, once."""
        told = [notice for folder in self._opened.values() for notice in folder.notices]
        others_drop = own.others_may_write(os.fstat(self._opened["inbox"].root))
        if others_drop and os.geteuid() != 0:
            told += [_no_acls(folder) for folder in self._opened.values() if not _knows_acls(folder)]
        return tuple(told)

    def __getitem__(self, name: str) -> Folder:
        """The folder that its path means now.  Raises: Surroundings, if that is nothing, or not ours."""
        folder = self._opened[name]
        try:
            # Without the lock: each picture checks several times, and would wait for all others that do.
            return folder if folder.stands() else self._reopened(name)
        except OSError as error:
            raise as_surroundings(error, f"looking at folders.{name}") from error
        except CannotStart as trouble:
            raise Surroundings(trouble.message, advice=trouble.advice) from trouble

    def _reopened(self, name: str) -> Folder:
        with self._lock:
            folder = self._opened[name]
            if not folder.stands():  # nor did another thread open it meanwhile
                self._opened[name] = folder.reopened()
                self._replaced.append(folder)
            return self._opened[name]

    def close(self) -> None:
        with self._lock:
            for folder in (*self._opened.values(), *self._replaced):
                folder.close()
            self._opened.clear()
            self._replaced.clear()


def _knows_acls(folder: Folder) -> bool:
    try:
        os.getxattr(folder.root, access.ATTRIBUTE)
    except OSError as error:
        return error.errno == ENODATA
    return True


def _no_acls(folder: Folder) -> Notice:
    return Notice(
        "no_acls",
        f"{folder.path} lies on a file system without ACLs: what others dropped becomes the daemon's own "
        "there, and they may not be able to change or read it any more",
    )


def lock_holder(path: Path) -> str | None:
    """The number of the process that holds the folder's lock, as it wrote it there; None if it is free."""
    try:
        lock = os.open(path / WORK / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file releases it
    except BlockingIOError:
        return _holder(lock)
    finally:
        os.close(lock)
    return None


def _holder(lock: int) -> str:
    return os.pread(lock, 100, 0).decode("ascii", "replace").partition("\n")[0] or "unknown"


def _enter_and_lock(path: Path, root: int, token: str) -> tuple[own.Own, int]:
    with ExitStack() as undo:
        opened = own.enter(root, path)
        undo.callback(os.close, opened.descriptor)
        lock = _take_lock(path, opened.descriptor, token)
        undo.pop_all()
    return opened, lock


def _take_lock(path: Path, work: int, token: str) -> int:
    with ExitStack() as undo:
        lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=work)
        undo.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"another captiond (process {_holder(lock)}) works on {path}",
                exit_code=ExitCode.TRY_AGAIN,
                advice="Stop it first, or give this one folders of its own.",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, token.encode(), 0)
        undo.pop_all()
    return lock


def _cannot_open(name: str, path: Path, error: OSError | RuntimeError) -> CannotStart:
    doing = f"opening folders.{name} ({path})"
    if isinstance(error, RuntimeError):
        return CannotStart(f"{doing}: {error}", exit_code=ExitCode.TRY_AGAIN)
    if error.errno in (ENOTDIR, ELOOP):
        advice: str | None = f"{path} and {path / WORK} must be folders and no links."
        return CannotStart(f"{doing}: {error.strerror}", exit_code=ExitCode.TRY_AGAIN, advice=advice)
    told = as_surroundings(error, doing)
    return CannotStart(told.message, exit_code=ExitCode.TRY_AGAIN, advice=told.advice)
