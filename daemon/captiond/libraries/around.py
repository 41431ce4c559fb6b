"""What lies around a picture of a library: the record of ours, the .xmp, and other words about it.

Reads beneath opened folders and changes nothing.  With a mirror the words come from beside the picture, and
what was written before lies in the mirror.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from captiond import sidecar
from captiond.delivery.companions import MOST_NOTE_BYTES, Company, Takers
from captiond.delivery.files import NO_FILE, contents, of_regular, read
from captiond.formats import ENDINGS
from captiond.formats.raw import RawNote
from captiond.libraries.index import Seen
from captiond.records import Described, Notes, Rules
from captiond.sidecar import Record, checked
from captiond.sidecar.companions import RAW, XMP, Tail, pictures_of
from captiond.sidecar.questions import answered_by
from captiond.support.openat import beneath, split

Role = Literal["xmp", "raw_xmp"]  # the picture's own .xmp, or that of the RAW of the same shot


class NotOurs(Exception):
    """A file that captiond did not write has the name of a record."""


@dataclass(frozen=True, slots=True)
class Old:
    """The record that lies there."""

    sha256: str  # of its bytes
    record: Record
    seen: Seen

    @property
    def told(self) -> dict[str, object]:
        """What it says of the library."""
        return dict(checked.mapping(self.record.rest.get("library")))

    def sha256_of(self, role: Role) -> str | None:
        """The checksum of the .xmp that was written with it."""
        return checked.text(checked.mapping(self.told.get(role)).get("sha256"))

    @property
    def questions(self) -> str:
        """Which questions it answers."""
        return answered_by(self.record)

    def tells_of(self, sha256: str) -> bool:
        """Whether a picture of these bytes is the one that it describes, and lies beside it."""
        return self.record.published_sha256 == sha256


@dataclass(frozen=True, slots=True)
class XmpFile:
    """Where the .xmp goes, and the checksum of the file that lies there now, or None."""

    name: str
    old: str | None = None


@dataclass(frozen=True, slots=True)
class Xmp:
    """One .xmp as it is to lie beside a picture."""

    role: Role
    file: XmpFile
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Around:
    notes: Notes = field(repr=False)
    xmp: XmpFile
    raw_xmp: XmpFile | None = None  # of the RAW of the same shot

    def files(self) -> Iterator[tuple[Role, XmpFile]]:
        yield "xmp", self.xmp
        if self.raw_xmp is not None:
            yield "raw_xmp", self.raw_xmp

    def written(self, described: Described) -> tuple[Xmp, ...]:
        """The files that say what `described` says."""
        contents = {"xmp": described.xmp, "raw_xmp": described.raw_xmp}
        told = ((role, file, contents[role]) for role, file in self.files())
        return tuple(Xmp(role, file, content) for role, file, content in told if content is not None)


@dataclass(frozen=True, slots=True)
class Tree:
    """An opened folder and what lies in it, as `delivery` asks for it."""

    root: int

    def folder(self, folder: str) -> AbstractContextManager[int]:
        return beneath(self.root, folder)


def old_record(target: Tree, path: str) -> Old | None:
    """The record of the picture `path`.  Raises: NotOurs, if another file has its name; OSError."""
    folder_name, name = split(path)
    record = name + sidecar.CAPTION_SUFFIX
    try:
        with target.folder(folder_name) as folder:
            there = os.stat(record, dir_fd=folder, follow_symlinks=False)
            data = read(folder, record)
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise
    except ValueError as error:
        raise NotOurs from error
    if not data:
        raise NotOurs
    try:
        told = sidecar.decode(data)
    except ValueError as error:
        raise NotOurs from error
    if told.texts is None:
        raise NotOurs
    return Old(hashlib.sha256(data).hexdigest(), told, Seen.of(there))


def around(
    library: Tree,
    target: Tree,
    takers: Takers,
    path: str,
    rules: Rules,
    old: Old | None,
    *,
    is_revised: bool = False,
) -> Around:
    """What lies around the picture.

    `is_revised`: our words are to be replaced where they stand; else an .xmp in a mirror is made anew.

    Raises: TryLater, if a file beside it is being written; OSError.
    """
    company = takers.look(library, path, rules)
    written = partial(_written, library, target, split(path)[0], old, is_revised=is_revised)
    folder_name, name = split(path)
    note, beside_raw = _raw_note(library, target, path, company, rules)
    raw_xmp = None
    if note is not None:
        content, raw_xmp = written("raw_xmp", beside_raw, note.xmp)
        note = replace(note, xmp=content)
    beside = company.first(XMP)
    tail, xmp = beside.tail if beside is not None else Tail(XMP, on_stem=rules.xmp_on_stem), company.notes.xmp
    if tail.on_stem and _shares_its_stem(library, folder_name, name):
        tail, xmp = Tail(XMP), None  # photo.xmp tells of photo.NEF, or of photo.png, as much as of this one
    xmp, file = written("xmp", tail.of(name), xmp)
    return Around(replace(company.notes, text=None, xmp=xmp, raw=note), file, raw_xmp)


def _written(
    library: Tree,
    target: Tree,
    folder_name: str,
    old: Old | None,
    role: Role,
    name: str,
    beside: bytes | None,
    *,
    is_revised: bool,
) -> tuple[bytes | None, XmpFile]:
    """What an .xmp is made from, and the file in its place; `beside`: what lies beside the picture."""
    if target.root == library.root:
        return beside, XmpFile(name, None if beside is None else hashlib.sha256(beside).hexdigest())
    written = _contents(target, folder_name, name)
    there = None if written is None else hashlib.sha256(written).hexdigest()
    is_ours = old is not None and there == old.sha256_of(role) and not is_revised
    if written is not None and not (is_ours and beside is not None):
        return written, XmpFile(name, there)
    return beside, XmpFile(name, there)  # made anew from the one beside the picture


def _raw_note(
    library: Tree, target: Tree, path: str, company: Company, rules: Rules
) -> tuple[RawNote | None, str]:
    """What the RAW of the same shot says, and the name of its .xmp; no note if its .xmp is not to change.

    A RAW that has a record of its own is a picture of its own; of several pictures the first has the RAW.
    """
    note, (folder_name, name) = company.notes.raw, split(path)
    if note is None:
        return None, ""
    stem = name.rpartition(".")[0]
    raw_name, others = f"{stem}{note.suffix}", _others_on_stem(library, folder_name, name)
    first = next((one for one in pictures_of(raw_name, text=False) if one == name or one in others), None)
    own = company.xmp_of_raw
    is_unread = own is not None and note.xmp is None
    has_record = _contents(target, folder_name, raw_name + sidecar.CAPTION_SUFFIX) is not None
    if first != name or is_unread or has_record:
        return None, ""
    is_shared = bool(set(others) - {raw_name})  # photo.xmp tells of photo.png, too
    if own is not None and not (own.kind == XMP and is_shared):
        return replace(note, shares=False), own.tail.of(name)
    tail = Tail(XMP if rules.xmp_on_stem and not is_shared else note.suffix + XMP, on_stem=True)
    return RawNote(note.suffix), tail.of(name)


def _others_on_stem(library: Tree, folder_name: str, name: str) -> list[str]:
    """The other pictures and RAW files with the stem of this picture."""
    stem = name.rpartition(".")[0]
    with library.folder(folder_name) as folder, os.scandir(folder) as entries:
        return [one.name for one in entries if one.name != name and _is_picture_of(one.name, stem)]


def _shares_its_stem(library: Tree, folder_name: str, name: str) -> bool:
    return bool(_others_on_stem(library, folder_name, name))


def _is_picture_of(name: str, stem: str) -> bool:
    own, _, ending = name.rpartition(".")
    return own == stem and (ending.lower() in ENDINGS or f".{ending.lower()}" in RAW)


def _contents(target: Tree, folder_name: str, name: str) -> bytes | None:
    try:
        with target.folder(folder_name) as folder:
            return of_regular(folder, name, _noted)
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise


def _noted(file: int) -> bytes | None:
    size = os.fstat(file).st_size
    return contents(file, size) if size <= MOST_NOTE_BYTES else None
