"""What lies around a picture of a library: the record of ours, the .xmp, and other words about it.

Reads beneath opened folders and changes nothing.  With a mirror the words come from beside the picture, and
what was written before lies in the mirror.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Literal

from captiond import sidecar
from captiond.delivery.companions import MOST_NOTE_BYTES, Takers
from captiond.delivery.files import NO_FILE, contents, of_regular, read
from captiond.formats import ENDINGS
from captiond.libraries.index import Seen
from captiond.records import Described, Notes, Rules
from captiond.sidecar import Record, checked
from captiond.sidecar.companions import RAW, XMP, Tail
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

    @property
    def xmp_sha256(self) -> str | None:
        """The checksum of the .xmp that was written with it."""
        return checked.text(checked.mapping(self.told.get("xmp")).get("sha256"))

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

    def files(self) -> tuple[tuple[Role, XmpFile], ...]:
        return (("xmp", self.xmp),)

    def written(self, described: Described) -> tuple[Xmp, ...]:
        """The files that say what `described` says."""
        return () if described.xmp is None else (Xmp("xmp", self.xmp, described.xmp),)


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
    beside = company.first(XMP)
    notes = replace(company.notes, text=None)
    folder_name, name = split(path)
    tail = beside.tail if beside is not None else Tail(XMP, on_stem=rules.xmp_on_stem)
    if tail.on_stem and _shares_its_stem(library, folder_name, name):
        # photo.xmp tells of photo.NEF, or of photo.png, as much as of this one.
        tail, beside, notes = Tail(XMP), None, replace(notes, xmp=None)
    if target.root == library.root:
        there = None if notes.xmp is None else hashlib.sha256(notes.xmp).hexdigest()
        return Around(notes, XmpFile(tail.of(name), there))
    written = _contents(target, folder_name, tail.of(name))
    there = None if written is None else hashlib.sha256(written).hexdigest()
    is_ours = old is not None and there == old.xmp_sha256 and not is_revised
    if written is not None and not (is_ours and notes.xmp is not None):
        notes = replace(notes, xmp=written)  # else the .xmp is made anew from the one beside the picture
    return Around(notes, XmpFile(tail.of(name), there))


def _shares_its_stem(library: Tree, folder_name: str, name: str) -> bool:
    stem = name.rpartition(".")[0]
    with library.folder(folder_name) as folder, os.scandir(folder) as entries:
        others = (entry.name for entry in entries if entry.name != name)
        return any(_is_picture_of(other, stem) for other in others)


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
