"""Whether a file is a camera's RAW, by its content: pure, given a way to read it.

By their first bytes most RAW files are TIFFs, with a thumbnail where a TIFF has its picture.  So the
directories are looked into: for DNG's version, or for pixels that only a camera writes.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

Read = Callable[[int, int], bytes]  # offset, how many: up to so many bytes from there

ENDINGS = (
    "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "gpr", "iiq", "k25", "kdc", "mef", "mos",
    "mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f",
)  # fmt: skip

# The offset of the bytes, the bytes, and the name of such a RAW.
_MARKS = (
    (0, b"FUJIFILMCCD-RAW", "RAF"),
    (0, b"IIU\0", "RW2"),
    (0, b"IIRO", "ORF"),
    (0, b"IIRS", "ORF"),
    (0, b"MMOR", "ORF"),
    (0, b"FOVb", "X3F"),
    (0, b"\0MRM", "MRW"),
    (4, b"ftypcrx ", "CR3"),
    (6, b"HEAPCCDR", "CRW"),
)
_MARKS_IN_TIFF = ((8, b"CR\x02", "CR2"), (8, b"IIII", "IIQ"), (8, b"MMMM", "IIQ"))

_COMPRESSION, _PHOTOMETRIC, _MAKE, _SUB_IFDS, _LEAF, _DNG_VERSION = 259, 262, 271, 330, 34310, 50706
_SENSOR = {32803, 34892}  # colours of a sensor: a filter's, and linear
# How Sony, Epson, Samsung, Nikon, Kodak and Pentax pack what a sensor saw.
_CAMERAS_CODECS = {32767, 32769, 32770, 32772, 34713, 65000, 65535}
_WANTED = {_COMPRESSION, _PHOTOMETRIC, _MAKE, _SUB_IFDS, _LEAF, _DNG_VERSION}
_LAYOUTS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_LONGEST_FILE = 1 << 62
_MOST_ENTRIES, _MOST_VALUES, _MOST_DIRECTORIES = 1024, 16, 24
_BY_MAKER = (
    (b"NIKON", "NEF"), (b"SONY", "ARW"), (b"PENTAX", "PEF"), (b"SAMSUNG", "SRW"), (b"Hasselblad", "3FR"),
    (b"EPSON", "ERF"), (b"EASTMAN KODAK", "DCR"), (b"Kodak", "DCR"), (b"Mamiya", "MEF"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RawNote:
    """A camera's RAW of the same shot that travels along: the texts go into its own .xmp, too."""

    suffix: str  # of its name, on the picture's stem: .NEF
    xmp: bytes | None = None  # the content of its .xmp; None: there is none
    shares: bool = False  # its .xmp is also the picture's


def kind_of(read: Read) -> str | None:
    """`DNG`, `NEF` or the like; `RAW` if the camera's own name for it is not known; None if it is no RAW."""
    head = read(0, 32)
    marked = next((name for at, mark, name in _MARKS if head.startswith(mark, at)), None)
    order = "<" if head[:2] == b"II" else ">"
    if head[:4] in (b"II+\0", b"MM\0+"):  # DNG 1.6 may be a BigTIFF
        return _in_tiff(read, _Form(order, "Q", "Q", 20))
    if marked or head[:4] not in (b"II*\0", b"MM\0*"):
        return marked
    marked = next((name for at, mark, name in _MARKS_IN_TIFF if head.startswith(mark, at)), None)
    return marked or _in_tiff(read, _Form(order))


def kind_in(data: bytes | mmap.mmap) -> str | None:
    """See `kind_of`; for a file whose bytes are in memory."""
    return kind_of(lambda at, count: data[at : at + count])


def has_ending(name: str) -> bool:
    """Whether a camera's RAW file may have this name."""
    return name.rpartition(".")[2].lower() in ENDINGS


class _Form(NamedTuple):
    """How numbers stand in the directories of a TIFF or a BigTIFF, as `struct` names them."""

    order: str
    counter: str = "H"
    word: str = "I"
    entry: int = 12  # bytes


def _in_tiff(read: Read, form: _Form) -> str | None:
    maker, is_from_sensor = b"", False
    for tags, make in _directories(read, form):
        if _DNG_VERSION in tags:
            return "DNG"
        if _LEAF in tags:
            return "MOS"
        maker = maker or make
        is_from_sensor |= bool(
            _SENSOR.intersection(tags.get(_PHOTOMETRIC, ()))
            or _CAMERAS_CODECS.intersection(tags.get(_COMPRESSION, ()))
        )
    if not is_from_sensor or not maker:  # scientists' TIFFs may hold such pixels, and name no camera
        return None
    return next((name for begin, name in _BY_MAKER if maker.lower().startswith(begin.lower())), "RAW")


def _directories(read: Read, form: _Form) -> Iterator[tuple[dict[int, tuple[int, ...]], bytes]]:
    """The wanted tags of each directory, and the maker that it names; nested ones, too."""
    word, begin = struct.calcsize("=" + form.word), struct.calcsize("=" + form.counter)
    pending, seen = list(_numbers(read(word, word), form.order, form.word)), set[int]()
    while pending and len(seen) < _MOST_DIRECTORIES:
        at = pending.pop(0)
        if not 8 <= at < _LONGEST_FILE or at in seen:
            continue
        seen.add(at)
        (count,) = _numbers(read(at, begin), form.order, form.counter) or (0,)
        table = read(at + begin, form.entry * min(count, _MOST_ENTRIES) + word)
        tags, make = {}, b""
        for start in range(0, len(table) - form.entry - word + 1, form.entry):
            tag, kind, length = struct.unpack_from(f"{form.order}HH{form.word}", table, start)
            field = table[start + 4 + word : start + form.entry]
            if tag == _MAKE and kind == 2:
                make = _value(read, form, field, min(length, 64)).rstrip(b"\0 ")
            elif tag in _WANTED:
                layout = _LAYOUTS.get(kind, "B")
                width = struct.calcsize("=" + layout) * min(length, _MOST_VALUES)
                tags[tag] = _numbers(_value(read, form, field, width), form.order, layout)
        yield tags, make
        pending += tags.get(_SUB_IFDS, ())
        if len(table) == form.entry * count + word:
            pending += _numbers(table[-word:], form.order, form.word)


def _value(read: Read, form: _Form, field: bytes, width: int) -> bytes:
    """What an entry holds, or points to."""
    if width <= len(field):
        return field[:width]
    (at,) = struct.unpack(form.order + form.word, field)
    return read(at, width) if at < _LONGEST_FILE else b""


def _numbers(data: bytes, order: str, layout: str) -> tuple[int, ...]:
    """The numbers that `data` holds whole."""
    count = len(data) // struct.calcsize("=" + layout)
    return struct.unpack_from(f"{order}{count}{layout}", data)
