"""Step 2: all files of one delivery, whole and durable in `.captiond/`, and the claim that tells of them.

The image and what is made or merged come from memory; what merely travels along is copied a chunk at a time,
and a copy counts only if no program changed the file meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from captiond.delivery.attributes import Attributes
from captiond.delivery.claims import PICTURE, Claim, DeliveryTrace, Original, Piece
from captiond.delivery.companions import Companion, Company
from captiond.delivery.files import allocated, chunks, exists
from captiond.delivery.steps import Steps
from captiond.delivery.troubles import NoRoom, of_one_picture, room_for
from captiond.errors import TryLater
from captiond.records import Accompanied, Described, Notes, Rules, Texts
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
    folder: str | None,
) -> Claim:
    """Write everything but the record, which lies there; if `described` is None, the image lies there too.

    `folder`: where it goes in done/; None: the folder that it was dropped in.
    """
    trace = steps.trace
    if described is not None:
        with room_for(steps.target, original.path, len(described.data)):
            trace.write_piece(0, [described.data], attributes.give)
    pieces = [Piece(PICTURE, record.published_sha256, original)]
    told = []
    contents, made = laid_beside(described, beside, rules)
    for companion, content in zip(beside.companions, contents, strict=True):
        with of_one_picture(steps.target, companion.path):
            piece = _beside(steps, len(pieces), companion, content)
        pieces.append(piece)
        told.append(_told(piece, companion, content))
    for tail, content in made.items():
        trace.write_piece(len(pieces), [content], attributes.give_record)
        pieces.append(Piece(tail, hashlib.sha256(content).hexdigest()))
    if told:
        trace.write_record(record.accompanied(tuple(told)), attributes.give_record)
        trace.sync()  # or the claim may outlive it
    claim = steps.claim_for(pieces, folder=folder)
    trace.write_claim(claim)
    trace.sync()
    return claim


def described_as(record: Record, texts: Texts, rules: Rules, data: bytes, notes: Notes) -> Described:
    """The image as it is delivered with these texts of its record: as it is, if they wait for approval."""
    if record.awaits_approval:
        return Described.untouched(data)
    return rules.describe(data, record.source.format or "", texts, notes=notes)


def laid_beside(
    described: Described | None, beside: Company, rules: Rules
) -> tuple[list[bytes | None], dict[Tail, bytes]]:
    """What each companion says with the texts in it (None: what it says now), and the files to make."""
    made = {} if described is None else {XMP: described.xmp, TEXT: described.text}
    raw_xmp, its_own = described.raw_xmp if described is not None else None, beside.xmp_of_raw
    contents = []
    for companion in beside.companions:
        is_noted = companion is beside.first(companion.kind)
        content = made.pop(companion.kind, None) if is_noted else None
        if companion is its_own and raw_xmp is not None:
            content = raw_xmp
        contents.append(None if companion.kind[1:] in beside.notes.unread else content)
    return contents, _made(made, raw_xmp if its_own is None else None, beside, rules)


def _made(
    made: Mapping[str, bytes | None], raw_xmp: bytes | None, beside: Company, rules: Rules
) -> dict[Tail, bytes]:
    """The files to make beside the image, by tail; a RAW and its picture that share an .xmp get one."""
    new = {
        Tail(kind, on_stem=kind == TEXT or rules.xmp_on_stem): content
        for kind, content in made.items()
        if content is not None
    }
    if raw_xmp is not None and (raw := beside.notes.raw) is not None:
        new.setdefault(Tail(XMP if rules.xmp_on_stem else raw.suffix + XMP, on_stem=True), raw_xmp)
    return new


@contextmanager
def cleared_on_trouble(trace: DeliveryTrace) -> Iterator[None]:
    """On trouble, remove the traces: nothing is shown yet, and they may be what fills the disk.

    But if a captioned image waits for what travels with it, or for room, its caption waits on disk.
    """
    try:
        yield
    except TryLater as later:
        kept = (trace.record,) if isinstance(later, NoRoom) else (trace.record, trace.image)
        trace.clear(but=kept if exists(trace.work, trace.record) else ())
        trace.sync()
        raise
    except BaseException:
        trace.clear()
        raise


def _beside(steps: Steps, number: int, companion: Companion, content: bytes | None) -> Piece:
    """Write what travels along, or what was merged from it."""
    with companion.opened(steps.inbox) as file:
        give = Attributes.of(file).give
        digest = hashlib.sha256()
        if content is None:
            with room_for(steps.target, companion.path, allocated(file)):
                steps.trace.copy_piece(number, file, give, digest.update)
            published = digest.hexdigest()
        else:
            published = hashlib.sha256(content).hexdigest()
            for chunk in chunks(file):
                digest.update(chunk)
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
