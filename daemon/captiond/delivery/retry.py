"""Putting failed images back into the inbox, for `captiond retry`; the daemon may run meanwhile.

    1  write  inbox/.captiond/retry/<job>          the image, with its time and permissions
       write  failed/.captiond/retry/<job>.claim   which image of failed/ it is
       fsync  both folders
    2  rename failed/X.error.json -> failed/.captiond/retry/<job>.json    from here on only forward
    3  move   inbox/.captiond/retry/<job> -> its path in the inbox, without replacing
    4  remove failed/X, then the traces

A crash before 2 leaves the image in failed/ and traces that the next call removes; after 2 the next call
finishes: if the written image is gone from `retry/` it has reached the inbox, even if the daemon has taken
it from there since.  So an image goes back once, however often it is asked for; it must never have two names.

Any user who may write into failed/ may have written the record beside an image.  So the most that a record
can do is to choose the image's path beneath the inbox.  If root runs the command, it obeys no other
`.captiond/` than its own and that of the folder's owner, and what it makes belongs to the folder's owner.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from captiond import sidecar
from captiond.delivery.attributes import Attributes
from captiond.delivery.files import (
    copy,
    enter,
    exists,
    give_to_owner_of,
    is_regular,
    known,
    must_be_files,
    names_in,
    read,
    remove,
    sha256_at,
)
from captiond.delivery.folders import WORK, make_folder
from captiond.delivery.journal import CLAIM, RECORD, Trace, jobs
from captiond.delivery.moves import Move, move_at_once, move_beside
from captiond.delivery.not_understood import Tell, put_by, unheard
from captiond.errors import NotThere, as_surroundings
from captiond.names import checked_path, job_id, shown
from captiond.records import Notice
from captiond.sidecar import Record, checked
from captiond.sidecar.decode import read_json
from captiond.support import own
from captiond.support.openat import folder_of, open_file, split, sync_folder

_RETRY = "retry"


def failures(failed: Path) -> list[str]:
    """The images in failed/ that have an error beside them, by their paths in that folder."""
    found = []
    for folder, folders, names in os.walk(failed):
        folders[:] = [name for name in folders if name != WORK]
        for name in names:
            if name.endswith(sidecar.ERROR_SUFFIX):
                record = os.path.join(folder, name)  # noqa: PTH118 - names that are not UTF-8
                found.append(os.path.relpath(record, failed).removesuffix(sidecar.ERROR_SUFFIX))
    return sorted(found)


def put_back(path: str, *, inbox: Path, failed: Path, move: Move = move_at_once, tell: Tell = unheard) -> str:
    """Put failed/`path` back; its path in the inbox.

    `tell`: hears of traces of an earlier retry that cannot be understood, or cannot be finished yet.

    Raises: NotThere, if no failed image has that path; Surroundings.
    """
    with known(path):
        checked_path(path)
    try:
        with _opened(inbox, failed, move, tell) as folders:
            folders.finish_earlier()
            return folders.put_back(path)
    except OSError as error:
        raise as_surroundings(error, f"putting {shown(path)} back into the inbox") from error


@dataclass(frozen=True, slots=True)
class _Place:
    """The inbox or failed/, by descriptors."""

    path: Path
    root: int
    work: int  # .captiond/
    retry: int  # .captiond/retry/


@dataclass(frozen=True, slots=True)
class _Claim:
    """Which image of failed/ goes back."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Folders:
    inbox: _Place  # what was written waits in its `retry`
    failed: _Place  # the traces lie in its `retry`
    move: Move
    tell: Tell

    def put_back(self, path: str) -> str:
        with known(path), folder_of(self.failed.root, path) as (folder, name):
            record = read(folder, name + sidecar.ERROR_SUFFIX) or b""
            told = sidecar.decode(record)
        # First, so that nothing is begun if the image cannot go there.
        make_folder(self.inbox.root, split(told.path)[0])
        job = job_id(path, hashlib.sha256(record).hexdigest())
        trace = self._trace(job)
        claim = self._write(trace, path)
        with folder_of(self.failed.root, path) as (folder, name):
            error_name = name + sidecar.ERROR_SUFFIX
            os.rename(error_name, trace.name(RECORD), src_dir_fd=folder, dst_dir_fd=trace.work)
            trace.sync()
            sync_folder(folder)
        return self._finish(trace, claim, told)

    def _trace(self, job: str) -> Trace:
        return Trace(self.failed.retry, job)

    def finish_earlier(self) -> None:
        """Finish what a crash left: forward if the record was taken, else back.  None stops another."""
        for trace in map(self._trace, jobs(self.failed.retry)):
            try:
                self._finish_one(trace)
            except ValueError as error:
                self._put_by(trace, error)
            except OSError as error:
                why = f"a retry that was begun waits ({trace.job}): {error.strerror}"
                self.tell(Notice("retry_waits", why))
        kept = jobs(self.failed.retry)
        for name in names_in(self.inbox.retry):
            if name.partition(".")[0] not in kept:
                with suppress(OSError):  # if it is not a file, captiond did not make it
                    remove(self.inbox.retry, name)

    def _finish_one(self, trace: Trace) -> None:
        trace.must_be_files()
        must_be_files(self.inbox.retry, [trace.job])
        record, claim = map(trace.read, (RECORD, CLAIM))
        if record is not None and claim is not None:
            self._finish(trace, _claim_from(claim), sidecar.decode(record))
        else:
            trace.forget()

    def _put_by(self, trace: Trace, why: ValueError) -> None:
        for place, names in ((self.failed, trace.names()), (self.inbox, [trace.job])):
            there = [name for name in names if exists(place.retry, name)]
            if there:
                put_by(place.work, place.retry, there, why, place.path / WORK, self.tell)

    def _write(self, trace: Trace, path: str) -> _Claim:
        with known(path):
            file = open_file(self.failed.root, path)
        try:
            if not is_regular(file):
                raise NotThere
            digest = hashlib.sha256()
            give = Attributes.of(file).without_execution().give
            copy(file, self.inbox.retry, trace.job, give, digest.update)
            claim = _Claim(path, digest.hexdigest())  # not the record's: a person may have repaired the image
        finally:
            os.close(file)
        trace.note(CLAIM, claim, partial(give_to_owner_of, self.failed.work))
        sync_folder(self.inbox.retry)
        trace.sync()
        return claim

    def _finish(self, trace: Trace, claim: _Claim, told: Record) -> str:
        returned = self._show(trace.job, told) if exists(self.inbox.retry, trace.job) else told.path
        with folder_of(self.failed.root, claim.path) as (folder, name):
            if sha256_at(folder, name) == claim.sha256:
                remove(folder, name)
                sync_folder(folder)
        trace.forget()
        return returned

    def _show(self, job: str, told: Record) -> str:
        folder_name, name = split(told.path)
        folder_name = make_folder(self.inbox.root, folder_name)
        with folder_of(self.inbox.root, f"{folder_name}/{name}" if folder_name else name) as (folder, _):
            free = move_beside(self.move, (self.inbox.retry, job), (folder, name), told.source.sha256 or job)
            sync_folder(folder)
        return f"{folder_name}/{free}" if folder_name else free


def _claim_from(text: bytes) -> _Claim:
    """Raises: ValueError, if no retry can have written this."""
    told = read_json(text)
    return _Claim(checked_path(told.get("path")), checked.digest(told.get("sha256")))


@contextmanager
def _opened(inbox: Path, failed: Path, move: Move, tell: Tell) -> Iterator[_Folders]:
    with ExitStack() as closing:

        def keep(descriptor: int) -> int:
            closing.callback(os.close, descriptor)
            return descriptor

        def opened(path: Path) -> _Place:
            root = keep(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            work = keep(own.enter(root, path, for_its_owner=True).descriptor)
            return _Place(path, root, work, keep(enter(work, _RETRY, 0o700)))

        folders = _Folders(opened(inbox), opened(failed), move, tell)
        fcntl.flock(folders.failed.retry, fcntl.LOCK_EX)  # a second command waits here
        yield folders
