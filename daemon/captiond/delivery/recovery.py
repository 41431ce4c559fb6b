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

from captiond import sidecar
from captiond.delivery.attempts import Attempts
from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import Company
from captiond.delivery.files import NO_FILE, contents, is_regular, sha256_at, sha256_of
from captiond.delivery.folders import Place
from captiond.delivery.journal import Claim, Original
from captiond.delivery.staging import Staging
from captiond.delivery.steps import Steps
from captiond.errors import Rejected, TryLater
from captiond.records import Described, Fingerprint, Notes
from captiond.support.openat import open_file, split

_NO_FINGERPRINT = Fingerprint(0, 0, -1, 0, 0)  # like no file: nothing will be taken out of the inbox for it


class Recovery:
    def __init__(self, attempts: Attempts, attempt_limit: int, staging: Staging) -> None:
        self._attempts = attempts
        self.attempt_limit = attempt_limit
        self._staging = staging

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
        published = sidecar.read(record).published_sha256
        if claim is None or claim.published_sha256 != published or not steps.is_whole(claim):
            if claim is not None:
                steps.hide(claim)
            claim = self._staged_anew(steps, record)
            if claim is None:
                return None
        steps.drop_reservations(claim)
        return steps.commit(claim)

    def _staged_anew(self, steps: Steps, record: bytes) -> Claim | None:
        """Back to the end of step 2, from the original and the record's caption.

        None, and the traces stay, where neither original nor image is there.  None, and the traces go, where
        the original had better take the ordinary way: an image without a caption is rejected again, and one
        that kills the process is counted like any other.
        """
        told = sidecar.read(record)
        with _original(steps.inbox, told) as (file, original):
            if file is None or told.caption is None:
                return self._staged_as_it_lies(steps, record, original, file)
            beside = self._staging.take(steps.inbox, told.path, steps.trace.job)
            described = self._described(told, file, beside.notes)
            if described is None:
                steps.trace.clear()
                return None
            attributes = Attributes.of(file)
            anew = sidecar.with_companions(sidecar.with_described(record, described), ())
            try:
                record = _rewritten(steps, record, anew, attributes)
                return self._staging.stage(steps, record, original, attributes, beside, described)
            except (TryLater, OSError):
                self._attempts.forgive(told.path, original.fingerprint)
                raise

    def _staged_as_it_lies(
        self, steps: Steps, record: bytes, original: Original, file: int | None
    ) -> Claim | None:
        """Where nothing can be made anew: the image that lies in `.captiond/`, if it is whole."""
        trace, told = steps.trace, sidecar.read(record)
        if sha256_at(trace.work, trace.image) != told.published_sha256:
            if file is not None:
                trace.clear()
            return None
        beside = Company()
        attributes = Attributes.unknown(0) if file is None else Attributes.of(file)
        if told.caption is not None:
            beside = self._staging.take(steps.inbox, told.path, trace.job)
            record = _rewritten(steps, record, sidecar.with_companions(record, ()), attributes)
        return self._staging.stage(steps, record, original, attributes, beside, None)

    def _described(self, told: sidecar.Sidecar, file: int, notes: Notes) -> Described | None:
        fingerprint = Fingerprint.of(os.fstat(file))
        data = contents(file, fingerprint.size)
        if told.caption is None or told.format is None:
            return None
        if hashlib.sha256(data).hexdigest() != told.source_sha256:
            return None
        # A claim that came upon these traces has counted already.
        is_counted = self._attempts.is_begun(told.path)
        if not is_counted and self._attempts.begin(told.path, fingerprint) > self.attempt_limit:
            return None
        try:
            return self._staging.embed(data, told.format, told.caption, notes=notes)
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


def _rewritten(steps: Steps, old: bytes, new: bytes, attributes: Attributes) -> bytes:
    """Other settings make other bytes; the record goes first, since it decides which image is whole."""
    if new != old:
        steps.trace.write_record(new, attributes.give_record)
        steps.trace.sync()
    return new


@contextmanager
def _original(inbox: Place, told: sidecar.Sidecar) -> Iterator[tuple[int | None, Original]]:
    """The original, opened if it is there and still the one that was captioned."""
    gone = Original(told.path, _NO_FINGERPRINT, told.source_sha256)
    try:
        file = open_file(inbox.root, told.path)
    except OSError as error:
        if error.errno not in NO_FILE | {errno.EACCES, errno.EPERM}:
            raise
        yield None, gone
        return
    try:
        fingerprint = Fingerprint.of(os.fstat(file))  # before the bytes, so that no later ones pass for them
        if is_regular(file) and sha256_of(file) == told.source_sha256:
            yield file, Original(told.path, fingerprint, told.source_sha256)
        else:
            yield None, gone
    finally:
        os.close(file)
