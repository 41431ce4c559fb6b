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
from captiond.delivery.edit import Revisions
from captiond.delivery.files import chunks, contents, enter, read, sha256_of
from captiond.delivery.folders import Place, Places
from captiond.delivery.journal import PICTURE, Claim, Original, Piece, Trace, jobs
from captiond.delivery.leftovers import Leftovers
from captiond.delivery.moves import Move, exchange, move
from captiond.delivery.nesting import refuse_nested
from captiond.delivery.recovery import Recovery
from captiond.delivery.staging import Describe, Leaves, Staging, leaves_none
from captiond.delivery.steps import SUFFIXES, Steps
from captiond.errors import Rejected, Surroundings, TryLater, as_surroundings
from captiond.names import job_id, shown
from captiond.records import (
    Delivered,
    Described,
    Fingerprint,
    Job,
    Notice,
    Outcome,
    SettledFile,
    Stamp,
)
from captiond.support.openat import open_file, split


class Finished(TryLater):
    """The claimed file was delivered just now, from what an earlier run or a pause had left."""

    def __init__(self, delivered: Delivered) -> None:
        super().__init__(f"its delivery was begun before and is finished now: {shown(delivered.path)}")
        self.delivered = delivered


class Delivery:
    """One for each daemon; after `open`, safe to call from several threads."""

    def __init__(
        self,
        *,
        inbox: Path,
        done: Path,
        failed: Path,
        attempts: Attempts,
        attempt_limit: int,
        max_file_bytes: int,
        embed: Describe,
        settle_seconds: float = 0.0,
        takes_text: bool = False,
        xmp_on_stem: bool = False,
        leaves: Leaves = leaves_none,
        clock: Callable[[], float] = time.monotonic,
        move: Move = move,
        exchange: Move = exchange,
    ) -> None:
        """`takes_text`: whether `photo.txt` travels with its picture; `xmp_on_stem`: `photo.xmp` is made.

        `leaves`: whether a path in the inbox is to stay there, whatever lies beside it.
        """
        self._paths = {"inbox": inbox, "done": done, "failed": failed}
        self._places = Places()
        self._attempts = attempts
        self._attempt_limit = attempt_limit
        self._max_file_bytes = max_file_bytes
        self._staging = Staging(embed, settle_seconds, takes_text, xmp_on_stem, leaves)
        self._recovery = Recovery(attempts, attempt_limit, self._staging)
        self._revisions = Revisions(embed, move, exchange)
        self._clock = clock
        self._move = move
        self._freed = threading.Condition()
        self._in_work: set[tuple[str, str]] = set()
        self._leftovers = Leftovers(self._steps, self._working, clock)
        self.unresolved: tuple[Notice, ...] = ()

    def change(
        self,
        *,
        attempt_limit: int,
        max_file_bytes: int,
        embed: Describe,
        takes_text: bool = False,
        xmp_on_stem: bool = False,
        leaves: Leaves = leaves_none,
    ) -> None:
        """Other limits and another hand count for what is claimed, or recovered, from now on."""
        self._attempt_limit, self._max_file_bytes = attempt_limit, max_file_bytes
        self._recovery.attempt_limit = attempt_limit
        staging = self._staging
        staging.embed, staging.leaves = embed, leaves
        staging.takes_text, staging.xmp_on_stem = takes_text, xmp_on_stem
        self._revisions.describe = embed

    def open(self) -> None:
        """Lock the folders and remove what no record accounts for; CannotStart where that cannot be."""
        refuse_nested(**self._paths, state=self._attempts.folder)
        with ExitStack() as undo:
            undo.callback(self.close)
            self._places.open(self._paths)
            with _ours("opening the folders"):
                os.close(enter(self._places["inbox"].work, originals.GRAB))
                for name in SUFFIXES:
                    _remove_temporaries(self._places[name])
                self._remember_companions(self._places["done"].work)
            undo.pop_all()

    def _remember_companions(self, work: int) -> None:
        """Those that were on their way when an earlier process ended go with nobody else."""
        for job in jobs(work):
            trace = Trace(work, job)
            for claim in (trace.read_claim(), trace.read_delivered()):
                for companion in claim.companions if claim is not None else ():
                    self._staging.takers.take(companion.path, job)

    def close(self) -> None:
        """A last try for what is left; then the locks are let go."""
        with suppress(Surroundings):
            self._leftovers.try_at_last()
        self._places.close()

    def tidy(self) -> None:
        """Try again what could not be taken away, now and then: to be called often, and cheap."""
        self._leftovers.tidy()

    def claim(self, settled: SettledFile) -> Job:
        """Count an attempt and read the file; of what is raised instead, only Rejected has charged it."""
        path, fingerprint = settled.path, settled.fingerprint
        inbox = self._places["inbox"]
        self._leftovers.must_not_hold(path)
        with originals.opened(inbox, path, fingerprint) as file:
            originals.must_be_removable(inbox, path)
            with _ours(f"looking at what lies beside {shown(path)}"):
                beside = self._staging.look(inbox, path)
            attempt = self._attempts.begin(path, fingerprint)
            self._refuse(settled, attempt)
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
            raise Finished(earlier)
        job, now = job_id(path, sha256), self._clock()
        return Job(job, path, fingerprint, data, sha256, attempt, settled.noticed_at, now, beside.notes)

    def forgive(self, work: Job | SettledFile) -> None:
        """Take back the attempt that `claim` counted, once, if it has not been taken back or settled yet."""
        self._attempts.forgive(work.path, work.fingerprint)

    def publish(self, job: Job, described: Described, record: bytes) -> Delivered:
        """Deliver to done/; Surroundings where it cannot be, and then the same call may be made again."""
        told = sidecar.read(record)
        if (told.path, told.source_sha256, told.published_sha256) != (job.path, job.sha256, described.sha256):
            raise ValueError("the record tells of another image")
        steps = self._steps("done", job.id)
        with self._working(steps), _ours(f"publishing {shown(job.path)}"):
            claim = self._recovery.roll_forward(steps)
            if claim is None:
                claim = steps.commit(self._staged(steps, job, described, record))
            return self._delivered(steps, claim)

    def _staged(self, steps: Steps, job: Job, described: Described, record: bytes) -> Claim:
        """Step 2.  TryLater where what travels along is being written; the caption then waits on disk."""
        attributes = _attributes(steps.inbox, job)
        original = Original(job.path, job.fingerprint, job.sha256)
        with _cleared_on_trouble(steps.trace):
            steps.trace.write_record(record, attributes.give_record)
            beside = self._staging.take(steps.inbox, job.path, job.id)
            if beside.notes != job.notes:
                told = sidecar.read(record)
                format, text = told.format or "", told.caption or ""
                described = self._staging.embed(job.data, format, text, notes=beside.notes)
                record = sidecar.with_described(record, described)
                steps.trace.write_record(record, attributes.give_record)
            return self._staging.stage(steps, record, original, attributes, beside, described)

    def set_aside(
        self, path: str, fingerprint: Fingerprint, rejected: Rejected, attempt: int, stamp: Stamp
    ) -> Delivered:
        """Deliver the original, byte for byte, to failed/; an `attempt` of 0 is looked up."""
        attempts = attempt or self._attempts.count(path, fingerprint)
        steps = self._steps("failed", job_id(path, _identity(fingerprint)))
        with self._working(steps), _ours(f"setting {shown(path)} aside"):
            claim = self._recovery.roll_forward(steps)
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
                        return earlier
                    record = sidecar.compose_error(path, fingerprint, rejected, attempts, sha256, stamp)
                    steps.trace.write_record(record, attributes.give_record)
                    claim = steps.claim_for([Piece(PICTURE, sha256, Original(path, fingerprint, sha256))])
                    steps.trace.write_claim(claim)
                    steps.trace.sync()
                claim = steps.commit(claim)
            return self._delivered(steps, claim)

    def revise(self, path: str, caption: str, at: datetime, *, was: str | None = None) -> Delivered:
        """A person's caption for the image done/`path`, in it and in its sidecar; see `edit`.

        KeyError where no captioned image has that path; TryLater where somebody has changed it since,
        Overtaken where it does not say any more what it `was`.
        """
        with _ours(f"changing the caption of {shown(path)}"):
            return self._revisions.revise(self._places["done"], path, caption, at, was)

    def recover(self) -> list[Delivered]:
        """Finish what a crash left, without the model; what cannot be finished is told in `unresolved`.

        To be called after `open`; it may be called again at any time, e.g. when a pause is over.
        """
        with _ours("recovering in folders.done"):
            # First: deliveries look for their sidecars in their places.
            self._revisions.recover(self._places["done"])
        delivered, unresolved = [], []
        for name in SUFFIXES:
            with _ours(f"recovering in folders.{name}"):
                for job in jobs(self._places[name].work):
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
            with self._places[delivered.folder].folder(folder_name) as folder:
                record = read(folder, name)
        except (OSError, Surroundings):
            record = None
        return sidecar.outcome(record or b"", delivered, datetime.now(UTC))

    def _steps(self, place: str, job: str) -> Steps:
        inbox, there = self._places["inbox"], self._places[place]
        return Steps(inbox, there, Trace(there.work, job), self._move)

    def _refuse(self, settled: SettledFile, attempt: int) -> None:
        """What can be told without reading the file."""
        size = settled.fingerprint.size
        if settled.truncated is not None:
            raise Rejected(
                "truncated",
                f"the file never became whole: {settled.truncated}",
                stage="settle",
                advice="Copy it again; what lies in failed/ is all that ever arrived.",
            )
        if attempt > self._attempt_limit:
            raise Rejected(
                "too_many_attempts",
                f"the process ended {attempt - 1} times while it worked on this image",
                stage="claim",
                advice="The log of those times may tell why; `captiond retry` tries it again.",
            )
        if size > self._max_file_bytes:
            raise Rejected(
                "too_large",
                f"the file has {size} bytes, and limits.max_file_bytes allows {self._max_file_bytes}",
                stage="claim",
                advice="Raise limits.max_file_bytes, then `captiond retry`.",
            )

    def _finish_earlier(self, path: str, identities: Mapping[str, str]) -> Delivered | None:
        """Finish what a pause interrupted for this very file, so that it is not made a second time."""
        for place, identity in identities.items():
            job = job_id(path, identity)
            with _ours(f"looking for what was begun of {shown(path)}"):
                if Trace(self._places[place].work, job).is_empty():
                    continue
            steps = self._steps(place, job)
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
            claim.name, record, claim.published_sha256, steps.place.name, claim.path, claim.original.sha256
        )

    @contextmanager
    def _working(self, steps: Steps, *, wait: bool = True) -> Iterator[bool]:
        """Keep recovery away from a delivery that is being made, and the other way round."""
        key = (steps.place.name, steps.trace.job)
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
        """Unless they are on their way: then they are this delivery's, and no other's."""
        if self._staging.takers.have(trace.job):
            with suppress(OSError):
                if trace.is_unclaimed():
                    self._staging.takers.release(trace.job)


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


def _remove_temporaries(place: Place) -> None:
    for job in jobs(place.work):
        trace = Trace(place.work, job)
        if trace.is_empty():
            trace.clear()


def _attributes(inbox: Place, job: Job) -> Attributes:
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
        f"{steps.place.path}/.captiond/{steps.trace.job}.* tells of a delivery that cannot be finished: "
        "neither the image nor its original is there.  Nothing was removed; remove these files to forget it.",
    )
