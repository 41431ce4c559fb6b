"""Setting aside: the original, byte for byte, to failed/, with the reason beside it.

By a rename if that is possible (`handover`), else by a copy that is delivered like an image in done/.
"""

from __future__ import annotations

import os

from captiond import sidecar
from captiond.delivery import handover, originals
from captiond.delivery.attempts import Attempts
from captiond.delivery.attributes import Attributes
from captiond.delivery.claims import PICTURE, Claim, Original, Piece
from captiond.delivery.files import allocated, sha256_of
from captiond.delivery.finishing import Finishing
from captiond.delivery.staging import cleared_on_trouble
from captiond.delivery.steps import Steps
from captiond.delivery.troubles import of_one_picture, ours, room_for
from captiond.errors import Rejected
from captiond.names import job_id, shown
from captiond.records import Delivered, Fingerprint, Stamp
from captiond.sidecar import Record

# A larger file is known by its size and its time: reading a sparse file of a terabyte takes half an hour.
MOST_READ_BYTES = 8 * 1024**3


class Failing:
    def __init__(self, finishing: Finishing, attempts: Attempts) -> None:
        self._finishing = finishing
        self._attempts = attempts

    def set_aside(
        self, path: str, fingerprint: Fingerprint, rejected: Rejected, attempt: int, stamp: Stamp
    ) -> tuple[Delivered, Record | None]:
        """See `Delivery.set_aside`."""
        attempts = attempt or self._attempts.count(path, fingerprint)
        steps = self._finishing.steps("failed", job_id(path, identity(fingerprint)))
        with self._finishing.working(steps), ours(f"setting {shown(path)} aside"):
            claim = self._finishing.roll_forward(steps)
            if claim is not None:
                return self._finishing.delivered(steps, claim), None
            with originals.opened(steps.inbox, path, fingerprint) as file, of_one_picture(steps.target, path):
                sha256 = sha256_of(file) if fingerprint.size <= MOST_READ_BYTES else ""
                originals.unchanged(file, fingerprint)
                # A caption of it may wait on disk: finish that delivery, or it would appear beside this one.
                earlier = self._finishing.earlier(path, {"done": sha256}) if sha256 else None
                if earlier is not None:
                    return earlier, None
                record = sidecar.compose_error(path, fingerprint, rejected, attempts, sha256, stamp)
                claim = self._committed(steps, file, record, Original(path, fingerprint, sha256))
            return self._finishing.delivered(steps, claim, is_seen=True), record

    def _committed(self, steps: Steps, file: int, record: Record, original: Original) -> Claim:
        if os.fstat(file).st_dev == os.fstat(steps.target.root).st_dev:
            try:
                return handover.commit(steps, _claimed(steps, file, record, original, by_rename=True), file)
            except OSError as error:
                if error.errno not in handover.NO_MOVE:
                    raise
                steps.trace.clear()
        return steps.commit(_claimed(steps, file, record, original, by_rename=False))


def _claimed(steps: Steps, file: int, record: Record, original: Original, *, by_rename: bool) -> Claim:
    """Step 1, and for a copy also step 2."""
    attributes = Attributes.of(file)
    with cleared_on_trouble(steps.trace):
        if not by_rename:
            with room_for(steps.target, original.path, allocated(file)):
                steps.trace.copy_piece(0, file, attributes.give)
            originals.unchanged(file, original.fingerprint)
        steps.trace.write_record(record, attributes.give_record)
        claim = steps.claim_for([Piece(PICTURE, original.sha256, original)], by_rename=by_rename)
        steps.trace.write_claim(claim)
        steps.trace.sync()
    return claim


def identity(fingerprint: Fingerprint) -> str:
    """What names the job of a file whose bytes have not been read yet."""
    return f"{fingerprint.inode} {fingerprint.size} {fingerprint.modified_ns}"
