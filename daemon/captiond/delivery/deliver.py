"""Claiming, publishing, setting aside and recovering; the protocol stands in the package's docstring."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from captiond import sidecar
from captiond.delivery import originals
from captiond.delivery.attempts import Attempts
from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import Takers
from captiond.delivery.edit import Edits
from captiond.delivery.files import chunks, contents, enter, read, sha256_of
from captiond.delivery.folders import Folder, Folders
from captiond.delivery.journal import PICTURE, Claim, Original, Piece, Trace, jobs
from captiond.delivery.leftovers import Leftovers
from captiond.delivery.moves import Move, exchange, move
from captiond.delivery.nesting import refuse_nested
from captiond.delivery.recovery import Recovery
from captiond.delivery.staging import stage
from captiond.delivery.steps import Steps
from captiond.errors import Rejected, Surroundings, TryLater, as_surroundings
from captiond.names import job_id, shown
from captiond.records import (
    Delivered,
    Described,
    Fingerprint,
    Job,
    Notice,
    Outcome,
    Rules,
    RulesOf,
    SettledFile,
    Stamp,
)
from captiond.sidecar import Record
from captiond.support.openat import open_file, split


class Delivery:
    """One for each daemon; after `open`, safe to call from several threads."""

    def __init__(
        self,
        inbox: Path,
        done: Path,
        failed: Path,
        attempts: Attempts,
        rules_of: RulesOf,
        *,
        clock: Callable[[], float] = time.monotonic,
        move: Move = move,
        exchange: Move = exchange,
    ) -> None:
        self._paths = {"inbox": inbox, "done": done, "failed": failed}
        self._folders = Folders()
        self._attempts = attempts
        self._rules_of = rules_of
        self._takers = Takers()
        self._recovery = Recovery(attempts, self._takers, rules_of)
        self._edits = Edits(rules_of, move, exchange)
        self._clock = clock
        self._move = move
        self._freed = threading.Condition()
        self._in_work: set[tuple[str, str]] = set()
        self._leftovers = Leftovers(self._steps, self._working, clock)
        self.unresolved: tuple[Notice, ...] = ()

    def open(self) -> None:
        """Lock the folders and remove what no record accounts for; CannotStart where that cannot be."""
        refuse_nested(**self._paths, state=self._attempts.folder)
        with ExitStack() as undo:
            undo.callback(self.close)
            self._folders.open(self._paths)
            with _ours("opening the folders"):
                os.close(enter(self._folders["inbox"].work, originals.GRAB))
                for name in sidecar.SUFFIXES:
                    _remove_temporaries(self._folders[name])
                self._remember_companions(self._folders["done"].work)
            undo.pop_all()

    def _remember_companions(self, work: int) -> None:
        """Companions that were staged when an earlier process ended go with that delivery and no other."""
        for job in jobs(work):
            trace = Trace(work, job)
            for claim in (trace.read_claim(), trace.read_delivered()):
                for companion in claim.companions if claim is not None else ():
                    self._takers.keep(companion.path, job)

    def close(self) -> None:
        """A last try for what is left; then the locks are let go."""
        with suppress(Surroundings):
            self._leftovers.try_at_last()
        self._folders.close()

    def tidy(self) -> None:
        """Try again what could not be taken away, now and then: to be called often, and cheap."""
        self._leftovers.tidy()

    def claim(self, settled: SettledFile) -> Job | Delivered:
        """Count an attempt and read the file; of what is raised instead, only Rejected has charged it.

        Delivered where an earlier run, or a pause, had left all that was needed to finish it just now.
        """
        path, fingerprint = settled.path, settled.fingerprint
        rules = self._rules_of(path)
        inbox = self._folders["inbox"]
        self._leftovers.must_not_hold(path)
        with originals.opened(inbox, path, fingerprint) as file:
            originals.must_be_removable(inbox, path)
            with _ours(f"looking at what lies beside {shown(path)}"):
                beside = self._takers.look(inbox, path, rules)
            attempt = self._attempts.begin(path, fingerprint)
            _refuse(settled, attempt, rules)
            try:
                with _ours(f"reading {shown(path)}"):
                    data = contents(file, fingerprint.size)
                originals.unchanged(file, fingerprint)
                sha256 = hashlib.sha256(data).hexdigest()
                earlier = self._finish_earlier(path, {"done": sha256, "failed": _identity(fingerprint)})
            except (TryLater, Surroundings):
                self._attempts.forgive(path, fingerprint)
                raise
        if earlier is not None:
            return earlier
        job, now = job_id(path, sha256), self._clock()
        began = settled.noticed_at, now
        told = rules, beside.notes, settled.notices
        return Job(job, path, fingerprint, data, sha256, attempt, *began, *told)

    def forgive(self, work: Job | SettledFile) -> None:
        """Take back the attempt that `claim` counted, once, if it has not been taken back or settled yet."""
        self._attempts.forgive(work.path, work.fingerprint)

    def publish(self, job: Job, described: Described, record: Record) -> Delivered:
        """Deliver to done/; Surroundings where it cannot be, and then the same call may be made again."""
        told = record.path, record.source.sha256, record.published_sha256
        if told != (job.path, job.sha256, described.sha256):
            raise ValueError("the record tells of another image")
        steps = self._steps("done", job.id)
        with self._working(steps), _ours(f"publishing {shown(job.path)}"):
            claim = self._recovery.roll_forward(steps)
            if claim is None:
                claim = steps.commit(self._staged(steps, job, described, record))
            return self._delivered(steps, claim)

    def _staged(self, steps: Steps, job: Job, described: Described, record: Record) -> Claim:
        """Step 2.  TryLater where what travels along is being written; the caption then waits on disk."""
        attributes = _attributes(steps.inbox, job)
        original = Original(job.path, job.fingerprint, job.sha256)
        with _cleared_on_trouble(steps.trace):
            steps.trace.write_record(record, attributes.give_record)
            beside = self._takers.take(steps.inbox, job.path, job.rules, job.id)
            if beside.notes != job.notes and record.texts is not None:
                format = record.source.format or ""
                described = job.rules.describe(job.data, format, record.texts, notes=beside.notes)
                record = record.described(described)
                steps.trace.write_record(record, attributes.give_record)
            return stage(steps, record, original, attributes, beside, described, job.rules)

    def set_aside(
        self, path: str, fingerprint: Fingerprint, rejected: Rejected, attempt: int, stamp: Stamp
    ) -> tuple[Delivered, Record | None]:
        """Deliver the original, byte for byte, to failed/; an `attempt` of 0 is looked up.

        The record is None where what an earlier run, or a pause, had left was finished instead.
        """
        attempts = attempt or self._attempts.count(path, fingerprint)
        steps = self._steps("failed", job_id(path, _identity(fingerprint)))
        with self._working(steps), _ours(f"setting {shown(path)} aside"):
            claim, record = self._recovery.roll_forward(steps), None
            if claim is None:
                with (
                    originals.opened(steps.inbox, path, fingerprint) as file,
                    _cleared_on_trouble(steps.trace),
                ):
                    attributes = Attributes.of(file)
                    steps.trace.write_piece(0, chunks(file), attributes.give)
                    sha256 = sha256_of(file)
                    originals.unchanged(file, fingerprint)
                    # A caption that waits on disk for its delivery is not to turn up beside this.
                    earlier = self._finish_earlier(path, {"done": sha256})
                    if earlier is not None:
                        steps.trace.clear()
                        return earlier, None
                    record = sidecar.compose_error(path, fingerprint, rejected, attempts, sha256, stamp)
                    steps.trace.write_record(record, attributes.give_record)
                    claim = steps.claim_for([Piece(PICTURE, sha256, Original(path, fingerprint, sha256))])
                    steps.trace.write_claim(claim)
                    steps.trace.sync()
                claim = steps.commit(claim)
            return self._delivered(steps, claim), record

    def edit(self, path: str, caption: str, at: datetime, *, was: str | None = None) -> Delivered:
        """A person's caption for the image done/`path`, in it and in its sidecar; see the module `edit`.

        NotThere if no captioned image has that path; TryLater if somebody has changed it since,
        Overtaken where it does not say any more what it `was`.
        """
        with _ours(f"changing the caption of {shown(path)}"):
            return self._edits.edit(self._folders["done"], path, caption, at, was)

    def recover(self) -> list[Delivered]:
        """Finish what a crash left, without the model; what cannot be finished is told in `unresolved`.

        To be called after `open`; it may be called again at any time, e.g. when a pause is over.
        """
        with _ours("recovering in folders.done"):
            # First: deliveries look for their sidecars in their places.
            self._edits.recover(self._folders["done"])
        delivered, unresolved = [], []
        for name in sidecar.SUFFIXES:
            with _ours(f"recovering in folders.{name}"):
                for job in jobs(self._folders[name].work):
                    steps = self._steps(name, job)
                    with self._working(steps, wait=False) as is_ours, suppress(TryLater):
                        claim = self._recovery.roll_forward(steps) if is_ours else None
                        if claim is not None:
                            is_told = claim.path in self._leftovers
                            finished = self._delivered(steps, claim)
                            delivered += [] if is_told else [finished]
                        elif is_ours and not steps.trace.is_empty():
                            unresolved.append(_unresolved(steps))
        self.unresolved = tuple(unresolved)
        return delivered

    def outcome(self, delivered: Delivered) -> Outcome:
        """What became of a picture, by the record beside it; the least of it where that was taken away."""
        folder_name, name = split(delivered.record)
        try:
            with self._folders[delivered.folder].folder(folder_name) as folder:
                record = sidecar.decode(read(folder, name) or b"")
        except (OSError, ValueError, Surroundings):
            record = None
        return sidecar.outcome(record, delivered, datetime.now(UTC))

    def _steps(self, target: str, job: str) -> Steps:
        inbox, folder = self._folders["inbox"], self._folders[target]
        return Steps(inbox, folder, Trace(folder.work, job), self._move)

    def _finish_earlier(self, path: str, identities: Mapping[str, str]) -> Delivered | None:
        """Finish what a pause interrupted for this very file, so that it is not made a second time."""
        for target, identity in identities.items():
            job = job_id(path, identity)
            with _ours(f"looking for what was begun of {shown(path)}"):
                if Trace(self._folders[target].work, job).is_empty():
                    continue
            steps = self._steps(target, job)
            with self._working(steps), _ours(f"finishing {shown(path)}"):
                claim = self._recovery.roll_forward(steps)
                if claim is not None:
                    return self._delivered(steps, claim)
        return None

    def _delivered(self, steps: Steps, claim: Claim) -> Delivered:
        """Step 5.  The image is delivered whatever happens here."""
        self._leftovers.take_away(steps, claim)
        self._attempts.clear(claim.path)
        record = claim.name + steps.suffix
        return Delivered(
            claim.name, record, claim.published_sha256, steps.target.name, claim.path, claim.original.sha256
        )

    @contextmanager
    def _working(self, steps: Steps, *, wait: bool = True) -> Iterator[bool]:
        """Keep recovery away from a delivery that is being made, and the other way round."""
        key = (steps.target.name, steps.trace.job)
        with self._freed:
            is_ours = wait or key not in self._in_work
            if is_ours:
                self._freed.wait_for(lambda: key not in self._in_work)
                self._in_work.add(key)
        try:
            yield is_ours
        finally:
            if is_ours:
                self._let_go_of_companions(steps.trace)
                with self._freed:
                    self._in_work.discard(key)
                    self._freed.notify_all()

    def _let_go_of_companions(self, trace: Trace) -> None:
        """Companions that are staged already belong to this delivery: those it keeps."""
        if self._takers.have(trace.job):
            with suppress(OSError):
                if trace.is_unclaimed():
                    self._takers.release(trace.job)


def _refuse(settled: SettledFile, attempt: int, rules: Rules) -> None:
    """What can be told without reading the file."""
    size = settled.fingerprint.size
    if (fault := settled.fault) is not None:
        raise Rejected(fault.kind, fault.message, stage="settle", advice=fault.advice)
    if attempt > rules.attempts:
        raise Rejected(
            "too_many_attempts",
            f"the process ended {attempt - 1} times while it worked on this image",
            stage="claim",
            advice="The log of those times may tell why; `captiond retry` tries it again.",
        )
    if size > rules.max_file_bytes:
        raise Rejected(
            "too_large",
            f"the file has {size} bytes, and limits.max_file_bytes allows {rules.max_file_bytes}",
            stage="claim",
            advice="Raise limits.max_file_bytes, then `captiond retry`.",
        )


@contextmanager
def _ours(doing: str) -> Iterator[None]:
    """Trouble with folders of ours is never an image's fault."""
    try:
        yield
    except OSError as error:
        raise as_surroundings(error, doing) from error


@contextmanager
def _cleared_on_trouble(trace: Trace) -> Iterator[None]:
    """Nothing is shown yet, so nothing is kept: it may be what fills the disk.

    But where a captioned image waits for what travels with it, its caption waits on disk.
    """
    try:
        yield
    except TryLater:
        waits = trace.read_record() is not None
        trace.clear(but=(trace.record, trace.image) if waits else ())
        trace.sync()
        raise
    except BaseException:
        trace.clear()
        raise


def _remove_temporaries(folder: Folder) -> None:
    for job in jobs(folder.work):
        trace = Trace(folder.work, job)
        if trace.is_empty():
            trace.clear()


def _attributes(inbox: Folder, job: Job) -> Attributes:
    """The original's, if it still lies there; its time is the one of the bytes that were read."""
    try:
        file = open_file(inbox.root, job.path)
    except OSError:
        return Attributes.unknown(job.fingerprint.modified_ns)
    try:
        there = Fingerprint.of(os.fstat(file))
        if (there.device, there.inode) != (job.fingerprint.device, job.fingerprint.inode):
            return Attributes.unknown(job.fingerprint.modified_ns)
        return Attributes.of(file).at(job.fingerprint.modified_ns)
    finally:
        os.close(file)


def _identity(fingerprint: Fingerprint) -> str:
    """What tells a file whose work needs a name before its bytes are read."""
    return f"{fingerprint.inode} {fingerprint.size} {fingerprint.modified_ns}"


def _unresolved(steps: Steps) -> Notice:
    return Notice(
        "unresolved_delivery",
        f"{steps.target.path}/.captiond/{steps.trace.job}.* tells of a delivery that cannot be finished: "
        "neither the image nor its original is there.  Nothing was removed; remove these files to forget it.",
    )
