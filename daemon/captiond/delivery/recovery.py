"""What a crash or a pause left, brought to its commit: by the traces, without the model.

The table in the package's docstring, in code.  Nothing is removed here but traces; an original is taken out
of the inbox by nobody but `originals`, and only for a commit that this room saw.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable

from captiond import sidecar
from captiond.attempts import Attempts
from captiond.beneath import open_file, split
from captiond.delivery.attributes import Attributes
from captiond.delivery.files import NO_FILE, contents, is_regular, sha256_at, sha256_of
from captiond.delivery.steps import Steps
from captiond.delivery.traces import Claim
from captiond.errors import Rejected
from captiond.records import Described, Fingerprint

_NO_FINGERPRINT = Fingerprint(0, 0, -1, 0, 0)  # like no file: nothing will be taken out of the inbox for it


class Recovery:
    def __init__(
        self, attempts: Attempts, attempt_limit: int, embed: Callable[[bytes, str, str], Described]
    ) -> None:
        self._attempts = attempts
        self.change(attempt_limit, embed)

    def change(self, attempt_limit: int, embed: Callable[[bytes, str, str], Described]) -> None:
        self._attempt_limit = attempt_limit
        self._embed = embed

    def roll_forward(self, steps: Steps) -> Claim | None:
        """The claim of a delivery that is committed now; None where there is too little to go by."""
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
        if claim is None or not steps.is_shown(claim):
            claim = self._with_whole_image(steps, claim, sidecar.read(record))
            if claim is None:
                return None
        steps.drop_reservations(claim)
        return steps.commit(claim)

    def _with_whole_image(self, steps: Steps, claim: Claim | None, told: sidecar.Sidecar) -> Claim | None:
        """Back to the end of step 2: record, whole image and a claim that fits them, all durable."""
        published = told.published_sha256
        if sha256_at(steps.trace.work, steps.trace.image) != published:
            rebuilt = self._rebuild(steps, told)
            if rebuilt is None:
                return None
            published = rebuilt
        if claim is None or claim.published_sha256 != published:
            fingerprint = _fingerprint_in_inbox(steps, told.path)
            claim = steps.claim_for(told.path, fingerprint, told.source_sha256, published)
            steps.trace.write_claim(claim)
        steps.trace.sync()
        return claim

    def _rebuild(self, steps: Steps, told: sidecar.Sidecar) -> str | None:
        """Make the image anew from the original and the record's caption: its checksum.

        None, and the traces stay, where the original is not there to be read.  None, and the traces go,
        where the original had better take the ordinary way: an image without a caption is rejected again,
        and one that kills the process is counted like any other.
        """
        try:
            file = open_file(steps.inbox.root, told.path)
        except OSError as error:
            if error.errno in NO_FILE | {errno.EACCES, errno.EPERM}:
                return None
            raise
        try:
            if not is_regular(file) or sha256_of(file) != told.source_sha256:
                return None
            described = self._described(told, file)
            if described is None:
                steps.trace.clear()
                return None
            return _write_anew(steps, told, described, Attributes.of(file))
        finally:
            os.close(file)

    def _described(self, told: sidecar.Sidecar, file: int) -> Described | None:
        fingerprint = Fingerprint.of(os.fstat(file))
        data = contents(file, fingerprint.size)
        if told.caption is None or told.format is None:
            return None
        if hashlib.sha256(data).hexdigest() != told.source_sha256:
            return None
        if self._attempts.begin(told.path, fingerprint) > self._attempt_limit:
            return None
        try:
            return self._embed(data, told.format, told.caption)
        except Rejected:
            return None

    def _drop_unrecorded(self, steps: Steps, claim: Claim | None) -> None:
        """Without a record there is no caption: the rest goes, unless it is the last copy of an image."""
        if claim is not None and steps.trace.has_image():
            folder_name, name = split(claim.path)
            try:
                with steps.inbox.folder(folder_name) as folder:
                    if sha256_at(folder, name) != claim.sha256:
                        return
            except OSError as error:
                if error.errno in NO_FILE:
                    return
                raise
        steps.trace.clear()


def _write_anew(steps: Steps, told: sidecar.Sidecar, described: Described, attributes: Attributes) -> str:
    published = hashlib.sha256(described.data).hexdigest()
    record = steps.trace.read_record()
    # Other settings make other bytes; the record goes first, since it decides which image is whole.
    if published != told.published_sha256 and record is not None:
        steps.trace.write_record(sidecar.with_described(record, described), attributes.give_record)
        steps.trace.sync()
    steps.trace.write_image([described.data], attributes.give)
    return published


def _fingerprint_in_inbox(steps: Steps, path: str) -> Fingerprint:
    folder_name, name = split(path)
    try:
        with steps.inbox.folder(folder_name) as folder:
            return Fingerprint.of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except OSError as error:
        if error.errno in NO_FILE:
            return _NO_FINGERPRINT
        raise
