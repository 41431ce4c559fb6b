"""What each file of a delivered picture says after other texts: composed in memory, written by `edit`.

Four ways, by whether the texts wait for approval before and after:

    they do, and did        nothing changes but the record
    they do not, but did    the texts are written for the first time, by the rules of a delivery: into the
                            picture, into what came along, and into files that are made
    neither                 the new texts take the place of our former ones, wherever these stand
    they do, but did not    every file is as it was before the texts were approved, and what was made is gone

Reads regular files beside the picture and beneath done/, and changes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from captiond.delivery import companions
from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import MOST_NOTE_BYTES, Companion, Company
from captiond.delivery.files import NO_FILE, contents, exists, is_regular
from captiond.delivery.folders import Folder
from captiond.delivery.staging import laid_beside
from captiond.errors import TryLater
from captiond.formats import raw
from captiond.names import checked_name, shown
from captiond.records import Described, Notes, Rules, Texts
from captiond.sidecar import CAPTION_SUFFIX, Record
from captiond.sidecar.companions import (
    TEXT,
    XMP,
    Tail,
    credentials_of,
    notes_of,
    pictures_of,
    raw_endings,
    stem_of,
    tails,
)
from captiond.sidecar.former_files import KEY, Former, former_of, formers_of, keys_of
from captiond.support.openat import FILE, split

_OF_RAW = "raw.xmp"  # the .xmp of a RAW that came along


@dataclass(frozen=True, slots=True)
class File:
    """A file of done/ as it is before."""

    name: str
    data: bytes = field(repr=False)
    attributes: Attributes

    @classmethod
    def read(cls, folder: int, name: str, *, most_bytes: int | None = None) -> File:
        """Raises: FileNotFoundError, if no regular file has that name, or it has more than `most_bytes`."""
        file = os.open(name, FILE, dir_fd=folder)
        try:
            size = os.fstat(file).st_size
            if not is_regular(file) or (most_bytes is not None and size > most_bytes):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            return cls(name, contents(file, size), Attributes.of(file))
        finally:
            os.close(file)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one file."""

    name: str
    old: str | None  # the checksum; None: there is none
    new: bytes | None = field(repr=False)  # None: it is taken away
    give: Callable[[int], None]  # what else the new file gets

    @classmethod
    def of(cls, file: File, new: bytes | None, at: datetime | None = None) -> Change:
        """`at`: the new file's time; None: the old one's."""
        attributes = file.attributes if at is None else file.attributes.at(int(at.timestamp() * 1e9))
        return cls(file.name, file.sha256, new, attributes.give)


@dataclass(frozen=True, slots=True)
class Laid:
    """The files that change, the picture first, and the record that tells of them as they are then."""

    changes: tuple[Change, ...]
    record: Record


@dataclass(frozen=True, slots=True)
class Laying:
    """The new texts of a picture, and all that is known of it."""

    done: Folder
    folder: int  # in which the picture lies
    path: str
    image: File
    old: Record
    new: Record  # as it is before anything is written
    rules: Rules
    at: datetime

    def laid(self) -> Laid:
        """Raises: TryLater, if a file beside the picture is being written, or cannot be had as it was."""
        if self.new.awaits_approval and self.old.awaits_approval:
            return Laid((Change.of(self.image, self.image.data),), self.new)
        if self.new.awaits_approval:
            return self._taken_out()
        if self.old.awaits_approval:
            return self._for_the_first_time()
        return self._once_more()

    @property
    def _texts(self) -> Texts:
        assert self.new.texts is not None
        return self.new.texts

    def _as_dropped(self, tail: Tail) -> str:
        """The name with which a companion came."""
        return tail.of(split(self.new.path)[1])

    def _once_more(self) -> Laid:
        assert self.old.texts is not None
        image, beside = self.image, _beside(self.folder, self.image.name)
        described = self.rules.describe(
            image.data,
            self.new.source.format or "",
            self._texts,
            notes=self._notes_of(beside),
            own=ours(self.old, self.old.texts),
        )
        changes, merged = [Change.of(image, described.data)], {}
        for kind, content in ((XMP, described.xmp), (TEXT, described.text), (_OF_RAW, described.raw_xmp)):
            if content is not None and kind in beside and content != beside[kind][1].data:
                tail, file = beside[kind]
                changes.append(Change.of(file, content, self.at))
                merged[self._as_dropped(tail)] = content
        record = self.new.laid_anew(described, merged, self.old.texts)
        now = {one.name: one.new for one in changes}
        return Laid(
            tuple(changes), _knowing(record, (self._told_anew(one, now) for one in formers_of(record.rest)))
        )

    def _notes_of(self, beside: dict[str, tuple[Tail, File]]) -> Notes:
        xmp, text = (beside[kind][1].data if kind in beside else None for kind in (XMP, TEXT))
        is_signed = any(exists(self.folder, one) for one in credentials_of(self.image.name))
        of_raw = raw.RawNote("", beside[_OF_RAW][1].data) if _OF_RAW in beside else None
        return Notes(xmp, text, name=self.new.path, is_signed=is_signed, raw=of_raw)

    def _told_anew(self, known: Former, now: Mapping[str, bytes | None]) -> Former | None:
        """How to have the file as it was before approval from what it says `now`, by name."""
        file = self._file(known)
        if file is None:
            return None
        new = now.get(file.name) or file.data
        if known.made is not None:
            is_ours = known.made == file.sha256
            return former_of(known.suffix, known.on_stem, None, new) if is_ours else None
        former = known.restored(file.data)
        return former_of(known.suffix, known.on_stem, former, new) if former is not None else None

    def _for_the_first_time(self) -> Laid:
        image, name = self.image, self.image.name
        company = self._company()
        notes = replace(company.notes, name=self.new.path)
        format = self.new.source.format or ""
        described = self.rules.describe(image.data, format, self._texts, notes=notes)
        contents, made = laid_beside(described, company, self.rules)
        changes, merged = [Change.of(image, described.data)], {}
        formers = [former_of("", False, image.data, described.data)]
        for companion, content in zip(company.companions, contents, strict=True):
            if content is not None:
                tail, file = companion.tail, self._companion(companion, notes)
                changes.append(Change.of(file, content, self.at))
                merged[self._as_dropped(tail)] = content
                formers.append(former_of(tail.suffix, tail.on_stem, file.data, content))
        for tail, content in made.items():
            if exists(self.folder, tail.of(name)):
                described = _without(described, tail)
                continue
            changes.append(Change(tail.of(name), None, content, image.attributes.give_record))
            formers.append(former_of(tail.suffix, tail.on_stem, None, content))
        return Laid(tuple(changes), _knowing(self.new.laid_first(described, merged), formers))

    def _company(self) -> Company:
        """What lies beside the picture and is its own, and not another delivered picture's."""
        return companions.look(
            self.done,
            self.path,
            text=self.rules.takes_text,
            settle_seconds=0.0,
            now=time.time(),
            may_take=lambda beside: self._is_its_own(split(beside)[1]),
        )

    def _is_its_own(self, beside: str) -> bool:
        stem, dropped = stem_of(self.image.name), stem_of(self._as_dropped(Tail("")))
        came = dropped + beside[len(stem) :] if beside.startswith(stem) else beside
        if beside.startswith(f"{self.image.name}.") or came in {one.name for one in self.new.companions}:
            return True
        others = (name for name in pictures_of(beside, text=True) if name != self.image.name)
        return not any(exists(self.folder, name + CAPTION_SUFFIX) for name in others)

    def _companion(self, companion: Companion, notes: Notes) -> File:
        """Raises: TryLater, if it says something else than a moment ago."""
        name = split(companion.path)[1]
        of_raw = notes.raw.xmp if notes.raw is not None else None
        try:
            file = File.read(self.folder, name, most_bytes=MOST_NOTE_BYTES)
        except FileNotFoundError:
            file = None
        if file is None or file.data not in (notes.xmp, notes.text, of_raw):
            raise TryLater(f"{shown(name)} beside it is being changed")
        return file

    def _taken_out(self) -> Laid:
        image, changes = None, list[Change]()
        unmerged: dict[str, bytes] = {}
        for former in formers_of(self.new.rest):
            file = self._file(former)
            content = former.restored(file.data) if file is not None and former.made is None else None
            if file is None:
                continue
            if not former.suffix and content is not None:
                image = content
                changes.insert(0, Change.of(file, content))
            elif content is not None:
                changes.append(Change.of(file, content, self.at))
                unmerged[self._as_dropped(Tail(former.suffix, former.on_stem))] = content
            elif former.made == file.sha256:
                changes.append(Change.of(file, None))
        if image is None:
            raise TryLater(
                f"{shown(self.path)} cannot be had as it was before its texts were approved",
                advice="Its texts can be edited.",
            )
        return Laid(tuple(changes), _knowing(self.new.taken_out(image, unmerged), ()))

    def _file(self, former: Former) -> File | None:
        """The picture, or what lies beside it, as it is now."""
        if not former.suffix:
            return self.image
        try:
            name = checked_name(Tail(former.suffix, former.on_stem).of(self.image.name))
            return File.read(self.folder, name, most_bytes=MOST_NOTE_BYTES)
        except (OSError, ValueError):
            return None


def _knowing(record: Record, formers: Iterable[Former | None]) -> Record:
    """The record that tells how to have the files as they were before approval, and no other way."""
    told = keys_of(formers)
    others = {key: value for key, value in record.rest.items() if key != KEY}
    return replace(record, rest={**others, KEY: told} if told else others)


def _without(described: Described, tail: Tail) -> Described:
    """What was done without the file of that name, which another program has made."""
    start = {TEXT: "text-sidecar", XMP: "xmp-sidecar:"}.get(tail.suffix, "raw-sidecar:")
    refused = partial(replace, action="refused", reason="another file has the name")
    return replace(
        described,
        written=tuple(
            refused(one) if one.action == "wrote" and one.target.startswith(start) else one
            for one in described.written
        ),
    )


def ours(record: Record, texts: Texts) -> Texts:
    """The texts without the keywords that the picture had before us: those stay a person's."""
    theirs = set(record.shared_keywords)
    return replace(
        texts,
        keywords=tuple(word for word in texts.keywords if word not in theirs),
        keyword_paths=tuple(
            path for path in texts.keyword_paths if path.rpartition("|")[2].strip() not in theirs
        ),
    )


def _beside(folder: int, name: str) -> dict[str, tuple[Tail, File]]:
    """The .xmp and the .txt beside an image, if they are there; of several the more common name.

    And the .xmp of a RAW that came along.
    """
    found: dict[str, tuple[Tail, File]] = {}
    kinds = ((tail, tail.suffix.lower()) for tail in tails(text=True))
    of_raw = ((notes, _OF_RAW) for notes in map(notes_of, raw_endings()) if notes is not None)
    for tail, kind in kinds if raw.has_ending(name) else (*kinds, *of_raw):
        if kind in (XMP, TEXT, _OF_RAW) and kind not in found:
            try:
                found[kind] = tail, File.read(folder, tail.of(name), most_bytes=MOST_NOTE_BYTES)
            except OSError as error:
                if error.errno not in NO_FILE | {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}:
                    raise
    return found
