"""What one delivery takes from the inbox and where it goes: its claim, and its files in the journal."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from captiond import sidecar
from captiond.delivery.files import TIME_GRAIN_NS, Give, copy, remove, sha256_at, status_of
from captiond.delivery.journal import CLAIM, DELIVERED, RECORD, Trace
from captiond.names import checked_name, checked_path
from captiond.records import Fingerprint
from captiond.sidecar import Record, checked
from captiond.sidecar.companions import FORMS, Tail
from captiond.sidecar.decode import read_json
from captiond.support.openat import FILE, split

PICTURE = Tail("")

_IMAGE = "img"


@dataclass(frozen=True, slots=True)
class Original:
    """A file of the inbox as it was when it was taken."""

    path: str
    fingerprint: Fingerprint
    sha256: str  # empty if the file was too large to be read whole


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a delivery: the picture, or what lies beside it."""

    tail: Tail  # from the picture's delivered name to its own
    sha256: str  # of the delivered bytes; empty: known by its size and its time alone
    original: Original | None = None  # None: captiond made it


@dataclass(frozen=True, slots=True)
class Claim:
    """What was taken from the inbox, and where it goes."""

    name: str  # the delivered path of the picture, as chosen
    pieces: tuple[Piece, ...]  # the picture first
    by_rename: bool = False  # the picture itself is moved, not a copy of it
    is_duplicate: bool = False  # an earlier delivery has put it there
    folder: str | None = None  # the folder chosen for it; None: the one that it was dropped in

    @property
    def original(self) -> Original:
        """The picture as it was dropped."""
        original = self.pieces[0].original
        if original is None:
            raise ValueError("a picture is always somebody's")
        return original

    @property
    def path(self) -> str:
        return self.original.path

    @property
    def wanted_folder(self) -> str:
        """The folder that it is to be delivered in, if nothing is in the way."""
        return split(self.path)[0] if self.folder is None else self.folder

    @property
    def published_sha256(self) -> str:
        return self.pieces[0].sha256

    @property
    def companions(self) -> tuple[Original, ...]:
        return tuple(piece.original for piece in self.pieces[1:] if piece.original is not None)


class DeliveryTrace(Trace):
    """The files of one delivery."""

    __slots__ = ()

    @property
    def image(self) -> str:
        return self.name(_IMAGE)

    @property
    def record(self) -> str:
        return self.name(RECORD)

    def piece(self, number: int) -> str:
        """The name of the piece in `work`; the picture is number 0."""
        return self.name(_kind(number))

    def write_record(self, record: Record, give: Give = lambda _: None) -> None:
        self.write(RECORD, [record.encoded()], give)

    def write_piece(self, number: int, chunks: Iterable[bytes], give: Give) -> None:
        self.write(_kind(number), chunks, give)

    def copy_piece(
        self, number: int, file: int, give: Give, look: Callable[[bytes], object] | None = None
    ) -> None:
        copy(file, self.work, self.piece(number), give, *(() if look is None else (look,)))

    def write_claim(self, claim: Claim) -> None:
        self.note(CLAIM, claim)

    def write_delivered(self, claim: Claim) -> None:
        """Write the mark of a duplicate, which was delivered before: it has no claim to rename."""
        self.note(DELIVERED, claim)

    def mark_delivered(self) -> None:
        os.rename(self.name(CLAIM), self.name(DELIVERED), src_dir_fd=self.work, dst_dir_fd=self.work)

    def read_record(self) -> Record | None:
        """The record, or None.  `read_claim` and `read_delivered` raise the same.

        Raises: ValueError, if it cannot be understood.
        """
        record = self.read(RECORD)
        return None if record is None else sidecar.decode(record)

    def read_claim(self) -> Claim | None:
        claim = self.read(CLAIM)
        return None if claim is None else claim_from(claim)

    def read_delivered(self) -> Claim | None:
        claim = self.read(DELIVERED)
        return None if claim is None else claim_from(claim)

    def has_piece(self, number: int) -> bool:
        return self.has(_kind(number))

    def open_image(self) -> int | None:
        """A descriptor of the image, if it is there."""
        try:
            return os.open(self.image, FILE, dir_fd=self.work)
        except FileNotFoundError:
            return None

    def is_empty(self) -> bool:
        return not self.has(RECORD) and self.is_unclaimed()

    def is_unclaimed(self) -> bool:
        return not any(map(self.has, (CLAIM, DELIVERED)))

    def drop_piece(self, number: int) -> None:
        remove(self.work, self.piece(number))

    def end(self) -> None:
        """Remove what is left of a finished delivery, once its mark is durable and no crash undoes it."""
        self.sync()
        self.forget()


def _kind(number: int) -> str:
    return str(number) if number else _IMAGE


def claim_from(text: bytes) -> Claim:
    """What a claim says.  Raises: ValueError, if a path or name in it leads anywhere a delivery cannot go."""
    try:
        told = read_json(text)
        pieces = tuple(_piece_from(piece) for piece in told["pieces"])
        kinds = told.get("by_rename") is True, told.get("is_duplicate") is True
        folder = told.get("folder")
        claim = Claim(
            checked_path(told["name"]), pieces, *kinds, None if folder is None else checked_path(folder)
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a claim of ours: {error!r}") from error
    if not pieces or pieces[0].tail != PICTURE or pieces[0].original is None:
        raise ValueError("not a claim of ours: of no picture")
    for piece in pieces:
        checked_name(piece.tail.of(split(claim.name)[1]))
    return claim


def _piece_from(told: Mapping[str, Any]) -> Piece:
    suffix, on_stem = told["tail"]["suffix"], told["tail"]["on_stem"]
    form = told["tail"].get("form", "")
    if not isinstance(suffix, str) or not isinstance(on_stem, bool) or form not in ("", *FORMS):
        raise ValueError("not the end of a name")
    original = told["original"]
    if original is not None:
        seen = original["fingerprint"]
        numbers = (checked.whole(seen[field.name]) for field in fields(Fingerprint))
        sha256 = _digest(original["sha256"])
        original = Original(checked_path(original["path"]), Fingerprint(*numbers), sha256)
    return Piece(Tail(suffix, on_stem, form), _digest(told["sha256"]), original)


def _digest(value: object) -> str:
    return "" if value == "" else checked.digest(value)


def holds(folder: int, name: str, piece: Piece) -> bool:
    """Whether the file of that name is the piece, by its checksum, or by size and time if it has none."""
    if piece.sha256:
        return sha256_at(folder, name) == piece.sha256
    return piece.original is not None and looks_like(piece.original, status_of(folder, name))


def looks_like(original: Original, there: os.stat_result | None) -> bool:
    """Whether a file has the size and the time of the original, as exactly as file systems keep them."""
    if there is None or not stat.S_ISREG(there.st_mode) or there.st_size != original.fingerprint.size:
        return False
    return abs(there.st_mtime_ns - original.fingerprint.modified_ns) <= TIME_GRAIN_NS
