"""The folder `.captiond/` in each of our folders: the daemon's own, closed to all others.

The daemon acts upon what lies in it: it says which files are taken away and where others go.  So it is made
with mode 0700, and each time it is opened its owner and its permissions are looked at.  Some file systems
(vfat, exfat, many shares) keep neither.  To tell them from a folder that is merely open to others, a file is
made in it and removed again: if even that file is open to others, the file system keeps no permissions.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import shlex
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from captiond.errors import Surroundings
from captiond.names import OWN_FOLDER
from captiond.records import Notice
from captiond.support.openat import FOLDER, NEW, sync_folder

Result = TypeVar("Result")

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SWEEPS = 10  # how often in a row another program may remove the folder while it is used
_PRIVATE = 0o700


def despite_sweeps(act: Callable[[], Result]) -> Result:
    """What `act` gives; called again if `.captiond/` was removed in the middle of it.

    A program that mirrors into the folder (rclone sync) removes what it did not bring, also between the
    system call that makes our folder and the next one.

    Raises: what `act` raises; FileNotFoundError, if it comes ten times in a row.
    """
    for _ in range(_SWEEPS - 1):
        with suppress(FileNotFoundError):
            return act()
    return act()


@dataclass(frozen=True, slots=True)
class Own:
    """The opened folder; the caller closes the descriptor."""

    descriptor: int
    is_private: bool  # False: the file system cannot keep others out


def enter(parent: int, path: Path, *, for_its_owner: bool = False) -> Own:
    """`.captiond/` in the opened folder `parent`, whose path is `path`; made, durably, if it is missing.

    `for_its_owner`: root also opens what belongs to the owner of `parent`, for a command beside a daemon.

    Raises: Surroundings, if others may write into it; OSError.
    """
    with ExitStack() as undo:
        folder, made = despite_sweeps(lambda: _opened(parent))
        undo.callback(os.close, folder)
        there, above = os.fstat(folder), os.fstat(parent)
        if made and for_its_owner and os.geteuid() == 0:
            os.fchown(folder, above.st_uid, -1)
            there = os.fstat(folder)
        owners = {os.geteuid(), above.st_uid} if for_its_owner and os.geteuid() == 0 else {os.geteuid()}
        is_private = there.st_uid in owners and not there.st_mode & OTHERS_MAY_WRITE
        if not is_private and _keeps_others_out(folder, there, owners):
            raise _open_to_others(path / OWN_FOLDER, there, owners)
        if is_private and stat.S_IMODE(there.st_mode) & 0o077:
            # The bits above stay: with setgid new files get the group of the folder that they are meant for.
            os.fchmod(folder, stat.S_IMODE(there.st_mode) & ~0o077)
        undo.pop_all()
    return Own(folder, is_private)


def notices(path: Path, parent: int, own: Own) -> tuple[Notice, ...]:
    """What the owner of `path` should know, if others can forge or move what lies in `.captiond/`."""
    above = os.fstat(parent)
    if not own.is_private:
        told = (
            f"{path} lies on a file system that keeps no owners or permissions: whoever may write there can "
            f"forge what the daemon keeps in {path / OWN_FOLDER}; let in only people whom you trust."
        )
        return (Notice("no_permissions", told),)
    if not others_may_write(above) or above.st_mode & stat.S_ISVTX:
        return ()
    told = (
        f"others may write into {path}, and so rename {path / OWN_FOLDER} away, which pauses the work: "
        f"{_sticky(path, above)} (each can then take away only what is theirs)"
    )
    return (Notice("open_to_others", told),)


def notices_of_state(path: Path) -> tuple[Notice, ...]:
    """What its owner should know of the folder for counts and history, which has no `.captiond/`."""
    try:
        there = path.stat()
    except OSError:
        return ()  # the first write into it reports the trouble
    if not others_may_write(there):
        return ()
    told = f"others may write into {path}, where attempts are counted: chmod go-w {shlex.quote(str(path))}"
    return (Notice("state_open_to_others", told),)


def others_may_write(status: os.stat_result) -> bool:
    """Whether another user may write into a folder; a group with no member but us does not count."""
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_own_group(status.st_gid)


def _is_own_group(number: int) -> bool:
    """Many systems give each user a group of that name, and a umask that opens all to it."""
    try:
        group = grp.getgrgid(number)
    except KeyError:
        return False
    me = _user(os.geteuid())
    return group.gr_name == me and set(group.gr_mem) <= {me}


def _sticky(path: Path, above: os.stat_result) -> str:
    """The command that keeps others from renaming it, and still lets the daemon take their pictures."""
    where, me = shlex.quote(str(path)), os.geteuid()
    if me in (0, above.st_uid):
        return f"chmod +t {where}"
    return f"chown {_user(me)} {where} && chmod +t {where}"


def _opened(parent: int) -> tuple[int, bool]:
    """The folder, and whether it was made just now."""
    made = _made(parent)
    return os.open(OWN_FOLDER, FOLDER, dir_fd=parent), made


def _made(parent: int) -> bool:
    try:
        os.stat(OWN_FOLDER, dir_fd=parent, follow_symlinks=False)
        return False
    except FileNotFoundError:
        pass
    try:
        os.mkdir(OWN_FOLDER, _PRIVATE, dir_fd=parent)
    except FileExistsError:
        return False  # another thread was faster
    sync_folder(parent)
    return True


def _keeps_others_out(folder: int, there: os.stat_result, owners: set[int]) -> bool:
    """Whether the file system knows owners and permissions: then those of the folder let others in."""
    name = f"probe-{secrets.token_hex(8)}"
    try:
        probe = os.open(name, NEW, 0o600, dir_fd=folder)
    except PermissionError:
        return True
    try:
        made = os.fstat(probe)
    finally:
        os.close(probe)
        os.unlink(name, dir_fd=folder)
    if made.st_uid == there.st_uid != os.geteuid():
        return False  # on this file system a new file belongs to one fixed user, not to its maker
    return there.st_uid not in owners or not stat.S_IMODE(made.st_mode) & 0o077


def _open_to_others(path: Path, there: os.stat_result, owners: set[int]) -> Surroundings:
    where = shlex.quote(str(path))
    if there.st_uid in owners:
        return Surroundings(
            f"others may write into {path}, in which the daemon keeps what it acts upon",
            advice=f"Look at what lies there, then: chmod 700 {where}",
        )
    me, them = _user(os.geteuid()), _user(there.st_uid)
    return Surroundings(
        f"{path}, in which the daemon keeps what it acts upon, belongs to {them} and not to {me}",
        advice=f"Run it as {them}; or look at what lies there, then: "
        f"chown -R {me} {where} && chmod 700 {where}",
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
