"""Files and folders by descriptor: written whole and durably, read without following links or blocking."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from captiond.errors import NotThere

Seen = TypeVar("Seen")

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# What opening a name says where no regular file has it: nothing, a link, a socket, or a file on the way.
NO_FILE = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}

_CANNOT_SYNC_FOLDERS = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # some network and FUSE file systems
_CHUNK_BYTES = 1 << 20


def write(
    folder: int, name: str, chunks: Iterable[bytes], give: Callable[[int], None] = lambda _: None
) -> None:
    """Write a whole file durably, or nothing under that name; the folder is the caller's to sync.

    `give` sets attributes of the open file before it is synced.
    """
    new = f"{name}.new"
    with ExitStack() as undo:
        file = _open_anew(folder, new)
        undo.callback(remove, folder, new)  # it may be what fills the disk
        try:
            expected = 0
            for chunk in chunks:
                expected += len(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(file, rest) :]
            give(file)
            os.fsync(file)
            if os.fstat(file).st_size != expected:
                raise OSError(errno.EIO, "the file has another length than what was written", name)
        finally:
            os.close(file)
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        undo.pop_all()


def _open_anew(folder: int, name: str) -> int:
    try:
        return os.open(name, NEW, 0o600, dir_fd=folder)
    except FileExistsError:  # a crash left one half written
        os.unlink(name, dir_fd=folder)
        return os.open(name, NEW, 0o600, dir_fd=folder)


def read(folder: int, name: str) -> bytes | None:
    """All of a small file; None where there is none."""
    return _of_regular(folder, name, lambda file: b"".join(chunks(file)))


def chunks(file: int) -> Iterator[bytes]:
    """The bytes of an open file from its start, a piece at a time."""
    offset = 0
    while chunk := os.pread(file, _CHUNK_BYTES, offset):
        yield chunk
        offset += len(chunk)


def contents(file: int, size: int) -> bytes:
    """All bytes of an open file that had `size` of them a moment ago, and one more if it has grown."""
    data = os.pread(file, size + 1, 0)
    while len(data) < size and (more := os.pread(file, size + 1 - len(data), len(data))):
        data += more  # a read stops short at 2 GiB, and on some network file systems wherever it likes
    return data


def sha256_of(file: int) -> str:
    digest = hashlib.sha256()
    for chunk in chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_at(folder: int, name: str) -> str | None:
    """The checksum of a regular file; None where the name is free or means something else."""
    return _of_regular(folder, name, sha256_of)


def _of_regular(folder: int, name: str, look: Callable[[int], Seen]) -> Seen | None:
    """What `look` makes of the opened file; None where the name is free or means something else."""
    try:
        file = os.open(name, READ, dir_fd=folder)
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise
    try:
        return look(file) if is_regular(file) else None
    finally:
        os.close(file)


def is_regular(file: int) -> bool:
    return stat.S_ISREG(os.fstat(file).st_mode)


def exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def names_in(folder: int) -> list[str]:
    # By a descriptor of our own: a listing moves a position that all duplicates of a descriptor share.
    own = os.open(".", FOLDER, dir_fd=folder)
    try:
        return sorted(os.listdir(own))
    finally:
        os.close(own)


def remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def enter(parent: int, name: str) -> int:
    """A descriptor of the folder `name`, made durably where it is missing."""
    try:
        return os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, 0o777, dir_fd=parent)
    except FileExistsError:
        pass  # another thread was faster
    sync_folder(parent)
    return os.open(name, FOLDER, dir_fd=parent)


def sync_folder(folder: int) -> None:
    """Make the names in a folder durable, where its file system knows how."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise


@contextmanager
def known(path: str) -> Iterator[None]:
    """Raise NotThere where there is no such file, or what lies there tells nothing (ValueError)."""
    try:
        yield
    except ValueError as error:
        raise NotThere from error
    except OSError as error:
        if error.errno in NO_FILE:
            raise NotThere from error
        raise
