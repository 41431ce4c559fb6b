"""Setting aside without a copy: the original itself is given its name in failed/.

    1  write  failed/.captiond/<job>.json    the error record; fsync
       write  failed/.captiond/<job>.claim   which file, and the name chosen for it; fsync, and their folder
    2  move   inbox/X -> failed/X, without replacing; fsync both folders.  It is looked at again: if it is not
              the file that was claimed, or is open for writing, it goes back
    3  move   <job>.json -> failed/X.error.json = commit; fsync

No byte is copied, so it needs no room, and nothing of the file changes.  If the two folders are not on one
file system, or the move is not allowed, `failing` copies instead.

After a crash the file lies in the inbox, and recovery goes on from 2, or in failed/, and it goes on from 3.
If the file system moves by a link, the file may have both names; then recovery removes the one in the inbox.
The file is known by its checksum, or by its size and its time if it was too large to be read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from captiond.delivery.claims import Claim, Original, looks_like
from captiond.delivery.files import NO_FILE, exists, is_regular, sha256_of, status_of
from captiond.delivery.moves import move_beside, same_file
from captiond.delivery.steps import Steps
from captiond.errors import TryLater
from captiond.support.lease import is_held_by_writer
from captiond.support.openat import folder_of, open_file, split, sync_folder

# The errors that mean it must be copied: another volume, or a folder from which only owners may take files.
NO_MOVE = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK}


def commit(steps: Steps, claim: Claim, file: int) -> Claim:
    """Steps 2 and 3, for the opened original.

    Raises: TryLater, if it is not what was claimed, and then no traces are left; OSError, with an errno of
    NO_MOVE if it must be copied, and then nothing was done.
    """
    seen = os.fstat(file)
    with (
        folder_of(steps.inbox.root, claim.path) as (source, name),
        _shown(steps, claim) as (target, new_name),
    ):
        try:
            steps.move(source, name, target, new_name)
        except FileExistsError:
            steps.trace.clear()
            raise TryLater("somebody took the name that it was to have in failed/") from None
        try:
            sync_folder(target)  # where it is now, before where it is no more
            sync_folder(source)
            why_not = _why_not(seen, status_of(target, new_name), file)
            if why_not is None:
                return _told(steps, claim)
            _put_back(steps, claim, target, new_name)
        except OSError:
            with suppress(OSError):  # else recovery goes on from here
                _undo(steps, claim, target, new_name)
            raise
    steps.trace.clear()
    raise TryLater(why_not)


def finish(steps: Steps, claim: Claim) -> Claim | None:
    """Go on from where a crash left it; None, and no traces, if there is nothing left to set aside."""
    original = claim.original
    with _shown(steps, claim) as (target, new_name), _opened(steps.inbox.root, claim.path, original) as here:
        steps.drop_reservations(claim)
        there = status_of(target, new_name)
        with _opened(target, new_name, original) as shown:
            is_shown = shown is not None
        if is_shown:
            if _has_second_name(steps, claim, target, new_name):
                _drop_from_inbox(steps, claim)
            return _told(steps, claim)
        if there is not None and there.st_ino == original.fingerprint.inode and there.st_size:
            _put_back(steps, claim, target, new_name)  # it was changed while it was moved
        elif here is not None:
            try:
                return commit(steps, claim, here)
            except OSError as error:
                if error.errno not in NO_MOVE:
                    raise
    steps.trace.forget()
    return None


def _told(steps: Steps, claim: Claim) -> Claim:
    """Step 3."""
    try:
        steps.commit_shown(claim)
    except FileExistsError:
        with _shown(steps, claim) as (target, new_name):
            _put_back(steps, claim, target, new_name)
        steps.trace.clear()
        raise TryLater("somebody took the name that its error was to have in failed/") from None
    return claim


def _why_not(seen: os.stat_result, there: os.stat_result | None, file: int) -> str | None:
    """Why what was moved is not the whole file that was looked at."""
    if there is None or not os.path.samestat(there, seen) or not stat.S_ISREG(there.st_mode):
        return "another file had its name in the last moment"
    if (there.st_size, there.st_mtime_ns) != (seen.st_size, seen.st_mtime_ns):
        return "it changed after it had settled"
    return "a program has it open for writing" if is_held_by_writer(file) else None


def _put_back(steps: Steps, claim: Claim, target: int, new_name: str) -> None:
    folder_name, name = split(claim.path)
    with steps.inbox.folder(steps.inbox.make_folder(folder_name)) as source:
        digest = claim.original.sha256 or steps.trace.job
        move_beside(steps.move, (target, new_name), (source, name), digest)
        sync_folder(source)
    sync_folder(target)


def _has_second_name(steps: Steps, claim: Claim, target: int, new_name: str) -> bool:
    try:
        with folder_of(steps.inbox.root, claim.path) as (source, name):
            return same_file(source, name, target, new_name)
    except OSError as error:
        if error.errno in NO_FILE:
            return False
        raise


def _undo(steps: Steps, claim: Claim, target: int, new_name: str) -> None:
    """Go back to step 1: a disk that does not sync may lose what was done since."""
    record, traced = new_name + steps.suffix, (steps.trace.work, steps.trace.record)
    if not exists(*traced):
        os.rename(record, steps.trace.record, src_dir_fd=target, dst_dir_fd=steps.trace.work)
    elif same_file(target, record, *traced):  # the trouble came between link and unlink
        os.unlink(record, dir_fd=target)
    _put_back(steps, claim, target, new_name)


def _drop_from_inbox(steps: Steps, claim: Claim) -> None:
    with folder_of(steps.inbox.root, claim.path) as (source, name):
        os.unlink(name, dir_fd=source)
        sync_folder(source)


@contextmanager
def _shown(steps: Steps, claim: Claim) -> Iterator[tuple[int, str]]:
    folder_name, name = split(claim.name)
    with steps.target.folder(steps.target.make_folder(folder_name)) as folder:
        yield folder, name


@contextmanager
def _opened(root: int, path: str, original: Original) -> Iterator[int | None]:
    """The file of that path, if it is the original."""
    try:
        file = open_file(root, path)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        yield None
        return
    try:
        yield file if _is(file, original) else None
    finally:
        os.close(file)


def _is(file: int, original: Original) -> bool:
    if not is_regular(file) or os.fstat(file).st_size != original.fingerprint.size:
        return False
    if original.sha256:
        return sha256_of(file) == original.sha256
    return looks_like(original, os.fstat(file))
