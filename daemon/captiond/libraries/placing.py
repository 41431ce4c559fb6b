"""Gives the files about a picture their names: each .xmp first, the record last.

    1 write  .captiond-<job>.xmp    the .xmp, new or merged, in the folder where it is to lie; fsync
      write  .captiond-<job>.raw    the .xmp of the RAW of the same shot, if there is one; fsync
      write  .captiond-<job>.json   the record, which says what each .xmp is to be and was merged from; fsync
    2 put    -> X.xmp               without replacing, or in the place of the very bytes that were merged
    3 put    -> X.caption.json      = done; likewise in the place of the very record that was read

The staged record is its own redo record: a start that finds one goes on from there, without asking the model,
if the picture still has the same bytes; else it removes what was staged.  One that replaces the texts of a
picture (`revising`) names the record that it `replaced`, and goes on only while that one lies there.  Only
names of this pattern are renamed or removed, and only a file that was read a moment ago is replaced.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import get_args

from captiond import sidecar
from captiond.delivery.files import Give, enter, exists, read, remove, sha256_at, status_of, write
from captiond.delivery.moves import drop_reservations
from captiond.delivery.swap import put
from captiond.errors import TryLater
from captiond.libraries.around import NotOurs, Role, Tree, Xmp, old_record
from captiond.libraries.index import Seen
from captiond.names import checked_name, job_id, name_keys, shown
from captiond.sidecar import Record, checked
from captiond.sidecar.companions import RAW, XMP
from captiond.support.openat import FOLDER, split, sync_folder

_TRACE = re.compile(r"\.captiond-([0-9a-f]{24})\.(?:json|xmp|raw)(?:\.new)?")
_ENDINGS: Mapping[Role, str] = {"xmp": "xmp", "raw_xmp": "raw"}
_OVERTAKEN_SECONDS = 5.0
_PROBE_BYTES = 64 * 1024  # more than a record has


@dataclass(frozen=True, slots=True)
class Placing:
    """What is to lie beside one picture."""

    path: str  # of the picture, in the library
    record: Record
    xmps: tuple[Xmp, ...]
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
    record: Record, path: str, library: Mapping[str, object], xmps: Sequence[Xmp], replaced: str | None = None
) -> Record:
    """The record as it lies beside the picture `path`.

    `library`: what it says of the library; `replaced`: the checksum of the record of the same picture whose
    texts it replaces.
    """
    told = {key: value for key, value in library.items() if key != "replaced"}
    for one in xmps:
        before = {} if one.file.old is None else {"merged_from": one.file.old}
        digest = hashlib.sha256(one.content).hexdigest()
        told[one.role] = {**name_keys("name", one.file.name), "sha256": digest, **before}
    if replaced is not None:
        told["replaced"] = replaced
    return replace(record, source=replace(record.source, path=path), rest={**record.rest, "library": told})


def place(target: Tree, placing: Placing, give: Give) -> Seen:
    """The record's file as it lies there now.  `give` sets owner and permissions of the files.

    Raises: Overtaken, if a file was changed meanwhile; OSError.  Then nothing is left staged.
    """
    job = job_id(placing.path, placing.record.source.sha256)
    _, name = split(placing.path)
    with staged(target, placing, job, give) as folder, ExitStack() as undo:
        undo.callback(_forget, folder, job)
        pieces = [(_staged(job, one.role), one.file.name, one.file.old) for one in placing.xmps]
        pieces.append((_staged_record(job), name + sidecar.CAPTION_SUFFIX, placing.old))
        for new, called, old in pieces:
            if not put(folder, new, called, old):
                raise Overtaken(placing.path)
        return Seen.of(os.stat(pieces[-1][1], dir_fd=folder, follow_symlinks=False))


@contextmanager
def staged(target: Tree, placing: Placing, job: str, give: Give) -> Iterator[int]:
    """Step 1; the opened folder while this lasts.  If it cannot be done, nothing is left staged."""
    with _entered(target.root, split(placing.path)[0]) as folder:
        with ExitStack() as undo:
            undo.callback(_forget, folder, job)  # it may be what fills the disk
            for one in placing.xmps:
                write(folder, _staged(job, one.role), [one.content], give)
            write(folder, _staged_record(job), [placing.record.encoded()], give)
            sync_folder(folder)
            undo.pop_all()
        yield folder


def probe(target: Tree) -> None:
    """Raises: OSError, if nothing can be written there."""
    name = f".captiond-{secrets.token_hex(12)}.json"
    with ExitStack() as undo:
        undo.callback(remove, target.root, name)
        write(target.root, name, [bytes(_PROBE_BYTES)])


def finish(
    target: Tree, folder_name: str, job: str, sha256_of_picture: Callable[[str], str | None]
) -> str | None:
    """Finish what was staged for this job; the picture's path if it is described so now."""
    with target.folder(folder_name) as folder:
        try:
            path = _finished(target, folder, folder_name, job, sha256_of_picture)
        except (ValueError, NotOurs):
            path = None  # the record in place is not ours to replace, or the staged one cannot be understood
        _forget(folder, job)
        return path


def _finished(
    target: Tree, folder: int, folder_name: str, job: str, sha256_of_picture: Callable[[str], str | None]
) -> str | None:
    data = read(folder, _staged_record(job))
    if data is None:
        return None
    record = sidecar.decode(data)
    path, digest = record.path, record.source.sha256
    replaced = _replaced(record)
    identity = digest if replaced is None else hashlib.sha256(data).hexdigest()
    if split(path)[0] != folder_name or job_id(path, identity) != job or sha256_of_picture(path) != digest:
        return None
    claimed = status_of(folder, _staged_record(job))
    shown_as = split(path)[1] + sidecar.CAPTION_SUFFIX
    if claimed is not None:
        drop_reservations(folder, [shown_as], claimed_at_ns=claimed.st_mtime_ns)
    old = old_record(target, path)
    if replaced is not None and (old is None or old.sha256 != replaced):
        return path if old is not None and old.record == record else None
    if claimed is not None and not _finish_xmps(folder, record, job, claimed.st_mtime_ns):
        return None
    if replaced is None and old is not None and (old.record.edited is not None or old.record == record):
        return path
    return path if put(folder, _staged_record(job), shown_as, None if old is None else old.sha256) else None


def _replaced(record: Record) -> str | None:
    """Raises: ValueError, if captiond cannot have written that."""
    told = checked.mapping(record.rest.get("library"))
    return checked.digest(told["replaced"]) if "replaced" in told else None


def _finish_xmps(folder: int, record: Record, job: str, claimed_at_ns: int) -> bool:
    """Put each staged .xmp; False if the first was changed meanwhile, and all is as it was.

    If the first has its name, the second keeps what it says: the record must not tell of other words.
    """
    library, name = checked.mapping(record.rest.get("library")), split(record.path)[1]
    is_any_there = False
    for role in get_args(Role):
        told = checked.mapping(library.get(role))
        if not told:
            continue
        is_there = _finish_xmp(folder, told, _names_of(name, role), _staged(job, role), claimed_at_ns)
        if not is_there and not is_any_there:
            return False
        is_any_there = True
    return True


def _names_of(name: str, role: Role) -> set[str]:
    """The names, in lower case, that the .xmp of the picture `name` may have."""
    stem = name.rpartition(".")[0]
    own = [name] if role == "xmp" else [f"{stem}{ending}" for ending in RAW]
    return {f"{one}{XMP}".casefold() for one in (*own, stem)}


def _finish_xmp(
    folder: int, told: Mapping[str, object], names: set[str], new_name: str, claimed_at_ns: int
) -> bool:
    """Put the staged .xmp; whether the .xmp is what the staged record says.

    Raises: ValueError, if captiond cannot have written that.
    """
    called = os.fsdecode(bytes.fromhex(str(told["name_hex"]))) if "name_hex" in told else told.get("name")
    xmp, new = checked_name(called), checked.digest(told.get("sha256"))
    before = checked.digest(told["merged_from"]) if "merged_from" in told else None
    if xmp.casefold() not in names:
        raise ValueError("not the name of the picture's .xmp")
    if before is None:
        drop_reservations(folder, [xmp], claimed_at_ns=claimed_at_ns)
    there = sha256_at(folder, xmp)
    if there == new:
        return True
    if there != before or sha256_at(folder, new_name) != new or (there is None and exists(folder, xmp)):
        return False
    return put(folder, new_name, xmp, before)


def _staged_record(job: str) -> str:
    return f".captiond-{job}.json"


def _staged(job: str, role: Role) -> str:
    return f".captiond-{job}.{_ENDINGS[role]}"


def _forget(folder: int, job: str) -> None:
    for name in (*(_staged(job, role) for role in get_args(Role)), _staged_record(job)):
        remove(folder, name)
        remove(folder, f"{name}.new")


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
