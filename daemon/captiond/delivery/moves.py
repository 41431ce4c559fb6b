"""Giving a file a new name without ever replacing a file that has that name, in three ways.

Linux can do it in one step, but not every file system can: NFS refuses the flag of renameat2, CIFS and exFAT
know no links.  Each way raises FileExistsError if the name is taken and leaves the file where it was.

    flagged     renameat2(RENAME_NOREPLACE)        one step
    linked      link, fsync, then unlink           a crash between leaves both names on one file
    reserved    create the name empty, then        a crash between leaves an empty file under the new name;
                rename over it                     only our own, still empty reservation is ever replaced
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
from collections.abc import Iterable
from typing import Protocol

from captiond.delivery.files import TIME_GRAIN_NS, remove, status_of
from captiond.names import candidates
from captiond.support.openat import NEW, sync_folder

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2

# For a libc without renameat2 (glibc before 2.28, musl): the number of the system call.
_SYSCALL_NUMBERS = {
    "x86_64": 316,
    "aarch64": 276,
    "riscv64": 276,
    "ppc64le": 357,
    "s390x": 347,
    "armv7l": 382,
}

# The errors of a file system that does not know the flag.
REFUSES_FLAG = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}

# The errors of a file system without links; EPERM also if we may not link to other people's files,
# and EIO is how `rclone mount` says it.
_REFUSES_LINKS = {
    errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EACCES, errno.EIO,
}  # fmt: skip


class Move(Protocol):
    """Moves `name` in the folder `source` to `new_name` in the folder `target`; both are descriptors."""

    def __call__(self, source: int, name: str, target: int, new_name: str) -> None: ...


def move(source: int, name: str, target: int, new_name: str) -> None:
    """Move by the first of the three ways that the file system knows."""
    try:
        return flagged(source, name, target, new_name)
    except OSError as error:
        if error.errno not in REFUSES_FLAG:
            raise
    try:
        return linked(source, name, target, new_name)
    except OSError as error:
        if error.errno not in _REFUSES_LINKS:
            raise
    return reserved(source, name, target, new_name)


def move_at_once(source: int, name: str, target: int, new_name: str) -> None:
    """Like `move`, without the way in which the file has two names for a while."""
    try:
        return flagged(source, name, target, new_name)
    except OSError as error:
        if error.errno not in REFUSES_FLAG:
            raise
    return reserved(source, name, target, new_name)


def flagged(source: int, name: str, target: int, new_name: str) -> None:
    _rename(source, name, target, new_name, _RENAME_NOREPLACE)


def exchange(source: int, name: str, target: int, new_name: str) -> None:
    """Two files take each other's names in one step.

    Raises: OSError, with an errno of REFUSES_FLAG if the file system cannot do that.
    """
    _rename(source, name, target, new_name, _RENAME_EXCHANGE)


def _rename(source: int, name: str, target: int, new_name: str, flag: int) -> None:
    if _renameat2(source, os.fsencode(name), target, os.fsencode(new_name), flag) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name, None, new_name)


def linked(source: int, name: str, target: int, new_name: str) -> None:
    try:
        os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        # A network file system may report an error although the link was made.
        if error.errno != errno.EIO or not same_file(source, name, target, new_name):
            raise
    sync_folder(target)  # or a power cut may keep the unlink and lose the link
    os.unlink(name, dir_fd=source)


def reserved(source: int, name: str, target: int, new_name: str) -> None:
    reservation = os.open(new_name, NEW, 0o600, dir_fd=target)
    try:
        _refuse_foreign(reservation, target, new_name)
        try:
            os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
        except OSError:
            _refuse_foreign(reservation, target, new_name)
            os.unlink(new_name, dir_fd=target)
            raise
    finally:
        os.close(reservation)


def _refuse_foreign(reservation: int, folder: int, name: str) -> None:
    """Raises: FileExistsError, if `name` is not, or no longer, the empty file that we made."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        there = None
    if there is None or there.st_size or not os.path.samestat(there, os.fstat(reservation)):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def same_file(one: int, name: str, other: int, other_name: str) -> bool:
    """Whether two names lead to one file."""
    here, there = status_of(one, name), status_of(other, other_name)
    return here is not None and there is not None and os.path.samestat(here, there)


def move_beside(
    move: Move, source: tuple[int, str], target: tuple[int, str], sha256: str, *, suffix: str = ""
) -> str:
    """Move a file to its name or, if that is taken, to the next free one; the name that it has now.

    If a taken name is a second name of the very file, left by a crash between link and unlink, it is used.
    """
    (folder, name), (new_folder, new_name) = source, target
    for free in candidates(new_name, sha256, suffix=suffix):
        try:
            move(folder, name, new_folder, free)
        except FileExistsError:
            if not same_file(folder, name, new_folder, free):
                continue
            os.unlink(name, dir_fd=folder)
        break
    return free


def drop_reservations(folder: int, names: Iterable[str], *, claimed_at_ns: int) -> None:
    """Remove the empty files that `reserved` made for these names and a crash left.

    The names were free when they were claimed, so an empty file that is younger than the claim is ours.
    """
    for name in names:
        there = status_of(folder, name)
        if there is None or not stat.S_ISREG(there.st_mode) or there.st_size:
            continue
        if there.st_mtime_ns >= claimed_at_ns - TIME_GRAIN_NS:
            remove(folder, name)


_libc = ctypes.CDLL(None, use_errno=True)


def _renameat2(source: int, old: bytes, target: int, new: bytes, flag: int) -> int:
    if hasattr(_libc, "renameat2"):
        return int(_libc.renameat2(source, old, target, new, ctypes.c_uint(flag)))
    number = _SYSCALL_NUMBERS.get(platform.machine())
    if number is None:
        ctypes.set_errno(errno.ENOSYS)
        return -1
    return int(_libc.syscall(ctypes.c_long(number), source, old, target, new, ctypes.c_uint(flag)))
