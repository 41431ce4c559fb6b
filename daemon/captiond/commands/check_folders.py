"""The folders: apart from each other, there, writable.

It writes one small hidden file and removes it at once, since only that proves that a folder can be written
to.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from captiond.commands.check_result import CheckResult, wrong
from captiond.delivery.nesting import refuse_nested
from captiond.errors import CannotStart, Surroundings
from captiond.inbox import mounts
from captiond.libraries import Place
from captiond.names import OWN_FOLDER
from captiond.records import Notice
from captiond.service.build import places_of
from captiond.settings.library import Library
from captiond.settings.schema import Folders
from captiond.support import openat, own


def named(folders: Folders) -> list[tuple[str, Path]]:
    return [(f"folders.{name}", getattr(folders, name)) for name in ("inbox", "done", "failed", "state")]


def nesting(folders: Folders, libraries: Iterable[Library] = ()) -> CheckResult:
    try:
        refuse_nested(folders.inbox, folders.done, folders.failed, folders.state, **places_of(libraries))
    except CannotStart as verdict:
        return wrong("folders", verdict)
    return CheckResult("folders", True, "side by side")


def library(library: Library) -> CheckResult:
    """Whether the library can be seen, is marked, and can be described."""
    name = f"library {library.name}"
    place = Place(library.name, library.path, library.mirror)
    try:
        with place.opened() as root:
            place.marker(root)
            with place.written_into(root) as target:
                if not os.access(".", os.W_OK | os.X_OK, dir_fd=target):
                    where = library.mirror or library.path
                    advice = f"Let {user()} write into {where}, or set `sidecars` to another folder."
                    return CheckResult(name, False, "nothing can be written there", advice)
    except Surroundings as trouble:
        return CheckResult(name, False, trouble.message, trouble.advice)
    return CheckResult(name, True, str(library.path))


def folder(name: str, folder: Path) -> CheckResult:
    who = user()
    if mounts.is_waiting_for_its_mount(folder):
        return CheckResult(
            name, False, f"{folder} lies on a volume of /etc/fstab that is not mounted", "Mount it."
        )
    try:
        found = folder.stat()
        notices = _write_into(folder) if name != "folders.state" else _write_into_state(folder)
    except Surroundings as trouble:
        return CheckResult(name, False, trouble.message, trouble.advice)
    except FileNotFoundError:
        return CheckResult(
            name, False, f"{folder} does not exist", f"Create it so that {who} may write to it."
        )
    except NotADirectoryError:
        return CheckResult(name, False, f"{folder} is no folder", f"Set {name} to a folder.")
    except OSError as error:
        return CheckResult(
            name,
            False,
            f"{folder} cannot be written to by {who}: {error.strerror}",
            f"If {who} is the user that runs the daemon, give it read and write permission."
            if isinstance(error, PermissionError)
            else None,
        )
    if notices:
        return CheckResult(name, None, notices[0].message, "Then nobody but the daemon can move it.")
    if found.st_mode & stat.S_ISVTX and os.geteuid() not in (0, found.st_uid):
        return CheckResult(
            name,
            None,
            f"{folder} has its sticky bit set, so {who} cannot move what others put there",
            f"Remove it: chmod -t {folder}",
        )
    return CheckResult(name, True, f"{folder}, writable for {who}")


def _write_into(folder: Path) -> tuple[Notice, ...]:
    """Write one byte into a hidden file and remove it again, with its hidden folder if that was new."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    is_new = not os.path.lexists(folder / OWN_FOLDER)
    try:
        opened = own.enter(root, folder, for_its_owner=True)
        try:
            _write_and_remove(opened.descriptor)
            return own.notices(folder, root, opened)
        finally:
            os.close(opened.descriptor)
            if is_new:
                with suppress(OSError):  # a daemon that started meanwhile may have put a file there
                    os.rmdir(OWN_FOLDER, dir_fd=root)
    finally:
        os.close(root)


def _write_into_state(folder: Path) -> tuple[Notice, ...]:
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _write_and_remove(root)
    finally:
        os.close(root)
    return own.notices_of_state(folder)


def _write_and_remove(folder: int) -> None:
    name = f"check-{os.getpid()}"
    descriptor = os.open(name, openat.NEW, 0o600, dir_fd=folder)
    try:
        os.write(descriptor, b"\n")
        os.fsync(descriptor)  # a full disk, or a quota on a network share, may fail only now
    finally:
        os.close(descriptor)
        os.unlink(name, dir_fd=folder)


def user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return f"user {os.geteuid()}"
