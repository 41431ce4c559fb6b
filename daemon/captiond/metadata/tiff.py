"""The TIFF block that EXIF lives in, read whole: everything that its pointers lead to must be known.

A block in which any pointer leads outside is refused, since bytes appended to it could land where that
pointer leads.  A TIFF or BigTIFF file is one such block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import starmap
from operator import add
from struct import Struct, unpack_from
from typing import NamedTuple

from .refusal import Refused

IMAGE_DESCRIPTION = 270  # EXIF 2.32, 4.6.4 D
XMP = 700  # XMP Specification, part 3, 1.1.2
_TEXT_TYPES = frozenset({1, 2, 7, 129})  # BYTE, ASCII, UNDEFINED and EXIF 3.0's UTF-8

# TIFF 6.0, section 2, "Types"; 13 is IFD (TIFF Technical Note 1), 129 UTF-8 (EXIF 3.0, 4.6.2),
# 16 to 18 are LONG8, SLONG8 and IFD8 (BigTIFF).
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_BIG_SIZES = SIZES | {16: 8, 17: 8, 18: 8}
_INTEGERS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

_SUB_IFDS = 330  # TIFF Technical Note 1; the only pointed-to IFDs that may be chained
_SINGLE_IFDS = frozenset({34665, 34853, 40965, 400})  # Exif, GPS, Interoperability, TIFF-FX's parameters
_STRIPS_AND_TILES = ((273, 279), (324, 325))  # TIFF 6.0, sections 8 and 15: offsets, byte counts
_THUMBNAIL = (513, 514)  # JPEGInterchangeFormat and its length: EXIF 2.32, 4.6.4 B
_MOST_IFDS = 32_768  # stacks of microscopes have thousands
_OLD_JPEG_TABLES = frozenset({519, 520, 521})  # TIFF 6.0, section 22: offsets without lengths
_IMAGE_DATA = frozenset({273, 279, 324, 325, 513, 514, 519, 520, 521})


@dataclass(frozen=True, slots=True)
class Fields:
    """How wide the fields are: TIFF 6.0, section 2, or BigTIFF, where offsets have 8 bytes."""

    order: str
    number: Struct  # of entries in an IFD
    entry: Struct  # tag, type, count, value or offset
    offset: Struct
    pointer_at: int  # where the header points to IFD0
    sizes: dict[int, int]

    @classmethod
    def classic(cls, order: str) -> Fields:
        return cls(order, Struct(order + "H"), Struct(order + "HHI4s"), Struct(order + "I"), 4, SIZES)

    @classmethod
    def big(cls, order: str) -> Fields:
        return cls(order, Struct(order + "Q"), Struct(order + "HHQ8s"), Struct(order + "Q"), 8, _BIG_SIZES)

    def room(self) -> int:
        """How many bytes of a value fit into the entry itself."""
        return self.offset.size


BIG_ENDIAN = Fields.classic(">")
_HEADERS = {
    b"II*\0": Fields.classic("<"),
    b"MM\0*": BIG_ENDIAN,
    b"II+\0\x08\0\0\0": Fields.big("<"),
    b"MM\0+\0\x08\0\0": Fields.big(">"),
}


class Entry(NamedTuple):
    """One field of an IFD, its value (or the offset of it) still as bytes."""

    tag: int
    type: int
    units: int  # how many values of the type
    field: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """One IFD: where it stands, what it holds, where the next one is (0: nowhere)."""

    at: int
    entries: tuple[Entry, ...]
    next: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block in which every IFD was reached once and every value, thumbnail and strip lies inside."""

    data: bytes
    fields: Fields
    directories: tuple[Directory, ...]  # IFD0 first
    tag: int  # the tag of IFD0 to be written
    patched: tuple[int, int]  # begin and end of the existing bytes that a new value of it changes

    @property
    def first(self) -> Directory:
        return self.directories[0]

    def find(self, tag: int) -> Iterator[Entry]:
        return (entry for directory in self.directories for entry in directory.entries if entry.tag == tag)

    def span(self, entry: Entry) -> tuple[int, int]:
        """Begin and end of the value of an entry, if it is too long for the entry itself."""
        (start,) = self.fields.offset.unpack(entry.field)
        return start, start + self.fields.sizes[entry.type] * entry.units

    def value(self, entry: Entry) -> bytes:
        size = self.fields.sizes[entry.type] * entry.units
        if size <= self.fields.room():
            return entry.field[:size]
        start, end = self.span(entry)
        return self.data[start:end]

    def integers(self, entry: Entry) -> tuple[int, ...]:
        return _integers(self.data, self.fields, entry)

    def description(self) -> bytes | None:
        """The value of the tag in IFD0, as it stands there; None if there is no such tag."""
        entry = next((entry for entry in self.first.entries if entry.tag == self.tag), None)
        return None if entry is None else self.value(entry)


def parse(data: bytes, tag: int = IMAGE_DESCRIPTION) -> Block:
    """Read a whole block, or refuse it: everything that its pointers lead to must be known.

    `tag`: the tag of IFD0 to be written; nothing else may use the bytes that this changes.
    """
    fields = _HEADERS.get(data[:4]) or _HEADERS.get(data[:8])
    if fields is None or len(data) < fields.pointer_at + fields.offset.size:
        raise Refused("its EXIF has no TIFF header")
    return _Walk(data, fields, tag).walk()


class _Walk:
    """One walk along all pointers of a block, iterative and linear in the size of the block."""

    def __init__(self, data: bytes, fields: Fields, tag: int) -> None:
        self.data = data
        self.fields = fields
        self.tag = tag
        self.name = {XMP: "XMP packet", IMAGE_DESCRIPTION: "description"}.get(tag, f"text {tag:#x}")
        self.patched = (0, 0)
        self.left = 2 * len(data) + 65_536  # bytes still to be read: overlapping arrays must not cost squares

    def walk(self) -> Block:
        fields = self.fields
        (at,) = fields.offset.unpack_from(self.data, fields.pointer_at)
        if at < fields.pointer_at + fields.offset.size:
            raise Refused("its EXIF has no IFD0")
        first = self.directory(at)
        self.patched = self.place_of_description(first)
        seen = {at}
        directories = []
        pending = [(first, True)]
        while pending:
            directory, is_chained = pending.pop()
            directories.append(directory)
            for pointer, chained in self.pointers(directory, is_chained):
                if pointer in seen:
                    raise Refused("its IFDs form a loop")
                if len(seen) == _MOST_IFDS:
                    raise Refused("it has too many IFDs")
                seen.add(pointer)
                pending.append((self.directory(pointer), chained))
        return Block(self.data, fields, tuple(directories), self.tag, self.patched)

    def directory(self, at: int) -> Directory:
        number, entry, offset = self.fields.number, self.fields.entry, self.fields.offset
        if at + number.size > len(self.data):
            raise Refused("its EXIF points to an IFD outside")
        (count,) = number.unpack_from(self.data, at)
        start, end = at + number.size, at + number.size + count * entry.size
        if end + offset.size > len(self.data):
            raise Refused("its EXIF has a truncated IFD")
        self.claim(at, end + offset.size - at)
        self.spend(end - start)
        entries = tuple(starmap(Entry, entry.iter_unpack(self.data[start:end])))
        return Directory(at, entries, offset.unpack_from(self.data, end)[0])

    def place_of_description(self, first: Directory) -> tuple[int, int]:
        """The entry of the description, or, if there is none, the header's pointer to IFD0."""
        fields = self.fields
        places = [place for place, entry in enumerate(first.entries) if entry.tag == self.tag]
        if len(places) > 1:
            raise Refused(f"its EXIF has two {self.name}s")
        if not places:
            return fields.pointer_at, fields.pointer_at + fields.offset.size
        if first.entries[places[0]].type not in _TEXT_TYPES:
            raise Refused(f"the {self.name} in its EXIF is not text")
        start = first.at + fields.number.size + places[0] * fields.entry.size
        return start, start + fields.entry.size

    def pointers(self, directory: Directory, is_chained: bool) -> Iterator[tuple[int, bool]]:
        """Check all values of an IFD, and tell which IFDs it leads to and whether those may be chained."""
        sizes, room = self.fields.sizes, self.fields.room()
        unpack = self.fields.offset.unpack
        for entry in directory.entries:
            unit = sizes.get(entry.type)
            if unit is None:
                raise Refused(f"its EXIF has a value of the unknown type {entry.type}")
            if unit * entry.units > room:
                self.claim(unpack(entry.field)[0], unit * entry.units)
            if entry.tag in _SINGLE_IFDS or entry.tag == _SUB_IFDS or entry.type in (13, 18):
                for pointer in self.integers(entry):
                    yield pointer, entry.tag == _SUB_IFDS
        self.claim_data(directory)
        # EXIF 2.32, 4.6.2: the Exif, GPS and Interoperability IFDs have no next one, and no reader follows
        # what stands there.
        if is_chained and directory.next:
            yield directory.next, True

    def claim_data(self, directory: Directory) -> None:
        """Check that strips, tiles, thumbnails and old JPEG tables lie inside."""
        image_data = [entry for entry in directory.entries if entry.tag in _IMAGE_DATA]
        by_tag = {entry.tag: entry for entry in image_data}
        if len(by_tag) < len(image_data):
            raise Refused("it says twice where its image data is")
        for tags in (*_STRIPS_AND_TILES, _THUMBNAIL):
            if tags[0] not in by_tag:
                continue
            if tags[1] not in by_tag:
                raise Refused("it has image data of unknown length")
            offsets, sizes = self.integers(by_tag[tags[0]]), self.integers(by_tag[tags[1]])
            self.claim_all(offsets, sizes)
            # libtiff guesses a strip's missing size from the size of the file.
            if tags != _THUMBNAIL and any(
                offset and not size for offset, size in zip(offsets, sizes, strict=True)
            ):
                raise Refused("it has image data of unknown length")
        for tag in _OLD_JPEG_TABLES & by_tag.keys():
            offsets = self.integers(by_tag[tag])
            self.claim_all(offsets, (1,) * len(offsets))

    def integers(self, entry: Entry) -> tuple[int, ...]:
        """The numbers of an entry whose value has been claimed."""
        self.spend(self.fields.sizes[entry.type] * entry.units)
        return _integers(self.data, self.fields, entry)

    def claim(self, start: int, size: int) -> None:
        """Check that a part of the block lies inside it, and clear of the bytes to be patched."""
        if start + size > len(self.data):
            raise Refused("its EXIF points outside itself")
        if start < self.patched[1] and start + size > self.patched[0]:
            raise Refused("its EXIF keeps two things in the same place")

    def claim_all(self, starts: tuple[int, ...], sizes: tuple[int, ...]) -> None:
        if len(starts) != len(sizes):
            raise Refused("it has image data of unknown length")
        if max(map(add, starts, sizes), default=0) > len(self.data):
            raise Refused("its image data lies outside the file")
        low, high = self.patched
        if any(start < high and start + size > low for start, size in zip(starts, sizes, strict=True)):
            raise Refused("its EXIF keeps two things in the same place")

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise Refused("its IFDs overlap")


def _integers(data: bytes, fields: Fields, entry: Entry) -> tuple[int, ...]:
    code = _INTEGERS.get(entry.type)
    if code is None:
        raise Refused(f"it has a number of the type {entry.type}")
    layout = f"{fields.order}{entry.units}{code}"
    if fields.sizes[entry.type] * entry.units <= fields.room():
        return unpack_from(layout, entry.field)
    return unpack_from(layout, data, fields.offset.unpack(entry.field)[0])


def glimpse(data: bytes, tags: Collection[int], *, at: int | None = None) -> Iterator[tuple[int, bytes]]:
    """What these tags of IFD0 hold in a block that may be damaged in any way: as much of it as is there.

    `at`: the place of another IFD to read instead.
    """
    fields = _HEADERS.get(data[:4]) or _HEADERS.get(data[:8])
    if fields is None or len(data) < fields.pointer_at + fields.offset.size:
        return
    if at is None:
        (at,) = fields.offset.unpack_from(data, fields.pointer_at)
    if at + fields.number.size > len(data):
        return
    (count,) = fields.number.unpack_from(data, at)
    start = at + fields.number.size
    for entry_at in range(start, min(start + count * fields.entry.size, len(data)), fields.entry.size):
        if entry_at + fields.entry.size > len(data):
            return
        entry = Entry(*fields.entry.unpack_from(data, entry_at))
        size = fields.sizes.get(entry.type, 1) * entry.units
        if entry.tag in tags:
            (value_at,) = fields.offset.unpack(entry.field)
            is_here = size <= fields.room()
            yield entry.tag, entry.field[:size] if is_here else data[value_at : value_at + size]
