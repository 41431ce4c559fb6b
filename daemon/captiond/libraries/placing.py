"""Gives the files about a picture their names: the .xmp first, the record last.

    1 write  .captiond-<job>.xmp    the .xmp, new or merged, in the folder where it is to lie; fsync
      write  .captiond-<job>.json   the record, which says what the .xmp is to be and was merged from; fsync
    2 put    -> X.xmp               without replacing, or in the place of the very bytes that were merged
    3 put    -> X.caption.json      = done; likewise in the place of the very record that was read

The staged record is its own redo record: a start that finds one goes on from there, without asking the model,
if the picture still has the same bytes; else it removes what was staged.  Only names of this pattern are
renamed or removed, and only a file that was read a moment ago is replaced.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from captiond import sidecar
from captiond.delivery.files import Give, enter, exists, read, remove, sha256_at, status_of, write
from captiond.delivery.moves import drop_reservations
from captiond.delivery.swap import put
from captiond.errors import TryLater
from captiond.libraries.around import NotOurs, Tree, XmpFile, old_record
from captiond.libraries.index import Seen
from captiond.names import checked_name, job_id, name_keys, shown
from captiond.records import Described
from captiond.sidecar import Record, checked
from captiond.sidecar.companions import XMP
from captiond.support.openat import FOLDER, split, sync_folder

_TRACE = re.compile(r"\.captiond-([0-9a-f]{24})\.(?:json|xmp)(?:\.new)?")
_OVERTAKEN_SECONDS = 5.0
_PROBE_BYTES = 64 * 1024  # more than a record has


@dataclass(frozen=True, slots=True)
class Attributes:
    """The functions that set owner and permissions of the two files."""

    record: Give
    xmp: Give


@dataclass(frozen=True, slots=True)
class Placing:
    """What is to lie beside one picture."""

    path: str  # of the picture, in the library
    record: Record
    xmp: XmpFile | None
    xmp_content: bytes | None
    old: str | None  # the checksum of the record that makes way


class Overtaken(TryLater):
    """Another program changed a file beside the picture since it was read."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"what lies beside {shown(path)} was changed meanwhile", after_seconds=_OVERTAKEN_SECONDS
        )


def trace_of(name: str) -> str | None:
    """The job of a staged file, by its name; None for all other names."""
    found = _TRACE.fullmatch(name)
    return None if found is None else found[1]


def record_of(
    record: Record, path: str, library: Mapping[str, str], described: Described, xmp: XmpFile
) -> Record:
    """The record as it lies beside the picture `path`; `library`: its name, and the questions."""
    told: dict[str, object] = dict(library)
    if described.xmp is not None:
        before = {} if xmp.old is None else {"merged_from": xmp.old}
        digest = hashlib.sha256(described.xmp).hexdigest()
        told["xmp"] = {**name_keys("name", xmp.name), "sha256": digest, **before}
    return replace(record, source=replace(record.source, path=path), rest={**record.rest, "library": told})


def place(target: Tree, placing: Placing, attributes: Attributes) -> Seen:
    """The record's file as it lies there now.

    Raises: Overtaken, if a file was changed meanwhile; OSError.  Then nothing is left staged.
    """
    folder_name, name = split(placing.path)
    job = job_id(placing.path, placing.record.source.sha256)
    staged_record, staged_xmp = _staged(job)
    with _entered(target.root, folder_name) as folder, ExitStack() as undo:
        undo.callback(_remove, folder, staged_xmp, staged_record)
        pieces = [(staged_record, name + sidecar.CAPTION_SUFFIX, placing.old)]
        if placing.xmp is not None and placing.xmp_content is not None:
            write(folder, staged_xmp, [placing.xmp_content], attributes.xmp)
            pieces.insert(0, (staged_xmp, placing.xmp.name, placing.xmp.old))
        write(folder, staged_record, [placing.record.encoded()], attributes.record)
        sync_folder(folder)
        for staged, called, old in pieces:
            if not put(folder, staged, called, old):
                raise Overtaken(placing.path)
        return Seen.of(os.stat(pieces[-1][1], dir_fd=folder, follow_symlinks=False))


def probe(target: Tree) -> None:
    """Raises: OSError, if nothing can be written there."""
    name = f".captiond-{secrets.token_hex(12)}.json"
    with ExitStack() as undo:
        undo.callback(_remove, target.root, name)
        write(target.root, name, [bytes(_PROBE_BYTES)])


def finish(
    target: Tree, folder_name: str, job: str, sha256_of_picture: Callable[[str], str | None]
) -> str | None:
    """Finish what a crash left of this job; the picture's path if it is described now."""
    staged_record, staged_xmp = _staged(job)
    with target.folder(folder_name) as folder:
        try:
            path = _finished(target, folder, folder_name, job, sha256_of_picture)
        except (ValueError, NotOurs):
            path = None  # the record in place is not ours to replace, or the staged one cannot be understood
        _remove(folder, staged_xmp, f"{staged_xmp}.new", staged_record, f"{staged_record}.new")
        return path


def _finished(
    target: Tree, folder: int, folder_name: str, job: str, sha256_of_picture: Callable[[str], str | None]
) -> str | None:
    staged_record, staged_xmp = _staged(job)
    data = read(folder, staged_record)
    if data is None:
        return None
    record = sidecar.decode(data)
    path, digest = record.path, record.source.sha256
    if split(path)[0] != folder_name or job_id(path, digest) != job or sha256_of_picture(path) != digest:
        return None
    claimed = status_of(folder, staged_record)
    xmp = checked.mapping(checked.mapping(record.rest.get("library")).get("xmp"))
    name = split(path)[1]
    shown_as = name + sidecar.CAPTION_SUFFIX
    if xmp and claimed is not None and not _finish_xmp(folder, xmp, name, staged_xmp, claimed.st_mtime_ns):
        return None
    if claimed is not None:
        drop_reservations(folder, [shown_as], claimed_at_ns=claimed.st_mtime_ns)
    old = old_record(target, path)
    if old is not None and (old.record.edited is not None or old.record == record):
        return path
    return path if put(folder, staged_record, shown_as, None if old is None else old.sha256) else None


def _finish_xmp(folder: int, told: Mapping[str, object], name: str, staged: str, claimed_at_ns: int) -> bool:
    """Put the staged .xmp; whether the .xmp is what the staged record says.

    Raises: ValueError, if captiond cannot have written that.
    """
    called = os.fsdecode(bytes.fromhex(str(told["name_hex"]))) if "name_hex" in told else told.get("name")
    xmp, new = checked_name(called), checked.digest(told.get("sha256"))
    before = checked.digest(told["merged_from"]) if "merged_from" in told else None
    stem = name.rpartition(".")[0]
    if xmp.casefold() not in (f"{name}{XMP}".casefold(), f"{stem}{XMP}".casefold()):
        raise ValueError("not the name of the picture's .xmp")
    if before is None:
        drop_reservations(folder, [xmp], claimed_at_ns=claimed_at_ns)
    there = sha256_at(folder, xmp)
    if there == new:
        return True
    if there != before or sha256_at(folder, staged) != new or (there is None and exists(folder, xmp)):
        return False
    return put(folder, staged, xmp, before)


def _staged(job: str) -> tuple[str, str]:
    return f".captiond-{job}.json", f".captiond-{job}.xmp"


def _remove(folder: int, *names: str) -> None:
    for name in names:
        remove(folder, name)


@contextmanager
def _entered(root: int, folder_name: str) -> Iterator[int]:
    """The folder beneath the root, made if a mirror lacks it."""
    folder = os.open(".", FOLDER, dir_fd=root)
    try:
        for part in folder_name.split("/") if folder_name else ():
            inner = enter(folder, checked_name(part))
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)
