"""Step 2: all files of one delivery, whole and durable in `.captiond/`, and the claim that tells of them.

The image and what is made or merged come from memory; what merely travels along is copied a piece at a time,
and a copy counts only if nobody touched the file meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator

from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import Companion, Company
from captiond.delivery.files import chunks
from captiond.delivery.journal import PICTURE, Claim, Original, Piece
from captiond.delivery.steps import UNFIT_RETRY_SECONDS, Steps
from captiond.errors import TryLater
from captiond.names import shown
from captiond.records import Accompanied, Described, Rules
from captiond.sidecar import Record
from captiond.sidecar.companions import TEXT, XMP, Tail
from captiond.support.openat import split


def stage(
    steps: Steps,
    record: Record,
    original: Original,
    attributes: Attributes,
    beside: Company,
    described: Described | None,
    rules: Rules,
) -> Claim:
    """Write everything but the record, which lies there; without `described` the image does, too."""
    trace = steps.trace
    if described is not None:
        trace.write_piece(0, [described.data], attributes.give)
    pieces = [Piece(PICTURE, record.published_sha256, original)]
    told = []
    made = {} if described is None else {XMP: described.xmp, TEXT: described.text}
    for companion in beside.companions:
        is_noted = companion is beside.first(companion.kind)
        content = made.pop(companion.kind, None) if is_noted else None
        if companion.kind[1:] in beside.notes.unread:
            content = None
        piece = _beside(steps, len(pieces), companion, content)
        pieces.append(piece)
        told.append(_told(piece, companion, content))
    for kind, content in made.items():
        if content is not None:
            trace.write_piece(len(pieces), [content], attributes.give_record)
            tail = Tail(kind, on_stem=kind == TEXT or rules.xmp_on_stem)
            pieces.append(Piece(tail, hashlib.sha256(content).hexdigest()))
    if told:
        trace.write_record(record.accompanied(tuple(told)), attributes.give_record)
        trace.sync()  # or the claim may outlive it
    claim = steps.claim_for(pieces)
    trace.write_claim(claim)
    trace.sync()
    return claim


def _beside(steps: Steps, number: int, companion: Companion, content: bytes | None) -> Piece:
    """Write what travels along, or what was merged from it."""
    try:
        return _written(steps, number, companion, content)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise TryLater(
            f"{steps.target.path} cannot hold {shown(companion.path)}, which travels along: {error.strerror}",
            after_seconds=UNFIT_RETRY_SECONDS,
            advice="Use a file system that holds files of this size.",
        ) from error


def _written(steps: Steps, number: int, companion: Companion, content: bytes | None) -> Piece:
    with companion.opened(steps.inbox) as file:
        give = Attributes.of(file).give
        digest = hashlib.sha256()

        def copied() -> Iterator[bytes]:
            for chunk in chunks(file):
                digest.update(chunk)
                yield chunk

        if content is None:
            steps.trace.write_piece(number, copied(), give)
            published = digest.hexdigest()
        else:
            published = hashlib.sha256(content).hexdigest()
            for _ in copied():
                pass
            steps.trace.write_piece(number, [content], give)
    return Piece(
        companion.tail, published, Original(companion.path, companion.fingerprint, digest.hexdigest())
    )


def _told(piece: Piece, companion: Companion, content: bytes | None) -> Accompanied:
    is_same = piece.original is not None and piece.sha256 == piece.original.sha256
    return Accompanied(
        name=split(companion.path)[1],
        sha256=piece.sha256,
        size=companion.fingerprint.size if content is None else len(content),
        action="moved" if is_same else "merged",
    )
