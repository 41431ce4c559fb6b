"""What MakerNotes point to, as far as it can be known.

EXIF 2.32, 4.6.5 D, leaves their layout to the makers.  Most are an IFD behind a few bytes of header, whose
offsets count from the start of the block or of the note; some point to a preview behind the EXIF.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from struct import Struct, unpack_from

from .tiff import SIZES, Block

MAKER_NOTE = 37500

_LONGEST_HEADER = 32
_FEWEST_ENTRIES, _MOST_ENTRIES = 3, 512  # fewer may be an accident
_LAYOUTS = ((Struct("<H"), Struct("<HHII")), (Struct(">H"), Struct(">HHII")))

_TIFF_HEADER = re.compile(rb"II\*\0|MM\0\*")
_MOST_TIFF_HEADERS = 8  # in one MakerNote
_OPENING_MARKERS = frozenset(bytes((marker,)) for marker in (*range(0xC0, 0xD0), *range(0xDB, 0xFF)))


def leads_into(block: Block, end: int) -> bool:
    """Would a MakerNote's pointers lead to bytes between the end of the block and `end`?"""
    size = len(block.data)
    for start, note in _notes(block):
        values = _values(note)
        furthest = max((last for _, last in values), default=0)
        if furthest <= size:
            continue
        if any(base + at < end and base + last > size for base in (0, start) for at, last in values):
            return True
    return False


def has_preview(block: Block, data: bytes, start: int, end: int) -> bool:
    """Does any word of a MakerNote, counted from anywhere known, lead to a JPEG behind the block?

    The block stands in `data` from `start` to `end`.  A pointer to a preview is a word of four bytes in
    one of two orders, and where it leads a JPEG begins.
    """
    for note_start, note in _notes(block):
        headers = islice(_TIFF_HEADER.finditer(note), _MOST_TIFF_HEADERS)
        bases = {0, start, start + note_start, *(start + note_start + header.start() for header in headers)}
        lowest, highest = end - max(bases), len(data)
        words = [word for word in _words(note) if lowest <= word < highest]
        targets = {base + word for base in bases for word in words}
        if any(target >= end and _begins_jpeg(data, target) for target in targets):
            return True
    return False


def _notes(block: Block) -> Iterator[tuple[int, bytes]]:
    """Where each MakerNote stands in the block, and its bytes."""
    for entry in block.find(MAKER_NOTE):
        note = block.value(entry)
        if len(note) > block.fields.room():
            yield block.span(entry)[0], note


def _values(note: bytes) -> list[tuple[int, int]]:
    """Begin and end of each value of the IFD that the note seems to be, without any base added."""
    for number, entry in _LAYOUTS:
        for at in range(0, min(_LONGEST_HEADER, len(note) - number.size), 2):
            (count,) = number.unpack_from(note, at)
            start, end = at + number.size, at + number.size + count * entry.size
            if not _FEWEST_ENTRIES <= count <= _MOST_ENTRIES or end > len(note):
                continue
            entries = tuple(entry.iter_unpack(note[start:end]))
            if all(kind in SIZES for _, kind, _, _ in entries):
                sizes = ((offset, SIZES[kind] * units) for _, kind, units, offset in entries)
                return [(offset, offset + size) for offset, size in sizes if size > 4]
    return []


def _words(note: bytes) -> Iterator[int]:
    """All words of four bytes at all places, in both byte orders."""
    for order in "<>":
        for at in range(4):
            yield from unpack_from(f"{order}{(len(note) - at) // 4}I", note, at)


def _begins_jpeg(data: bytes, at: int) -> bool:
    """SOI and another marker; some Minoltas spoil the first byte, so any will do."""
    return data[at + 1 : at + 3] == b"\xd8\xff" and data[at + 3 : at + 4] in _OPENING_MARKERS
