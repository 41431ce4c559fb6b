"""The same file sent again: rsync, phones and backups send everything anew, and that is no news.

A file is a duplicate if a sidecar in done/ tells of its path and its checksum, the image beside that sidecar
still has the bytes of which it tells, and done/ holds the same companions as the inbox does now.  A duplicate
is taken out of the inbox like an original that was delivered: `<job>.delivered` is written first, so that a
crash leaves nothing behind; before recovery obeys that mark, it looks for the twin once more.

Opens nothing but regular files beneath done/ and the inbox, and changes nothing.
"""

from __future__ import annotations

import hashlib
from itertools import islice

from captiond import sidecar
from captiond.delivery.claims import PICTURE, Claim, Original, Piece, holds
from captiond.delivery.companions import Companion, Company
from captiond.delivery.files import exists, read, sha256_of
from captiond.delivery.folders import REFUSED_NAMES
from captiond.delivery.steps import Steps
from captiond.errors import Rejected, TryLater
from captiond.names import candidates, fitting, is_refused_somewhere
from captiond.records import Described, Job
from captiond.sidecar import Record
from captiond.sidecar.companions import TEXT, XMP
from captiond.support.openat import split

# How many files that were to have the same name are looked through.
_MOST_NAMES = 100


def has_twin(steps: Steps, job: Job) -> bool:
    """Whether done/ has a sidecar of this very file; cheap if the name is free."""
    return _twin(steps, job) is not None


def claim_of(steps: Steps, job: Job, beside: Company) -> Claim | None:
    """What to take out of the inbox; None if the file, or what lies beside it, differs from done/."""
    twin = _twin(steps, job)
    if twin is None:
        return None
    name, record = twin
    original = Original(job.path, job.fingerprint, job.sha256)
    pieces: list[Piece | None] = [Piece(PICTURE, record.published_sha256, original)]
    described = _described(job, record, beside)
    pieces += [_same(steps, companion, record, described, beside) for companion in beside.companions]
    same = tuple(piece for piece in pieces if piece is not None)
    claim = Claim(name, same, is_duplicate=True)
    return claim if len(same) == len(pieces) and stands(steps, claim) else None


def stands(steps: Steps, claim: Claim) -> bool:
    """Whether all that was delivered by the claim still lies in done/ as it was."""
    folder_name, name = split(claim.name)
    if not steps.is_committed(claim):
        return False
    with steps.target.folder(folder_name) as folder:
        return all(holds(folder, piece.tail.of(name), piece) for piece in claim.pieces)


def _twin(steps: Steps, job: Job) -> tuple[str, Record] | None:
    """The path and the sidecar in done/ of an image that was made from this very file."""
    dropped_in, dropped = split(job.path)
    path, sha256 = job.path, job.sha256
    folder_name = steps.target.find_folder(dropped_in if job.folder is None else job.folder)
    if folder_name is None:
        return None
    with steps.target.folder(folder_name) as folder:
        for call in fitting(dropped) if is_refused_somewhere(dropped) else (dropped,):
            try:
                twin = _called(folder, call, path, sha256, steps.suffix)
            except OSError as error:
                if error.errno not in REFUSED_NAMES:
                    raise
            else:
                if twin is not None:
                    return f"{folder_name}/{twin[0]}" if folder_name else twin[0], twin[1]
    return None


def _called(folder: int, call: str, path: str, sha256: str, suffix: str) -> tuple[str, Record] | None:
    """The name and record of the twin among the files in the folder that were to be called `call`."""
    for name in islice(candidates(call, sha256, suffix=suffix), _MOST_NAMES):
        if exists(folder, name + suffix):
            record = _record(folder, name + suffix)
            if record is not None and (record.path, record.source.sha256) == (path, sha256):
                return name, record
        elif not exists(folder, name):
            break
    return None


def _record(folder: int, name: str) -> Record | None:
    try:
        data = read(folder, name)
        record = None if data is None else sidecar.decode(data)
    except ValueError:
        return None
    return record if record is not None and record.texts is not None else None


def _described(job: Job, record: Record, beside: Company) -> Described | None:
    """The file described anew, if a companion was merged: merged bytes in done/ differ from dropped ones."""
    if not any(one.action == "merged" for one in record.companions) or record.texts is None:
        return None
    try:
        return job.rules.describe(job.data, record.source.format or "", record.texts, notes=beside.notes)
    except (Rejected, TryLater):
        return None


def _same(
    steps: Steps, companion: Companion, record: Record, described: Described | None, beside: Company
) -> Piece | None:
    """The companion as a piece that was delivered before; None if it is new, or has changed."""
    name = split(companion.path)[1]
    told = next((one for one in record.companions if one.name == name), None)
    if told is None:
        return None
    with companion.opened(steps.inbox) as file:
        if told.action == "moved" and companion.fingerprint.size != told.size:
            return None
        dropped = sha256_of(file)
    published = dropped
    if told.action != "moved":
        made = {} if described is None else {XMP: described.xmp, TEXT: described.text}
        content = made.get(companion.kind) if companion is beside.first(companion.kind) else None
        if companion is beside.xmp_of_raw and described is not None and described.raw_xmp is not None:
            content = described.raw_xmp
        published = "" if content is None else hashlib.sha256(content).hexdigest()
    if published != told.sha256:
        return None
    return Piece(companion.tail, published, Original(companion.path, companion.fingerprint, dropped))
