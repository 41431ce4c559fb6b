"""The boxes of HEIC and AVIF, and what the one called `meta` says about items: ISO/IEC 14496-12, 8.11."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .refusal import Refused, is_same

Range = tuple[int, int]  # from, to
Reference = tuple[bytes, int, tuple[int, ...]]  # its type, from which item, to which

_MOST_ENTRIES = 100_000
_MOST_TIMES_READ = 4  # items may share data, but not so often that comparing them takes for ever


def boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the contents of each box (4.2); they must fill the place exactly."""
    while at < end:
        if at + 8 > end:
            raise Refused("there are bytes behind its last box")
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        elif size == 0:
            size = end - at
        if not start - at <= size <= end - at:
            raise Refused(f"its box {kind.decode('latin-1')!r} is cut off")
        yield kind, start, at + size
        at += size


class Cursor:
    """Reads numbers from a range, one behind the other."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self.at, self._end = data, start, end

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def version(self) -> int:
        """The version of a full box (4.2); of the boxes read here, flags have a meaning in `infe` only."""
        version = self.number(1)
        if self.take(3) != bytes(3):
            raise Refused("one of its boxes has unknown flags")
        return version

    def take(self, width: int) -> bytes:
        if self.at + width > self._end:
            raise Refused("one of its boxes is too short")
        self.at += width
        return self._data[self.at - width : self.at]


@dataclass(frozen=True, slots=True)
class Item:
    """An image, a tile, a thumbnail, EXIF or XMP: its entry in the list, and where its data lies."""

    id: int
    kind: bytes
    entry: bytes
    method: int = 0
    extents: tuple[Range, ...] = ()

    @property
    def size(self) -> int:
        return sum(end - start for start, end in self.extents)

    def bytes_in(self, data: bytes) -> bytes:
        return b"".join(data[start:end] for start, end in self.extents)

    def is_same(self, data: bytes, other: Item, other_data: bytes) -> bool:
        facts = (self.entry, self.method, [end - start for start, end in self.extents])
        if facts != (other.entry, other.method, [end - start for start, end in other.extents]):
            return False
        pairs = zip(self.extents, other.extents, strict=True)
        return all(is_same(data, start, end, other_data, there) for (start, end), (there, _) in pairs)


@dataclass(frozen=True, slots=True)
class Meta:
    """The items in their order, the references between them, and all other boxes byte by byte."""

    primary: int
    items: Mapping[int, Item]
    references: tuple[Reference, ...]
    others: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Meta:
        if Cursor(data, start, end).version():
            raise Refused("its meta box is of an unknown kind")
        found: dict[bytes, Range] = {}
        others = []
        for kind, begin, stop in boxes(data, start + 4, end):
            if kind in found:
                raise Refused(f"it has two boxes {kind.decode('latin-1')!r}")
            found[kind] = begin, stop
            if kind not in (b"iloc", b"iinf", b"iref"):
                others.append((kind, data[begin:stop]))
        if not {b"iloc", b"iinf", b"pitm"} <= found.keys():
            raise Refused("it has no list of items")
        primary = _versioned(Cursor(data, *found[b"pitm"]))
        items = {item.id: item for item in _entries(data, *found[b"iinf"])}
        located = {id: (method, extents) for id, method, extents in _locations(data, found)}
        if not located.keys() <= items.keys():
            raise Refused("it has data of no item")
        if sum(end - start for _, extents in located.values() for start, end in extents) > (
            _MOST_TIMES_READ * len(data)
        ):
            raise Refused("its items share too much data")
        placed = {
            item.id: Item(item.id, item.kind, item.entry, *located.get(item.id, (0, ())))
            for item in items.values()
        }
        references = tuple(_references(data, *found[b"iref"])) if b"iref" in found else ()
        return cls(primary, placed, references, tuple(others))


def _versioned(cursor: Cursor) -> int:
    """8.11.4, the primary item."""
    return cursor.number(4 if cursor.version() else 2)


def _entries(data: bytes, start: int, end: int) -> Iterator[Item]:
    """8.11.6, the item information box."""
    cursor, seen = Cursor(data, start, end), set[int]()
    count = cursor.number(4 if cursor.version() else 2)
    for kind, begin, stop in boxes(data, cursor.at, end):
        entry = Cursor(data, begin, stop)
        version = entry.number(1)
        entry.take(3)
        if kind != b"infe" or version not in (2, 3):
            raise Refused("its list of items is of an unknown kind")
        id = entry.number(4 if version == 3 else 2)
        entry.take(2)
        if id in seen or len(seen) > _MOST_ENTRIES:
            raise Refused("its list of items names one twice, or too many")
        seen.add(id)
        yield Item(id, entry.take(4), data[begin:stop])
    if len(seen) != count:
        raise Refused("its list of items is of another length than it says")


def _locations(data: bytes, found: Mapping[bytes, Range]) -> Iterator[tuple[int, int, tuple[Range, ...]]]:
    """8.11.3, the item location box: item, construction method, places in the file."""
    cursor = Cursor(data, *found[b"iloc"])
    version = cursor.version()
    if version > 2:
        raise Refused("its places of items are of an unknown kind")
    sizes = cursor.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    seen, places = set[int](), 0
    for _ in range(cursor.number(4 if version == 2 else 2)):
        id = cursor.number(4 if version == 2 else 2)
        method = cursor.number(2) if version else 0
        elsewhere = cursor.number(2)
        if id in seen or method > 1 or elsewhere:
            raise Refused("an item's data lies in another file, in another item or at two places")
        seen.add(id)
        within = (0, len(data)) if method == 0 else found.get(b"idat", (0, 0))
        base = cursor.number(base_size) + within[0]
        extents = []
        for _ in range(cursor.number(2)):
            cursor.take(index_size)
            begin = base + cursor.number(offset_size)
            length = cursor.number(length_size)
            places += 1
            if not length or begin + length > within[1] or places > _MOST_ENTRIES:
                raise Refused("an item's data lies outside the file")
            extents.append((begin, begin + length))
        yield id, method, tuple(extents)


def _references(data: bytes, start: int, end: int) -> Iterator[Reference]:
    """8.11.12, the item reference box."""
    width = 4 if Cursor(data, start, end).version() else 2
    for kind, begin, stop in boxes(data, start + 4, end):
        cursor = Cursor(data, begin, stop)
        origin = cursor.number(width)
        yield kind, origin, tuple(cursor.number(width) for _ in range(cursor.number(2)))
