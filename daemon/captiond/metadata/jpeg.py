"""JPEG and its multi-picture form: one APP1 segment is replaced where it stands, or inserted.

ITU-T T.81, annex B, names the markers and segments; EXIF 2.32, 4.7.2, the APP1 that holds a TIFF block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, Self

from . import maker_note, tiff
from .refusal import Refused, all_of, is_same

_SOI, _SOS = 0xD8, 0xDA
_APP0, APP1, _APP2, _APP11, APP13 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})  # T.81, B.1.1.3; none belongs before the scan
_LENGTH = Struct(">H")  # counts itself: T.81, B.1.1.4
LONGEST = 65_533

_EXIF = b"Exif\0\0"
_MPF = b"MPF\0"  # CIPA DC-007, 5.1: its offsets count from itself
XMP = b"http://ns.adobe.com/xap/1.0/\0"  # XMP Specification, part 3, 1.1.3
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
EXTENDED_XMP_HEADER = len(EXTENDED_XMP) + 32 + 4 + 4  # GUID, length, offset
PHOTOSHOP = b"Photoshop 3.0\0"
_C2PA = b"c2pa"  # the label of a manifest store in JUMBF: C2PA 2.1, 11.1

_AFCP = re.compile(rb"AXS[!*]")
_TRAILER = 65_536  # where the footer of an AFCP trailer is looked for


class Segment(NamedTuple):
    """A marker segment, from its fill bytes to its last byte."""

    start: int
    marker: int
    payload: int
    end: int


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG file whose segments up to its first scan are known."""

    data: bytes
    segments: tuple[Segment, ...]
    exif: Segment | None
    block: tiff.Block | None

    @classmethod
    def read(cls, data: bytes) -> Self:
        segments = all_of(read_segments(data))
        exif = _only_exif(data, segments)
        block = tiff.parse(data[exif.payload + len(_EXIF) : exif.end]) if exif else None
        jpeg = cls(data, segments, exif, block)
        jpeg._refuse_what_counts_bytes()
        return jpeg

    def with_block(self, block: bytes) -> bytes:
        if len(_EXIF) + len(block) > LONGEST:
            raise Refused("its EXIF would not fit into one segment")
        return self.with_segment(self.exif, self.first_place(), APP1, _EXIF + block)

    def prove(self, data: bytes, block: bytes) -> None:
        """Refuse `data` unless it is this file but for one segment, and that one holds `block`."""
        new = all_of(read_segments(data))
        exif = _only_exif(data, new)
        if exif is None or data[exif.payload : exif.end] != _EXIF + block:
            raise Refused("the new EXIF does not read back")
        self.prove_others(self.exif, self.first_place(), data, new, exif)

    def first_place(self) -> int:
        """Where a new segment may be inserted first: JFIF 1.02 wants its APP0 before all others."""
        return next(segment for segment in self.segments if segment.marker != _APP0).start

    def with_segment(self, old: Segment | None, place: int, marker: int, payload: bytes) -> bytes:
        """The file with one segment in the place of `old`, or inserted at `place` if there is none."""
        if len(payload) > LONGEST:
            raise Refused("what is to be written would not fit into one segment")
        start, end = (old.start, old.end) if old else (place, place)
        head = self.data[start : old.payload - _LENGTH.size] if old else bytes((0xFF, marker))
        whole, length = memoryview(self.data), _LENGTH.pack(_LENGTH.size + len(payload))
        return b"".join((whole[:start], head, length, payload, whole[end:]))

    def prove_others(
        self, old: Segment | None, place: int, data: bytes, segments: tuple[Segment, ...], new: Segment
    ) -> None:
        """Refuse `data` unless all but `new` is as in this file, where `old` stands or nothing at `place`."""
        start, end = (old.start, old.end) if old else (place, place)
        longer = len(data) - len(self.data)
        if new.start != start or new.end != end + longer or _but(self.segments, old) != _but(segments, new):
            raise Refused("the segments that were there would change")
        before, after = (0, start), (end, len(self.data))
        if not (is_same(self.data, *before, data, 0) and is_same(self.data, *after, data, new.end)):
            raise Refused("what lies around the segment would change")

    def starting_with(self, marker: int, signature: bytes) -> tuple[Segment, ...]:
        """The segments of an application."""
        return tuple(
            segment
            for segment in self.segments
            if segment.marker == marker and self.data.startswith(signature, segment.payload, segment.end)
        )

    def _payloads(self, marker: int, signature: bytes) -> Iterator[bytes]:
        for segment in self.starting_with(marker, signature):
            yield self.data[segment.payload + len(signature) : segment.end]

    def lists_pictures_before(self, segment: Segment) -> bool:
        """Does the list of other pictures, whose offsets count from itself, stand before the segment?"""
        return any(listing.end <= segment.start for listing in self.starting_with(_APP2, _MPF))

    def refuse_to_move_what_follows(self, segment: Segment, name: str) -> None:
        """Refuse a file in which another length of this segment would break offsets."""
        if self.lists_pictures_before(segment):
            raise Refused(f"its {name} stands between its other pictures and the list of them")
        notes = self.block.find(maker_note.MAKER_NOTE) if self.block else ()
        if self.exif and segment.start < self.exif.start and any(notes):
            raise Refused(f"its {name} stands before a MakerNote, which would move")

    def _refuse_what_counts_bytes(self) -> None:
        """Refuse a file in which a longer EXIF segment would break offsets."""
        if any(_C2PA in payload for payload in self._payloads(_APP11, b"JP")):
            raise Refused("its C2PA manifest signs the bytes that would change")
        if _AFCP.search(self.data, max(0, len(self.data) - _TRAILER)):
            raise Refused("its AFCP trailer counts from the start of the file")
        if self.exif is None or self.block is None:
            return
        if self.lists_pictures_before(self.exif):
            raise Refused("its EXIF stands between its other pictures and the list of them")
        if maker_note.has_preview(self.block, self.data, self.exif.payload + len(_EXIF), self.exif.end):
            raise Refused("its MakerNote points to a preview behind the EXIF")


def read_segments(data: bytes) -> Iterator[Segment]:
    """The marker segments from SOI to the first SOS; fill bytes are allowed before each (T.81, B.1.1.2)."""
    if data[:2] != bytes((0xFF, _SOI)):
        raise Refused("it does not begin with SOI")
    at = 2
    while True:
        start = at
        while data[at : at + 1] == b"\xff":
            at += 1
        if at == start or at + 3 > len(data):
            raise Refused("it has garbage between its segments, or ends in them")
        marker, payload = data[at], at + 3
        if marker in _WITHOUT_LENGTH:
            raise Refused(f"it has a marker FF{marker:02X} before its first scan")
        at += 1 + _LENGTH.unpack_from(data, at + 1)[0]
        if not payload <= at <= len(data):
            raise Refused("it has a truncated segment")
        yield Segment(start, marker, payload, at)
        if marker == _SOS:
            return


def _only_exif(data: bytes, segments: tuple[Segment, ...]) -> Segment | None:
    found = [s for s in segments if s.marker == APP1 and data[s.payload : s.payload + 4].lower() == b"exif"]
    if len(found) > 1:
        raise Refused("it has more than one EXIF segment")
    if found and not data.startswith(_EXIF, found[0].payload, found[0].end):
        raise Refused("its EXIF segment has an unknown header")
    return found[0] if found else None


def _but(segments: tuple[Segment, ...], one: Segment | None) -> list[tuple[int, int]]:
    """The markers and lengths of all segments but one."""
    return [(segment.marker, segment.end - segment.start) for segment in segments if segment is not one]
