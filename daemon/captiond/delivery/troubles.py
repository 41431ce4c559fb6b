"""Which trouble with a folder concerns one picture alone, and which concerns all.

If a file system refuses a name, a sub-folder is closed to us, or a file is larger than the free space, that
picture waits and says why, and all others go on.  Trouble with the folder itself is no picture's fault: it
stays an OSError, which pauses the work.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from captiond.delivery.files import remove, write
from captiond.delivery.folders import Folder
from captiond.errors import TryLater, as_surroundings
from captiond.names import shown

UNFIT_RETRY_SECONDS = 300.0
NO_ROOM_RETRY_SECONDS = 60.0

# If not even so much is free, the disk is full for all pictures.
SMALL_BYTES = 1024 * 1024

_UNFIT = {
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.EINVAL: "Give it a name that this file system allows.",
    errno.EILSEQ: "Give it a name that this file system allows.",
    errno.EFBIG: "Use a file system that holds files of this size.",
    errno.EXDEV: "Another volume is mounted inside this folder; mount one for the whole folder.",
}
# What a sub-folder answers if it is closed to us, or was just removed or replaced.
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_FULL = {errno.ENOSPC, errno.EDQUOT}


_PROBE = "room"


class NoRoom(TryLater):
    """One file is larger than the free space."""


@contextmanager
def ours(doing: str) -> Iterator[None]:
    """Trouble with folders of ours is never an image's fault.  Raises: Surroundings, for any OSError."""
    try:
        yield
    except OSError as error:
        raise as_surroundings(error, doing) from error


@contextmanager
def of_one_picture(folder: Folder, path: str) -> Iterator[None]:
    """Raises: TryLater, if an OSError of `folder` concerns the picture `path` alone; else the OSError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        trouble = _trouble(folder, path, error)
        if trouble is None:
            raise
        raise trouble from error


def _trouble(folder: Folder, path: str, error: OSError) -> TryLater | None:
    number = error.errno or 0
    if number in _UNFIT:
        told = f"{folder.path} cannot hold {shown(path)}: {error.strerror}"
        return TryLater(told, after_seconds=UNFIT_RETRY_SECONDS, advice=_UNFIT[number])
    beneath = path.rpartition("/")[0]
    if not beneath or number not in _CLOSED | _GONE or not _is_open(folder):
        return None
    where = f"{folder.path}/{shown(beneath)}"
    if number in _GONE:
        return TryLater(f"{where} was removed or replaced just now", after_seconds=1.0)
    return TryLater(
        f"nothing can be put into {where}: {error.strerror}",
        after_seconds=UNFIT_RETRY_SECONDS,
        advice="Give the user that runs captiond write permission on that folder.",
    )


def _is_open(folder: Folder) -> bool:
    """Whether the folder itself is there, and takes new files."""
    return os.fstat(folder.root).st_nlink > 0 and os.access(".", os.W_OK | os.X_OK, dir_fd=folder.root)


def ask_for_room(folder: Folder, path: str, needed: int) -> None:
    """Raises: NoRoom, if `folder` has no room for so many bytes of the file `path`, but enough for others."""
    disk = os.fstatvfs(folder.work)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and SMALL_BYTES <= free < needed:
        raise _no_room(folder, path, needed)


@contextmanager
def room_for(folder: Folder, path: str, needed: int) -> Iterator[None]:
    """Raises: NoRoom, if the file `path` fills the disk, but a small one still finds room; else OSError."""
    ask_for_room(folder, path, needed)
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or needed <= SMALL_BYTES or not _has_room_for_others(folder):
            raise
        raise _no_room(folder, path, needed) from error


def _has_room_for_others(folder: Folder) -> bool:
    """Find out by writing: a quota does not show in the numbers of a file system."""
    try:
        write(folder.work, _PROBE, [bytes(SMALL_BYTES)])
        return True
    except OSError:
        return False
    finally:
        with suppress(OSError):
            remove(folder.work, _PROBE)


def _no_room(folder: Folder, path: str, needed: int) -> NoRoom:
    return NoRoom(
        f"{folder.path} has no room for {shown(path)}, which takes {needed:,} bytes",
        after_seconds=NO_ROOM_RETRY_SECONDS,
        advice="Free some space, or take the file away; all others go on meanwhile.",
    )
