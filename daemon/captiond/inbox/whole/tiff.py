"""TIFF and BigTIFF: every directory in the chain, and what it points to, must lie within the file.

So must those within directories (a RAW has its sensor's pixels there), but what seems one need not be one.
"""

from __future__ import annotations

import struct
from itertools import repeat
from operator import add, gt

from captiond.inbox.whole.reading import Cut, File, Lack

# Only the widths matter: a fraction is read as one number of the same length.
_TYPES = dict(enumerate("BBHIQBBHIQIQI", start=1)) | {16: "Q", 17: "Q", 18: "Q"}
# Strips, tiles, old-style JPEG data: the tag of the offsets and the tag of the lengths.
_DATA = ((273, 279), (324, 325), (513, 514))
_SUB_IFDS = 330
_MOST_SUB_IFDS = 16  # of one directory
_WANTED = frozenset((*(tag for pair in _DATA for tag in pair), _SUB_IFDS))
_LONGEST_ARRAY = 1_000_000  # what claims more is not read; it may be a damaged count
_STEPS_PER_ENTRY = 10
_DIRECTORIES = 1000


def check(file: File) -> Lack | None:
    order = "<" if file.read(0, 2) == b"II" else ">"
    is_big = file.unpack(order + "H", 2) == (43,)
    (offset,) = file.unpack(order + "Q", 8) if is_big else file.unpack(order + "I", 4)
    if offset == 0:
        return Lack("TIFF data whose directory is not written yet")
    visited: set[int] = set()
    overhangs, inner = False, list[int]()
    while offset and offset not in visited and len(visited) < _DIRECTORIES:
        visited.add(offset)
        directory = _Directory(file, offset, order, is_big=is_big)
        overhangs |= directory.overhangs()
        inner += directory.inner
        offset = directory.following
    overhangs |= any(_overhangs(file, at, order, is_big=is_big) for at in inner[:_DIRECTORIES])
    # Some programs give the last strip the length of a full one, or leave a tag without its value; decoders
    # do not mind.
    return Lack("TIFF data is cut short", certain=False) if overhangs else None


def _overhangs(file: File, offset: int, order: str, *, is_big: bool) -> bool:
    """Of a directory within another."""
    try:
        return _Directory(file, offset, order, is_big=is_big).overhangs()
    except Cut:
        return True


class _Directory:
    def __init__(self, file: File, offset: int, order: str, *, is_big: bool) -> None:
        self._file = file
        self._order = order
        self._word = order + ("Q" if is_big else "I")
        self._inline = struct.calcsize(self._word)
        counter, self._entry_size = (order + "Q", 20) if is_big else (order + "H", 12)
        (count,) = file.unpack(counter, offset)
        self._table_at = offset + struct.calcsize(counter)
        self._end = self._table_at + count * self._entry_size
        self.inner: tuple[int, ...] = ()
        (self.following,) = file.unpack(self._word, self._end)
        file.step(count * _STEPS_PER_ENTRY)
        self._table = file.exactly(self._table_at, count * self._entry_size)

    def overhangs(self) -> bool:
        """Whether something reaches beyond the end of the file; Cut where something begins behind it."""
        arrays: dict[int, tuple[int, ...]] = {}
        overhangs = False
        for at in range(0, len(self._table), self._entry_size):
            tag, kind = struct.unpack_from(self._order + "HH", self._table, at)
            (count,) = struct.unpack_from(self._word, self._table, at + 4)
            width = struct.calcsize(_TYPES.get(kind, ""))
            value_at = self._table_at + at + 4 + self._inline
            if count * width > self._inline:
                (value_at,) = struct.unpack_from(self._word, self._table, at + 4 + self._inline)
                overhangs |= value_at + count * width > self._file.size
            if tag in _WANTED and width > 1 and count <= _LONGEST_ARRAY:
                self._file.step(count)
                arrays[tag] = self._file.unpack(f"{self._order}{count}{_TYPES[kind]}", value_at)
        self.inner = arrays.pop(_SUB_IFDS, ())[:_MOST_SUB_IFDS]
        return overhangs or any(
            self._data_overhangs(arrays.get(offsets, ()), arrays.get(lengths, ()))
            for offsets, lengths in _DATA
        )

    def _data_overhangs(self, offsets: tuple[int, ...], lengths: tuple[int, ...]) -> bool:
        size = self._file.size
        if max(offsets, default=0) >= size:
            raise Cut
        return any(map(gt, map(add, offsets, lengths), repeat(size)))
