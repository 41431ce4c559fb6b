"""The journal: what an act writes into a `.captiond/` folder before it begins, to be ended after a crash.

    <job>.json        the record that the act moves to its place, or has taken from there
    <job>.old         of an edit: the sidecar that lay in done/
    <job>.img         of a delivery: the image
    <job>.0, .1, ...  the other files, in the order of the claim
    <job>.claim       which files are meant, and what they are known by
    <job>.delivered   of a delivery: the claim again, renamed once the commit is durable
    <job>.*.new       a file being written; never read

Deliveries (`claims`) write into `.captiond/` itself, edits (`edit_steps`) into its `revise/`, and `retry`
into its `retry/`.  No existing file is ever written into: after a crash it may be a second name of a
delivered one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from captiond.delivery.files import Give, exists, must_be_files, names_in, read, remove, write
from captiond.support.openat import sync_folder

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RECORD, CLAIM, DELIVERED = "json", "claim", "delivered"

_OURS = re.compile(r"([0-9a-f]{24})\.(?:json|old|img|[0-9]{1,6}|claim|delivered)(?:\.new)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """The files of one job in the folder `work`, each of a kind."""

    work: int
    job: str

    def name(self, kind: str) -> str:
        return f"{self.job}.{kind}"

    def names(self) -> list[str]:
        """The names of all that lies there of this job."""
        return [name for name in names_in(self.work) if _job_of(name) == self.job]

    def must_be_files(self) -> None:
        must_be_files(self.work, self.names())

    def has(self, kind: str) -> bool:
        return exists(self.work, self.name(kind))

    def read(self, kind: str) -> bytes | None:
        return read(self.work, self.name(kind))

    def write(self, kind: str, chunks: Iterable[bytes], give: Give = lambda _: None) -> None:
        write(self.work, self.name(kind), chunks, give)

    def note(self, kind: str, claim: DataclassInstance, give: Give = lambda _: None) -> None:
        self.write(kind, [json.dumps(asdict(claim)).encode()], give)

    def claimed_at_ns(self) -> int:
        return os.stat(self.name(CLAIM), dir_fd=self.work, follow_symlinks=False).st_mtime_ns

    def sync(self) -> None:
        sync_folder(self.work)

    def clear(self, *, but: Collection[str] = ()) -> None:
        """Remove what is left of the job, but for these names."""
        for name in self.names():
            if name not in but:
                remove(self.work, name)

    def forget(self) -> None:
        """Remove what is left, the claim last: a crash must leave no record that nothing explains."""
        names = self.names()
        claims = [name for name in names if name.removesuffix(".new").endswith((CLAIM, DELIVERED))]
        rest = [name for name in names if name not in claims]
        for name in rest:
            remove(self.work, name)
        if rest:
            self.sync()
        for name in claims:
            remove(self.work, name)


def jobs(work: int) -> list[str]:
    """The jobs of which something lies in a folder of the journal."""
    return sorted({job for name in names_in(work) if (job := _job_of(name)) is not None})


def _job_of(name: str) -> str | None:
    match = _OURS.fullmatch(name)
    return match[1] if match is not None else None
