"""What a crash or a pause left, brought to its commit: by the traces, without the model.

This is the table in the package's docstring, in code.  It removes nothing but traces.  Only `originals` takes
an original out of the inbox, and only for a commit that this room saw.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from captiond.delivery import duplicates, handover, originals
from captiond.delivery.attempts import Attempts
from captiond.delivery.attributes import Attributes
from captiond.delivery.claims import Claim, DeliveryTrace, Original
from captiond.delivery.companions import Company, Takers
from captiond.delivery.files import NO_FILE, contents, is_regular, sha256_at, sha256_of
from captiond.delivery.folders import WORK, Folder
from captiond.delivery.journal import jobs
from captiond.delivery.not_understood import Tell, put_by
from captiond.delivery.staging import described_as, stage
from captiond.delivery.steps import Steps
from captiond.delivery.troubles import of_one_picture
from captiond.errors import Rejected, TryLater
from captiond.records import Described, Fingerprint, Notes, Notice, Rules, RulesOf
from captiond.sidecar import Record
from captiond.support.openat import FILE, open_file, split

Told = TypeVar("Told")

_NO_FINGERPRINT = Fingerprint(0, 0, -1, 0, 0)  # fits no file, so nothing is taken out of the inbox for it


class Recovery:
    def __init__(self, attempts: Attempts, takers: Takers, rules_of: RulesOf, tell: Tell) -> None:
        self._attempts = attempts
        self._takers = takers
        self._rules_of = rules_of
        self._tell = tell

    def roll_forward(self, steps: Steps) -> Claim | None:
        """Bring a delivery to its commit; its claim, or None if its traces are not enough for that.

        Traces that cannot be understood are moved to `not-understood/`, with a notice, and then it is None.

        Raises: TryLater, if what travels with the image is being written just now, or the trouble with the
        folder concerns this image alone; the traces wait.
        """
        if steps.trace.is_empty():
            return None
        try:
            steps.trace.must_be_files()
            return self._rolled(steps)
        except ValueError as error:
            self._put_by(steps.target, steps.trace, error)
            return None

    def drop_pieces(self, folder: Folder, trace: DeliveryTrace) -> None:
        """Remove the pieces of a delivery that has no record."""
        try:
            trace.must_be_files()
            trace.clear()
        except ValueError as error:
            self._put_by(folder, trace, error)

    def drop_what_nothing_tells_of(self, folder: Folder) -> None:
        """At the start, remove the temporary files of deliveries that have no record yet."""
        for job in jobs(folder.work):
            trace = DeliveryTrace(folder.work, job)
            if trace.is_empty():
                self.drop_pieces(folder, trace)

    def _put_by(self, folder: Folder, trace: DeliveryTrace, why: ValueError) -> None:
        put_by(folder.work, folder.work, trace.names(), why, folder.path / WORK, self._tell)

    def _rolled(self, steps: Steps) -> Claim | None:
        trace = steps.trace
        claim = trace.read_delivered()
        if claim is not None:
            return self._believed(steps, claim)
        claim, broken = self._understood(steps, trace.read_claim)
        record, torn = self._understood(steps, trace.read_record)
        path = claim.path if claim is not None else record.path if record is not None else ""
        with of_one_picture(steps.target, path):
            if claim is not None and steps.is_committed(claim):
                trace.mark_delivered()
                return claim
            if record is None:
                self._drop_unrecorded(steps, claim, broken or torn)
                return None
            if claim is not None and claim.by_rename:
                return handover.finish(steps, claim)
            return self._finished(steps, claim, record)

    def _understood(
        self, steps: Steps, read: Callable[[], Told | None]
    ) -> tuple[Told | None, ValueError | None]:
        """What a trace says, or why it cannot be understood; a notice tells that."""
        try:
            return read(), None
        except ValueError as error:
            where = f"{steps.target.path}/{WORK}/{steps.trace.job}.*"
            self._tell(Notice("not_understood", f"a trace among {where} cannot be understood: {error}"))
            return None, error

    def _believed(self, steps: Steps, claim: Claim) -> Claim | None:
        """The claim, if a `.delivered` mark is enough to take its originals away.

        The twin of a duplicate must still be there.  If others may have made the mark, its sidecar must lie
        in done/: else the image is captioned once more.
        """
        if claim.is_duplicate and not duplicates.stands(steps, claim):
            originals.put_back(steps.inbox, steps.trace.job, claim, steps.move)
            steps.trace.clear()
            return None
        if not steps.target.is_private and not steps.is_committed(claim):
            raise ValueError("it tells of a delivery of which nothing is to be seen")
        return claim

    def _finished(self, steps: Steps, claim: Claim | None, record: Record) -> Claim | None:
        """Steps 2 to 4, as far as they are still to do."""
        if claim is None or claim.published_sha256 != record.published_sha256 or not steps.is_whole(claim):
            if claim is not None:
                steps.hide(claim)
            claim = self._staged_anew(steps, record, claim)
            if claim is None:
                return None
        steps.drop_reservations(claim)
        return steps.commit(claim)

    def _staged_anew(self, steps: Steps, record: Record, former: Claim | None) -> Claim | None:
        """Repeat step 2 from the original and the record's caption, for the folder of the `former` claim.

        None, and the traces stay, if neither original nor image is there.  None, and the traces go, if the
        original should be claimed as if it were new: an image without a caption is rejected again, and one
        that kills the process is counted like any other.
        """
        rules = self._rules_of(record.path)
        with _original(steps.inbox, record) as (file, original):
            folder = _folder(steps, record, former, file, rules)
            if file is None or record.texts is None:
                return self._staged_as_it_lies(steps, record, original, file, rules, folder)
            beside = self._takers.take(steps.inbox, record.path, rules, steps.trace.job)
            described = self._described(record, file, beside.notes, rules)
            if described is None:
                steps.trace.clear()
                return None
            attributes = Attributes.of(file)
            try:
                record = _rewritten(steps, record, record.described(described).accompanied(()), attributes)
                return stage(steps, record, original, attributes, beside, described, rules, folder)
            except (TryLater, OSError):
                self._attempts.forgive(record.path, original.fingerprint)
                raise

    def _staged_as_it_lies(
        self,
        steps: Steps,
        record: Record,
        original: Original,
        file: int | None,
        rules: Rules,
        folder: str | None,
    ) -> Claim | None:
        """If the image cannot be made anew: step 2 with the one in `.captiond/`, if that is whole."""
        trace = steps.trace
        if sha256_at(trace.work, trace.image) != record.published_sha256:
            if file is not None:
                trace.clear()
            return None
        beside = Company()
        attributes = Attributes.of(file) if file is not None else _of_piece(trace)
        if record.texts is not None:
            beside = self._takers.take(steps.inbox, record.path, rules, trace.job)
            record = _rewritten(steps, record, record.accompanied(()), attributes)
        return stage(steps, record, original, attributes, beside, None, rules, folder)

    def _described(self, record: Record, file: int, notes: Notes, rules: Rules) -> Described | None:
        fingerprint = Fingerprint.of(os.fstat(file))
        data = contents(file, fingerprint.size)
        if record.texts is None or record.source.format is None:
            return None
        if hashlib.sha256(data).hexdigest() != record.source.sha256:
            return None
        # If `Delivery.claim` found these traces, it has counted the attempt already.
        is_counted = self._attempts.is_begun(record.path)
        if not is_counted and self._attempts.begin(record.path, fingerprint) > rules.attempts:
            return None
        try:
            return described_as(record, record.texts, rules, data, notes)
        except Rejected:
            return None

    def _drop_unrecorded(self, steps: Steps, claim: Claim | None, why: ValueError | None) -> None:
        """Without a record there is no caption: remove the traces, unless one is an image's last copy.

        `why`: a trace could not be understood; then traces are removed only if the original is seen.
        """
        if claim is None or not steps.trace.has_piece(0):
            if why is not None and (claim is None or not self._has_original(steps, claim)):
                raise why
            steps.trace.clear()
        elif self._has_original(steps, claim):
            steps.trace.clear()
        elif why is not None:
            raise why

    @staticmethod
    def _has_original(steps: Steps, claim: Claim) -> bool:
        folder_name, name = split(claim.path)
        try:
            with steps.inbox.folder(folder_name) as folder:
                return sha256_at(folder, name) == claim.original.sha256
        except OSError as error:
            if error.errno in NO_FILE:
                return False
            raise


def _of_piece(trace: DeliveryTrace) -> Attributes:
    """The original's attributes, which the image in `.captiond/` was given."""
    image = os.open(trace.image, FILE, dir_fd=trace.work)
    try:
        return Attributes.of(image)
    finally:
        os.close(image)


def _folder(steps: Steps, record: Record, former: Claim | None, file: int | None, rules: Rules) -> str | None:
    """Its folder in done/: the one chosen before, else what the rules make of the original or the image."""
    if former is not None:
        return former.folder
    if record.texts is None:
        return None  # failed/ has the folders of the inbox
    source = file if file is not None else steps.trace.open_image()
    if source is None:
        return None
    try:
        there = os.fstat(source)
        return rules.folder_of(record.path, contents(source, there.st_size), there.st_mtime_ns)
    finally:
        if source is not file:
            os.close(source)


def _rewritten(steps: Steps, old: Record, new: Record, attributes: Attributes) -> Record:
    """Write the new record if it differs, e.g. by other settings; before the image, which it vouches for."""
    if new != old:
        steps.trace.write_record(new, attributes.give_record)
        steps.trace.sync()
    return new


@contextmanager
def _original(inbox: Folder, record: Record) -> Iterator[tuple[int | None, Original]]:
    """The original, opened if it is there and still the one that was captioned."""
    gone = Original(record.path, _NO_FINGERPRINT, record.source.sha256)
    try:
        file = open_file(inbox.root, record.path)
    except OSError as error:
        if error.errno not in NO_FILE | {errno.EACCES, errno.EPERM}:
            raise
        yield None, gone
        return
    try:
        fingerprint = Fingerprint.of(os.fstat(file))  # before the bytes, so that no later ones pass for them
        if is_regular(file) and sha256_of(file) == record.source.sha256:
            yield file, Original(record.path, fingerprint, record.source.sha256)
        else:
            yield None, gone
    finally:
        os.close(file)
