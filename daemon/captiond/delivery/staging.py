"""Step 2: all files of one delivery, whole and durable in `.captiond/`, and the claim that tells of them.

The image and what is made or merged come from memory; what merely travels along is copied a piece at a time,
and a copy counts only if nobody touched the file meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from captiond import sidecar
from captiond.delivery import companions
from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import Companion, Company, Takers
from captiond.delivery.files import chunks
from captiond.delivery.folders import Place
from captiond.delivery.journal import PICTURE, Claim, Original, Piece
from captiond.delivery.steps import UNFIT_RETRY_SECONDS, Steps
from captiond.errors import TryLater
from captiond.names import shown
from captiond.records import Accompanied, Described, Notes
from captiond.sidecar.companions import TEXT, XMP, Tail
from captiond.support.openat import split


class Describe(Protocol):
    """Lays a caption into an image of a format, and makes what is to lie beside it, given what lies there.

    `own` are former captions of ours: they make way, and what does not say them is not made anew.
    """

    def __call__(
        self,
        data: bytes,
        format: str,
        caption: str,
        /,
        *,
        notes: Notes = ...,
        own: Collection[str] = ...,
    ) -> Described: ...


Leaves = Callable[[str], bool]


def leaves_none(_: str) -> bool:
    return False


@dataclass
class Staging:
    """How pictures are described and what travels with them; its fields change with the settings."""

    embed: Describe
    settle_seconds: float
    takes_text: bool
    xmp_on_stem: bool
    leaves: Leaves
    now: Callable[[], float] = time.time
    takers: Takers = field(default_factory=Takers)

    def look(self, inbox: Place, path: str) -> Company:
        """What would travel with the picture now; TryLater where some of it is being written."""
        return self._look(inbox, path, self.takers.are_without)

    def take(self, inbox: Place, path: str, job: str) -> Company:
        """The same, kept for this job from now on."""
        return self._look(inbox, path, lambda beside: self.takers.take(beside, job))

    def _look(self, inbox: Place, path: str, may_take: Callable[[str], bool]) -> Company:
        return companions.look(
            inbox,
            path,
            text=self.takes_text,
            settle_seconds=self.settle_seconds,
            now=self.now(),
            may_take=lambda beside: not self.leaves(beside) and may_take(beside),
        )

    def stage(
        self,
        steps: Steps,
        record: bytes,
        original: Original,
        attributes: Attributes,
        beside: Company,
        described: Described | None,
    ) -> Claim:
        """Write everything but the record, which lies there; without `described` the image does, too."""
        trace = steps.trace
        if described is not None:
            trace.write_piece(0, [described.data], attributes.give)
        pieces = [Piece(PICTURE, sidecar.read(record).published_sha256, original)]
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
                pieces.append(Piece(self._tail_of(kind), hashlib.sha256(content).hexdigest()))
        if told:
            trace.write_record(sidecar.with_companions(record, told), attributes.give_record)
            trace.sync()  # or the claim may outlive it
        claim = steps.claim_for(pieces)
        trace.write_claim(claim)
        trace.sync()
        return claim

    def _tail_of(self, kind: str) -> Tail:
        """Where what is made goes."""
        return Tail(kind, on_stem=kind == TEXT or self.xmp_on_stem)


def _beside(steps: Steps, number: int, companion: Companion, content: bytes | None) -> Piece:
    """Write what travels along, or what was merged from it."""
    try:
        return _written(steps, number, companion, content)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise TryLater(
            f"{steps.place.path} cannot hold {shown(companion.path)}, which travels along: {error.strerror}",
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
