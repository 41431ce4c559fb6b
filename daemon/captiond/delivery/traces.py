"""The files of one delivery in a `.captiond/` folder, from which a crash is rolled forward.

    <job>.json        the redo record: the sidecar itself, which the commit moves beside the image
    <job>.img         the image as it will be delivered
    <job>.claim       what was taken from the inbox, and the name chosen for it
    <job>.delivered   the claim again, renamed once the commit is durable: only the original is still to go
    <job>.*.new       a file being written; never read

Nothing is ever written into an existing file: after a crash it may be a second name of a delivered one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from captiond import sidecar
from captiond.delivery.files import exists, read, remove, sync_folder, write

_OURS = re.compile(r"([0-9a-f]{24})\.(?:json|img|claim|delivered)(?:\.new)?")


@dataclass(frozen=True, slots=True)
class Claim:
    """What was taken from the inbox, and where it goes."""

    path: str  # in the inbox
    inode: int
    size: int
    modified_ns: int
    sha256: str
    name: str  # the delivered path, as chosen
    published_sha256: str


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

    @property
    def _claim(self) -> str:
        return f"{self.job}.claim"

    @property
    def _delivered(self) -> str:
        return f"{self.job}.delivered"

    def write_record(self, record: bytes, give: Callable[[int], None] = lambda _: None) -> None:
        write(self.work, self.record, [record], give)

    def write_image(self, chunks: Iterable[bytes], give: Callable[[int], None]) -> None:
        write(self.work, self.image, chunks, give)

    def write_claim(self, claim: Claim) -> None:
        write(self.work, self._claim, [json.dumps(asdict(claim)).encode()])

    def sync(self) -> None:
        sync_folder(self.work)

    def mark_delivered(self) -> None:
        os.rename(self._claim, self._delivered, src_dir_fd=self.work, dst_dir_fd=self.work)

    def read_record(self) -> bytes | None:
        """The record, if there is a whole one."""
        record = read(self.work, self.record)
        try:
            sidecar.read(record or b"")
        except ValueError:
            return None
        return record

    def read_claim(self) -> Claim | None:
        return _claim_from(read(self.work, self._claim))

    def read_delivered(self) -> Claim | None:
        return _claim_from(read(self.work, self._delivered))

    def has_image(self) -> bool:
        return exists(self.work, self.image)

    def is_empty(self) -> bool:
        return not any(exists(self.work, name) for name in (self.record, self._claim, self._delivered))

    def claimed_at_ns(self) -> int:
        return os.stat(self._claim, dir_fd=self.work, follow_symlinks=False).st_mtime_ns

    def drop_image(self) -> None:
        remove(self.work, self.image)

    def clear(self) -> None:
        """Remove what is left of the delivery."""
        for name in (self.image, self.record, self._claim, self._delivered):
            remove(self.work, f"{name}.new")
            remove(self.work, name)

    def forget(self) -> None:
        """Remove what is left of a finished delivery, once nothing can come back that looks unfinished."""
        self.sync()
        self.clear()


def jobs(work: int) -> list[str]:
    """The jobs of which something lies in a `.captiond/` folder."""
    return sorted({match[1] for name in os.listdir(work) if (match := _OURS.fullmatch(name))})


def _claim_from(text: bytes | None) -> Claim | None:
    """A claim is written whole or not at all; what cannot be read is not one of ours."""
    try:
        return Claim(**json.loads(text)) if text is not None else None
    except (ValueError, TypeError):
        return None
