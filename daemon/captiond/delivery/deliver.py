"""Claiming, publishing, setting aside and recovering; the protocol stands in the package's docstring."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from captiond import sidecar
from captiond.delivery import duplicates, late, originals
from captiond.delivery.attempts import Attempts
from captiond.delivery.attributes import Attributes
from captiond.delivery.claims import Claim, DeliveryTrace, Original
from captiond.delivery.companions import Takers
from captiond.delivery.edit import Edits, Look, Overtaken, Revise
from captiond.delivery.failing import Failing, identity
from captiond.delivery.files import contents, enter, read
from captiond.delivery.finishing import Finishing
from captiond.delivery.folders import Folders
from captiond.delivery.journal import jobs
from captiond.delivery.moves import Move, exchange, move
from captiond.delivery.nesting import refuse_nested
from captiond.delivery.recovery import Recovery
from captiond.delivery.staging import cleared_on_trouble, described_as, stage
from captiond.delivery.steps import Steps
from captiond.delivery.troubles import of_one_picture, ours
from captiond.errors import Rejected, Surroundings, TryLater
from captiond.names import job_id, shown
from captiond.records import (
    Delivered,
    Described,
    Fingerprint,
    Job,
    Limits,
    Notice,
    Outcome,
    Rules,
    RulesOf,
    SettledFile,
    Stamp,
    Texts,
)
from captiond.sidecar import Record
from captiond.sidecar.rewriting import edited
from captiond.support import own
from captiond.support.openat import open_file, split

Change = Callable[[Texts, Limits], Texts]  # what a person makes of the texts; it may raise a verdict


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
        self._notices: list[Notice] = []
        self._attributes: dict[str, Attributes] = {}  # by the path of a claimed file: what it has
        tell = self._notices.append
        self._recovery = Recovery(attempts, self._takers, rules_of, tell)
        self._edits = Edits(rules_of, move, exchange, tell)
        self._finishing = Finishing(self._folders, attempts, self._takers, self._recovery, move, clock)
        self._failing = Failing(self._finishing, attempts)
        self._clock = clock
        self.unresolved: tuple[Notice, ...] = ()

    def open(self) -> None:
        """Lock the folders and remove what no record accounts for.  Raises: CannotStart, if it cannot."""
        refuse_nested(**self._paths, state=self._attempts.folder)
        with ExitStack() as undo:
            undo.callback(self.close)
            self._folders.open(self._paths)
            self._notices += [*self._folders.notices, *own.notices_of_state(self._attempts.folder)]
            with ours("opening the folders"):
                os.close(enter(self._folders["inbox"].work, originals.GRAB, 0o700))
                for name in sidecar.SUFFIXES:
                    self._recovery.drop_what_nothing_tells_of(self._folders[name])
                self._remember_companions(self._folders["done"].work)
            undo.pop_all()

    def _remember_companions(self, work: int) -> None:
        """Companions that were staged when an earlier process ended go with that delivery and no other."""
        for job in jobs(work):
            trace = DeliveryTrace(work, job)
            for read_one in (trace.read_claim, trace.read_delivered):
                with suppress(ValueError):  # recovery reports it
                    claim = read_one()
                    for companion in claim.companions if claim is not None else ():
                        self._takers.keep(companion.path, job)

    def close(self) -> None:
        """Try once more what is left to do, and let go of the locks."""
        with suppress(Surroundings):
            self._finishing.leftovers.try_at_last()
        self._folders.close()

    def tidy(self) -> None:
        """Try again what could not be taken away, now and then: to be called often, and cheap."""
        self._finishing.leftovers.tidy()

    def take_notices(self) -> tuple[Notice, ...]:
        """What the daemon's owner should know, each thing once: to be called often, and cheap."""
        told = tuple(self._notices)
        del self._notices[: len(told)]
        return told

    def claim(self, settled: SettledFile) -> Job | Delivered:
        """Count an attempt and read the file; of all that this raises, only Rejected leaves it counted.

        Returns Delivered if this call could finish what an earlier run or a pause had left of it, or if it is
        a duplicate.
        """
        path, fingerprint = settled.path, settled.fingerprint
        rules = self._rules_of(path)
        inbox = self._folders["inbox"]
        self._finishing.leftovers.must_not_hold(path)
        with originals.opened(inbox, path, fingerprint) as file:
            originals.must_be_removable(inbox, path)
            with ours(f"looking at what lies beside {shown(path)}"):
                beside = self._takers.look(inbox, path, rules)
            attempt = self._attempts.begin(path, fingerprint)
            refuse(settled, attempt, rules)
            try:
                with ours(f"reading {shown(path)}"):
                    self._attributes[path] = Attributes.of(file)
                    data = contents(file, fingerprint.size)
                originals.unchanged(file, fingerprint)
                sha256 = hashlib.sha256(data).hexdigest()
                claimed = Job(
                    id=job_id(path, sha256),
                    path=path,
                    fingerprint=fingerprint,
                    data=data,
                    sha256=sha256,
                    attempt=attempt,
                    noticed_at=settled.noticed_at,
                    claimed_at=self._clock(),
                    rules=rules,
                    notes=beside.notes,
                    notices=(*settled.notices, *late.notices_of(self._folders["done"], path)),
                    folder=rules.folder_of(path, data, fingerprint.modified_ns),
                )
                earlier = self._finishing.earlier(path, {"done": sha256, "failed": identity(fingerprint)})
                return earlier or self._taken_away(claimed) or claimed
            except (TryLater, Surroundings):
                self.forgive(settled)
                raise

    def _taken_away(self, job: Job) -> Delivered | None:
        """Take the file out of the inbox if it is a duplicate; None if it is not."""
        if not job.rules.skips_duplicates:
            return None
        steps = self._finishing.steps("done", job.id)
        with ours(f"looking for {shown(job.path)}"), of_one_picture(steps.target, job.path):
            if not duplicates.has_twin(steps, job):
                return None
            with self._finishing.working(steps):
                beside = self._takers.take(steps.inbox, job.path, job.rules, job.id)
                claim = duplicates.claim_of(steps, job, beside)
                if claim is None:
                    return None
                steps.trace.write_delivered(claim)
                steps.trace.sync()
                return self._finishing.delivered(steps, claim, is_seen=True)

    def forgive(self, work: Job | SettledFile) -> None:
        """Take back the attempt that `claim` counted, once, if it has not been taken back or settled yet."""
        self._attributes.pop(work.path, None)
        self._attempts.forgive(work.path, work.fingerprint)

    def publish(self, job: Job, described: Described, record: Record) -> Delivered:
        """Deliver to done/.  Raises: Surroundings, if it cannot; the same call may then be made again."""
        told = record.path, record.source.sha256, record.published_sha256
        if told != (job.path, job.sha256, described.sha256):
            raise ValueError("the record tells of another image")
        steps = self._finishing.steps("done", job.id)
        with self._finishing.working(steps), ours(f"publishing {shown(job.path)}"):
            claim = self._finishing.roll_forward(steps)
            if claim is None:
                with of_one_picture(steps.target, job.path):
                    claim = steps.commit(self._staged(steps, job, described, record))
            self._attributes.pop(job.path, None)
            return self._finishing.delivered(steps, claim, is_seen=True)

    def _staged(self, steps: Steps, job: Job, described: Described, record: Record) -> Claim:
        """Step 2.  Raises: TryLater, if what travels along is being written; the caption waits on disk."""
        attributes = self._attributes_of(steps, job)
        original = Original(job.path, job.fingerprint, job.sha256)
        with cleared_on_trouble(steps.trace), of_one_picture(steps.target, job.path):
            steps.trace.write_record(record, attributes.give_record)
            beside = self._takers.take(steps.inbox, job.path, job.rules, job.id)
            if beside.notes != job.notes and record.texts is not None:
                described = described_as(record, record.texts, job.rules, job.data, beside.notes)
                record = record.described(described)
                steps.trace.write_record(record, attributes.give_record)
            return stage(steps, record, original, attributes, beside, described, job.rules, job.folder)

    def _attributes_of(self, steps: Steps, job: Job) -> Attributes:
        """The original's as they are now, or were when it was claimed; its time is that of what was read."""
        claimed = self._attributes.get(job.path) or Attributes.unknown(0)
        try:
            file = open_file(steps.inbox.root, job.path)
        except OSError:
            return claimed.at(job.fingerprint.modified_ns)
        try:
            there = Fingerprint.of(os.fstat(file))
            is_it = (there.device, there.inode) == (job.fingerprint.device, job.fingerprint.inode)
            return (Attributes.of(file) if is_it else claimed).at(job.fingerprint.modified_ns)
        finally:
            os.close(file)

    def set_aside(
        self, path: str, fingerprint: Fingerprint, rejected: Rejected, attempt: int, stamp: Stamp
    ) -> tuple[Delivered, Record | None]:
        """Deliver the original, byte for byte, to failed/; an `attempt` of 0 is looked up.

        The record is None if this call finished what an earlier run or a pause had left of it instead.  If it
        raises TryLater, the attempt is taken back.
        """
        try:
            set_aside = self._failing.set_aside(path, fingerprint, rejected, attempt, stamp)
        except TryLater:
            self._attempts.forgive(path, fingerprint)
            raise
        self._attributes.pop(path, None)
        return set_aside

    def edit(
        self, path: str, words: str | Change, at: datetime, *, was: str | None = None, by: str | None = None
    ) -> Delivered:
        """A person's texts for the image done/`path`: a new caption, or a function that changes all texts.

        `by`: the person's name, if it is known.

        Raises: Overtaken, if the caption is no longer what it `was`; what `rewrite` and the change raise.
        """

        def change(texts: Texts, limits: Limits) -> Texts:
            new = replace(texts, caption=words) if isinstance(words, str) else words(texts, limits)
            if was is not None and texts.caption not in (was, new.caption):
                raise Overtaken(path, texts.caption)
            return new

        return self.rewrite(path, by_person(change, self._rules_of, at, by), at)[0]

    def rewrite(self, path: str, revise: Revise, at: datetime) -> tuple[Delivered, Record]:
        """Other texts for the image done/`path`: in it, in its sidecar, and beside it; see the module `edit`.

        Raises: NotThere, if no captioned image has that path; TryLater, if the image was changed since.
        """
        with ours(f"changing the texts of {shown(path)}"):
            return self._edits.rewrite(self._folders["done"], path, revise, at)

    def look(self, path: str) -> Look:
        """The image done/`path` and its record.

        Raises: NotThere, if no captioned image has that path; Changed, if the record tells of another image;
        Held, if a program has it open for writing.
        """
        with ours(f"looking at {shown(path)}"):
            return self._edits.look(self._folders["done"], path)

    def seen(self, path: str) -> Outcome:
        """What the record beside done/`path` says now.  Raises: NotThere, if no captioned image has it."""
        with ours(f"looking at {shown(path)}"):
            return self._edits.seen(self._folders["done"], path)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """While this lasts every image in done/ has its record: an edit takes it away for a moment."""
        with ours("looking at folders.done"), self._edits.at_rest(self._folders["done"]):
            yield

    def recover(self) -> list[Delivered]:
        """Finish what a crash left, without the model; `unresolved` tells what could not be finished.

        To be called after `open`; it may be called again at any time, e.g. when a pause is over.
        """
        with ours("recovering in folders.done"):
            # Edits first: the recovery of deliveries looks for sidecars in done/, which an edit takes away.
            self._edits.recover(self._folders["done"])
        delivered, unresolved = self._finishing.recover()
        self.unresolved = tuple(unresolved)
        return delivered

    def outcome(self, delivered: Delivered) -> Outcome:
        """What became of a picture, by the record beside it; if that is gone, by `delivered` alone."""
        folder_name, name = split(delivered.record)
        try:
            with self._folders[delivered.folder].folder(folder_name) as folder:
                record = sidecar.decode(read(folder, name) or b"")
        except (OSError, ValueError, Surroundings):
            record = None
        return sidecar.outcome(record, delivered, datetime.now(UTC))


def by_person(change: Change, rules_of: RulesOf, at: datetime, by: str | None = None) -> Revise:
    """What a person's change makes of a record; the same record if it changes no text."""

    def revise(record: Record) -> Record:
        assert record.texts is not None
        new = change(record.texts, rules_of(record.path).limits)
        return record if new == record.texts else edited(record, new, at, by)

    return revise


def refuse(settled: SettledFile, attempt: int, rules: Rules) -> None:
    """Refuse what can be refused without reading the file.  Raises: Rejected."""
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
