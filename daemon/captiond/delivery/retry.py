"""Putting failed images back into the inbox, for `captiond retry`; the daemon may run meanwhile.

    1  write  inbox/.captiond/retry/<job>          the image, with its time and permissions
       write  failed/.captiond/retry/<job>.claim   which image of failed/ it is
       fsync  both folders
    2  rename failed/X.error.json -> failed/.captiond/retry/<job>.json    from here on it goes forward
    3  move   inbox/.captiond/retry/<job> -> its path in the inbox, without replacing
    4  remove failed/X, then the traces

A crash before 2 leaves the image in failed/ and traces that the next call removes; after 2 the next call
finishes: where the written image is gone from `retry/` it has reached the inbox, even if the daemon has taken
it from there since.  So an image goes back once, however often it is asked for; it must never have two names.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from captiond import sidecar
from captiond.delivery.attributes import Attributes
from captiond.delivery.files import (
    chunks,
    enter,
    exists,
    is_regular,
    known,
    read,
    remove,
    sha256_at,
    sha256_of,
    sync_folder,
    write,
)
from captiond.delivery.folders import WORK
from captiond.delivery.moves import Move, move_at_once
from captiond.errors import NotThere, as_surroundings
from captiond.names import candidates, job_id, shown
from captiond.sidecar import Record
from captiond.support.openat import folder_of, open_file, open_folder, split

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


def put_back(path: str, *, inbox: Path, failed: Path, move: Move = move_at_once) -> str:
    """Put failed/`path` back; its path in the inbox.  NotThere if no failed image has that path."""
    try:
        with _opened(inbox, failed, move) as folders:
            folders.finish_earlier()
            return folders.put_back(path)
    except OSError as error:
        raise as_surroundings(error, f"putting {shown(path)} back into the inbox") from error


@dataclass(frozen=True, slots=True)
class _Folders:
    inbox: int
    failed: int
    written: int  # inbox/.captiond/retry
    traces: int  # failed/.captiond/retry
    move: Move

    def put_back(self, path: str) -> str:
        with known(path), folder_of(self.failed, path) as (folder, name):
            record = read(folder, name + sidecar.ERROR_SUFFIX) or b""
            told = sidecar.decode(record)
        job = job_id(path, hashlib.sha256(record).hexdigest())
        self._write(job, path)
        with folder_of(self.failed, path) as (folder, name):
            error_name = name + sidecar.ERROR_SUFFIX
            os.rename(error_name, f"{job}.json", src_dir_fd=folder, dst_dir_fd=self.traces)
            sync_folder(self.traces)
            sync_folder(folder)
        return self._finish(job, path, told)

    def finish_earlier(self) -> None:
        """What a crash left: forward where the record was taken, else back."""
        for job in {name.partition(".")[0] for name in os.listdir(self.traces)}:
            record, claim = read(self.traces, f"{job}.json"), read(self.traces, f"{job}.claim")
            if record is not None and claim is not None:
                self._finish(job, json.loads(claim)["path"], sidecar.decode(record))
            else:
                self._forget(job)
        for job in os.listdir(self.written):
            remove(self.written, job)

    def _write(self, job: str, path: str) -> None:
        with known(path):
            file = open_file(self.failed, path)
        try:
            if not is_regular(file):
                raise NotThere
            write(self.written, job, chunks(file), Attributes.of(file).give)
            claim = {"path": path, "sha256": sha256_of(file)}  # it may be another than failed: repaired
        finally:
            os.close(file)
        write(self.traces, f"{job}.claim", [json.dumps(claim).encode()])
        sync_folder(self.written)
        sync_folder(self.traces)

    def _finish(self, job: str, path: str, told: Record) -> str:
        returned = self._show(job, told) if exists(self.written, job) else told.path
        claim = json.loads(read(self.traces, f"{job}.claim") or b"{}")
        with folder_of(self.failed, path) as (folder, name):
            if sha256_at(folder, name) == claim["sha256"]:
                remove(folder, name)
                sync_folder(folder)
        self._forget(job)
        return returned

    def _show(self, job: str, told: Record) -> str:
        folder_name, name = split(told.path)
        folder = _made(self.inbox, folder_name)
        try:
            for free in candidates(name, told.source.sha256, suffix=""):
                try:
                    self.move(self.written, job, folder, free)
                    break
                except FileExistsError:
                    continue
            sync_folder(folder)
        finally:
            os.close(folder)
        return f"{folder_name}/{free}" if folder_name else free

    def _forget(self, job: str) -> None:
        remove(self.traces, f"{job}.json")
        sync_folder(self.traces)  # a record without a claim is forgotten, a claim without a record undone
        remove(self.traces, f"{job}.claim")
        remove(self.traces, f"{job}.claim.new")


@contextmanager
def _opened(inbox: Path, failed: Path, move: Move) -> Iterator[_Folders]:
    with ExitStack() as closing:

        def keep(descriptor: int) -> int:
            closing.callback(os.close, descriptor)
            return descriptor

        def opened(root: Path) -> tuple[int, int]:
            descriptor = keep(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            return descriptor, keep(enter(keep(enter(descriptor, WORK)), _RETRY))

        to, written = opened(inbox)
        origin, traces = opened(failed)
        fcntl.flock(traces, fcntl.LOCK_EX)  # of two commands at once one waits
        yield _Folders(to, origin, written, traces, move)


def _made(root: int, folder: str) -> int:
    descriptor = open_folder(root, "")
    for part in folder.split("/") if folder else ():
        try:
            inner = enter(descriptor, part)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor
