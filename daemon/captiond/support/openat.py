"""Opening names beneath a folder without ever following a link out of it.

If the kernel has openat2(2), it does it in one call, with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS.  Else
every part of a path is opened relative to its parent with O_NOFOLLOW.  Either way a link put in place of a
folder or of a file is refused (ELOOP or ENOTDIR) instead of followed, whenever it is put there.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from captiond.errors import as_surroundings

FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_CANNOT_SYNC_FOLDERS = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # some network and FUSE file systems


def split(path: str) -> tuple[str, str]:
    """A relative path as (folder, name); the folder is empty for a name that lies at the top."""
    folder, _, name = path.rpartition("/")
    return folder, name


def open_folder(root: int, folder: str) -> int:
    """A descriptor of `folder` beneath the folder that the descriptor `root` stands for."""
    descriptor = os.open(".", FOLDER, dir_fd=root)
    for part in folder.split("/") if folder else ():
        if part in ("", ".", ".."):
            os.close(descriptor)
            raise ValueError(f"not a path beneath a folder: {folder!r}")
        try:
            inner = os.open(part, FOLDER, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


@contextmanager
def beneath(root: int, folder: str) -> Iterator[int]:
    """A descriptor of `folder` beneath the folder `root`, while this lasts."""
    descriptor = open_folder(root, folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened(path: Path, doing: str) -> Iterator[int]:
    """A descriptor of the folder at `path`, whatever lies there now, while this lasts.

    `doing`: part of what the error says.

    Raises: Surroundings, for any OSError, also one that comes while this lasts.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise as_surroundings(error, doing) from error


@contextmanager
def folder_of(root: int, path: str) -> Iterator[tuple[int, str]]:
    """The opened folder in which `path` lies beneath `root`, and the last part of the path."""
    folder, name = split(path)
    descriptor = open_folder(root, folder)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


def open_file(root: int, path: str) -> int:
    """A descriptor for reading `path` beneath `root`.

    O_NONBLOCK keeps a FIFO that was put there from blocking us; the caller must still look at
    `os.fstat` before it reads, since devices and FIFOs open without complaint.
    """
    descriptor = _openat2(root, path, FILE)
    if descriptor is not None:
        return descriptor
    with folder_of(root, path) as (folder, name):
        return os.open(name, FILE, dir_fd=folder)


def sync_folder(folder: int) -> None:
    """Make the names in a folder durable, if its file system knows how."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise


class _OpenHow(ctypes.Structure):
    """`struct open_how` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_SYS_OPENAT2 = 437  # the same on all architectures
_RESOLVE = 0x02 | 0x04 | 0x08  # RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH
_libc = ctypes.CDLL(None, use_errno=True)

# No such call, or a container's filter that does not know it; a rename meanwhile, after which the kernel asks
# us to try again; a signal.  For all of them the path is opened part by part.
_NO_ANSWER = {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG, errno.EAGAIN, errno.EINTR}


def _openat2(root: int, path: str, flags: int) -> int | None:
    """The descriptor from the kernel's own walk; None if the path must be opened part by part."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        return None  # `open_folder` refuses it
    how = _OpenHow(flags=flags, mode=0, resolve=_RESOLVE)
    name = os.fsencode(path)
    if b"\0" in name:
        return None
    descriptor: int = _libc.syscall(_SYS_OPENAT2, root, name, ctypes.byref(how), ctypes.sizeof(how))
    if descriptor >= 0:
        return descriptor
    code = ctypes.get_errno()
    if code in _NO_ANSWER:
        return None
    raise OSError(code, os.strerror(code), path)
