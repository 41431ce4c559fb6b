"""The files of one delivery in a `.captiond/` folder, from which a crash is rolled forward.

    <job>.json        the redo record: the sidecar itself, which the commit moves beside the image
    <job>.img         the image as it will be delivered
    <job>.1, .2, ...  what lies beside it, in the order of the claim
    <job>.claim       all files of the delivery, where they were taken from, and the name chosen for them
    <job>.delivered   the claim again, renamed once the commit is durable: only originals are still to go
    <job>.*.new       a file being written; never read

Nothing is ever written into an existing file: after a crash it may be a second name of a delivered one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from captiond import sidecar
from captiond.delivery.files import exists, names_in, read, remove, sync_folder, write
from captiond.records import Fingerprint
from captiond.sidecar import Record
from captiond.sidecar.companions import Tail

_OURS = re.compile(r"([0-9a-f]{24})\.(?:json|img|[0-9]+|claim|delivered)(?:\.new)?")

PICTURE = Tail("")


@dataclass(frozen=True, slots=True)
class Original:
    """A file of the inbox as it was when it was taken."""

    path: str
    fingerprint: Fingerprint
    sha256: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a delivery: the picture, or what lies beside it."""

    tail: Tail  # from the picture's delivered name to its own
    sha256: str  # as it is delivered
    original: Original | None = None  # None: it was made here


@dataclass(frozen=True, slots=True)
class Claim:
    """What was taken from the inbox, and where it goes."""

    name: str  # the delivered path of the picture, as chosen
    pieces: tuple[Piece, ...]  # the picture first

    @property
    def original(self) -> Original:
        """The picture's own."""
        original = self.pieces[0].original
        if original is None:
            raise ValueError("a picture is always somebody's")
        return original

    @property
    def path(self) -> str:
        return self.original.path

    @property
    def published_sha256(self) -> str:
        return self.pieces[0].sha256

    @property
    def companions(self) -> tuple[Original, ...]:
        return tuple(piece.original for piece in self.pieces[1:] if piece.original is not None)


@dataclass(frozen=True, slots=True)
class Trace:
    work: int
    job: str

    @property
    def image(self) -> str:
        return f"{self.job}.img"

    @property
    def record(self) -> str:
        return f"{self.job}.json"

    def piece(self, number: int) -> str:
        """What the piece of that number is called here; the picture is the first."""
        return f"{self.job}.{number}" if number else self.image

    @property
    def _claim(self) -> str:
        return f"{self.job}.claim"

    @property
    def _delivered(self) -> str:
        return f"{self.job}.delivered"

    def write_record(self, record: Record, give: Callable[[int], None] = lambda _: None) -> None:
        write(self.work, self.record, [record.encoded()], give)

    def write_piece(self, number: int, chunks: Iterable[bytes], give: Callable[[int], None]) -> None:
        write(self.work, self.piece(number), chunks, give)

    def write_claim(self, claim: Claim) -> None:
        write(self.work, self._claim, [json.dumps(asdict(claim)).encode()])

    def sync(self) -> None:
        sync_folder(self.work)

    def mark_delivered(self) -> None:
        os.rename(self._claim, self._delivered, src_dir_fd=self.work, dst_dir_fd=self.work)

    def read_record(self) -> Record | None:
        """The record, if there is a whole one."""
        record = read(self.work, self.record)
        if record is None:
            return None
        try:
            return sidecar.decode(record)
        except ValueError:
            return None

    def read_claim(self) -> Claim | None:
        return _claim_from(read(self.work, self._claim))

    def read_delivered(self) -> Claim | None:
        return _claim_from(read(self.work, self._delivered))

    def has_piece(self, number: int) -> bool:
        return exists(self.work, self.piece(number))

    def is_empty(self) -> bool:
        return not any(exists(self.work, name) for name in (self.record, self._claim, self._delivered))

    def is_unclaimed(self) -> bool:
        return not any(exists(self.work, name) for name in (self._claim, self._delivered))

    def claimed_at_ns(self) -> int:
        return os.stat(self._claim, dir_fd=self.work, follow_symlinks=False).st_mtime_ns

    def drop_piece(self, number: int) -> None:
        remove(self.work, self.piece(number))

    def clear(self, *, but: Collection[str] = ()) -> None:
        """Remove what is left of the delivery."""
        for name in names_in(self.work):
            match = _OURS.fullmatch(name)
            if match is not None and match[1] == self.job and name not in but:
                remove(self.work, name)

    def forget(self) -> None:
        """Remove what is left of a finished delivery, once nothing can come back that looks unfinished."""
        self.sync()
        self.clear()


def jobs(work: int) -> list[str]:
    """The jobs of which something lies in a `.captiond/` folder."""
    return sorted({match[1] for name in names_in(work) if (match := _OURS.fullmatch(name))})


def _claim_from(text: bytes | None) -> Claim | None:
    """A claim is written whole or not at all; what cannot be read is not one of ours."""
    if text is None:
        return None
    try:
        told = json.loads(text)
        claim = Claim(told["name"], tuple(map(_piece_from, told["pieces"])))
        return claim if claim.original.path else None
    except (ValueError, TypeError, LookupError):
        return None


def _piece_from(told: dict[str, Any]) -> Piece:
    original = told["original"]
    if original is not None:
        fingerprint = Fingerprint(**original["fingerprint"])
        original = Original(original["path"], fingerprint, original["sha256"])
    return Piece(Tail(**told["tail"]), told["sha256"], original)
