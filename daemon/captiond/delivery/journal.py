"""The files of one delivery in a `.captiond/` folder, from which a crash is rolled forward.

    <job>.json        the redo record: the sidecar itself, which the commit moves beside the image
    <job>.img         the image as it will be delivered
    <job>.1, .2, ...  what lies beside it, in the order of the claim
    <job>.claim       all files of the delivery, where they were taken from, and the name chosen for them
    <job>.delivered   the claim again, renamed once the commit is durable: only originals are still to go
    <job>.*.new       a file being written; never read

No existing file is ever written into: after a crash it may be a second name of a delivered one.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from captiond import sidecar
from captiond.delivery.files import (
    TIME_GRAIN_NS,
    Give,
    copy,
    exists,
    must_be_files,
    names_in,
    read,
    remove,
    sha256_at,
    status_of,
    write,
)
from captiond.names import checked_name, checked_path
from captiond.records import Fingerprint
from captiond.sidecar import Record, checked
from captiond.sidecar.companions import FORMS, Tail
from captiond.sidecar.decode import read_json
from captiond.support.openat import FILE, split, sync_folder

_OURS = re.compile(r"([0-9a-f]{24})\.(?:json|img|[0-9]{1,6}|claim|delivered)(?:\.new)?")

PICTURE = Tail("")


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
        """The name of the piece in `work`; the picture is number 0."""
        return f"{self.job}.{number}" if number else self.image

    @property
    def _claim(self) -> str:
        return f"{self.job}.claim"

    @property
    def _delivered(self) -> str:
        return f"{self.job}.delivered"

    def write_record(self, record: Record, give: Give = lambda _: None) -> None:
        write(self.work, self.record, [record.encoded()], give)

    def write_piece(self, number: int, chunks: Iterable[bytes], give: Give) -> None:
        write(self.work, self.piece(number), chunks, give)

    def copy_piece(
        self, number: int, file: int, give: Give, look: Callable[[bytes], object] | None = None
    ) -> None:
        copy(file, self.work, self.piece(number), give, *(() if look is None else (look,)))

    def write_claim(self, claim: Claim) -> None:
        write(self.work, self._claim, [json.dumps(asdict(claim)).encode()])

    def sync(self) -> None:
        sync_folder(self.work)

    def write_delivered(self, claim: Claim) -> None:
        """Write the mark of a duplicate, which was delivered before: it has no claim to rename."""
        write(self.work, self._delivered, [json.dumps(asdict(claim)).encode()])

    def mark_delivered(self) -> None:
        os.rename(self._claim, self._delivered, src_dir_fd=self.work, dst_dir_fd=self.work)

    def read_record(self) -> Record | None:
        """The record, or None.  `read_claim` and `read_delivered` raise the same.

        Raises: ValueError, if it cannot be understood.
        """
        record = read(self.work, self.record)
        return None if record is None else sidecar.decode(record)

    def read_claim(self) -> Claim | None:
        claim = read(self.work, self._claim)
        return None if claim is None else claim_from(claim)

    def read_delivered(self) -> Claim | None:
        claim = read(self.work, self._delivered)
        return None if claim is None else claim_from(claim)

    def names(self) -> list[str]:
        """The names of all files of this delivery in `work`."""
        return [name for name in names_in(self.work) if _job_of(name) == self.job]

    def must_be_files(self) -> None:
        must_be_files(self.work, self.names())

    def has_piece(self, number: int) -> bool:
        return exists(self.work, self.piece(number))

    def open_image(self) -> int | None:
        """A descriptor of the image, if it is there."""
        try:
            return os.open(self.image, FILE, dir_fd=self.work)
        except FileNotFoundError:
            return None

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
        for name in self.names():
            if name not in but:
                remove(self.work, name)

    def forget(self) -> None:
        """Remove what is left of a finished delivery, once its mark is durable and no crash undoes it."""
        self.sync()
        self.clear()


def jobs(work: int) -> list[str]:
    """The jobs of which something lies in a `.captiond/` folder."""
    return sorted({job for name in names_in(work) if (job := _job_of(name)) is not None})


def _job_of(name: str) -> str | None:
    match = _OURS.fullmatch(name)
    return match[1] if match is not None else None


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
