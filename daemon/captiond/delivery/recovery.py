"""What a crash or a pause left, brought to its commit: by the traces, without the model.

The table in the package's docstring, in code.  Nothing is removed here but traces; an original is taken out
of the inbox by nobody but `originals`, and only for a commit that this room saw.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from captiond.delivery.attempts import Attempts
from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import Company, Takers
from captiond.delivery.files import NO_FILE, contents, is_regular, sha256_at, sha256_of
from captiond.delivery.folders import Folder
from captiond.delivery.journal import Claim, Original
from captiond.delivery.staging import stage
from captiond.delivery.steps import Steps
from captiond.errors import Rejected, TryLater
from captiond.records import Described, Fingerprint, Notes, Rules, RulesOf
from captiond.sidecar import Record
from captiond.support.openat import open_file, split

_NO_FINGERPRINT = Fingerprint(0, 0, -1, 0, 0)  # like no file: nothing will be taken out of the inbox for it


class Recovery:
    def __init__(self, attempts: Attempts, takers: Takers, rules_of: RulesOf) -> None:
        self._attempts = attempts
        self._takers = takers
        self._rules_of = rules_of

    def roll_forward(self, steps: Steps) -> Claim | None:
        """The claim of a delivery that is committed now; None where there is too little to go by.

        TryLater where what travels with the image is being written just now: the traces wait.
        """
        trace = steps.trace
        claim = trace.read_delivered()
        if claim is not None:
            return claim
        claim, record = trace.read_claim(), trace.read_record()
        if claim is not None and steps.is_committed(claim):
            trace.mark_delivered()
            return claim
        if record is None:
            self._drop_unrecorded(steps, claim)
            return None
        if claim is None or claim.published_sha256 != record.published_sha256 or not steps.is_whole(claim):
            if claim is not None:
                steps.hide(claim)
            claim = self._staged_anew(steps, record)
            if claim is None:
                return None
        steps.drop_reservations(claim)
        return steps.commit(claim)

    def _staged_anew(self, steps: Steps, record: Record) -> Claim | None:
        """Back to the end of step 2, from the original and the record's caption.

        None, and the traces stay, where neither original nor image is there.  None, and the traces go, where
        the original had better take the ordinary way: an image without a caption is rejected again, and one
        that kills the process is counted like any other.
        """
        rules = self._rules_of(record.path)
        with _original(steps.inbox, record) as (file, original):
            if file is None or record.texts is None:
                return self._staged_as_it_lies(steps, record, original, file, rules)
            beside = self._takers.take(steps.inbox, record.path, rules, steps.trace.job)
            described = self._described(record, file, beside.notes, rules)
            if described is None:
                steps.trace.clear()
                return None
            attributes = Attributes.of(file)
            try:
                record = _rewritten(steps, record, record.described(described).accompanied(()), attributes)
                return stage(steps, record, original, attributes, beside, described, rules)
            except (TryLater, OSError):
                self._attempts.forgive(record.path, original.fingerprint)
                raise

    def _staged_as_it_lies(
        self, steps: Steps, record: Record, original: Original, file: int | None, rules: Rules
    ) -> Claim | None:
        """Where nothing can be made anew: the image that lies in `.captiond/`, if it is whole."""
        trace = steps.trace
        if sha256_at(trace.work, trace.image) != record.published_sha256:
            if file is not None:
                trace.clear()
            return None
        beside = Company()
        attributes = Attributes.unknown(0) if file is None else Attributes.of(file)
        if record.texts is not None:
            beside = self._takers.take(steps.inbox, record.path, rules, trace.job)
            record = _rewritten(steps, record, record.accompanied(()), attributes)
        return stage(steps, record, original, attributes, beside, None, rules)

    def _described(self, record: Record, file: int, notes: Notes, rules: Rules) -> Described | None:
        fingerprint = Fingerprint.of(os.fstat(file))
        data = contents(file, fingerprint.size)
        format = record.source.format
        if record.texts is None or format is None:
            return None
        if hashlib.sha256(data).hexdigest() != record.source.sha256:
            return None
        # A claim that came upon these traces has counted already.
        is_counted = self._attempts.is_begun(record.path)
        if not is_counted and self._attempts.begin(record.path, fingerprint) > rules.attempts:
            return None
        try:
            return rules.describe(data, format, record.texts, notes=notes)
        except Rejected:
            return None

    def _drop_unrecorded(self, steps: Steps, claim: Claim | None) -> None:
        """Without a record there is no caption: the rest goes, unless it is the last copy of an image."""
        if claim is not None and steps.trace.has_piece(0):
            folder_name, name = split(claim.path)
            try:
                with steps.inbox.folder(folder_name) as folder:
                    if sha256_at(folder, name) != claim.original.sha256:
                        return
            except OSError as error:
                if error.errno in NO_FILE:
                    return
                raise
        steps.trace.clear()


def _rewritten(steps: Steps, old: Record, new: Record, attributes: Attributes) -> Record:
    """Other settings make other bytes; the record goes first, since it decides which image is whole."""
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
