"""XMP in a JPEG: one APP1 segment is replaced where it stands, or inserted behind EXIF.

XMP Specification, part 3, 1.1.3.  A packet that is extended by others in further segments is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .jpeg import APP1, EXTENDED_XMP, XMP, Jpeg, Segment, read_segments
from .refusal import Refused, all_of

_LONGEST = 65_502  # bytes of a packet


@dataclass(frozen=True, slots=True)
class JpegXmp:
    """A JPEG file that can be written into, and the segment of its packet."""

    jpeg: Jpeg
    segment: Segment | None

    @classmethod
    def read(cls, data: bytes) -> Self:
        jpeg = Jpeg.read(data)
        if jpeg.starting_with(APP1, EXTENDED_XMP):
            raise Refused("its XMP is extended by another one")
        found = jpeg.starting_with(APP1, XMP)
        if len(found) > 1:
            raise Refused("it has more than one XMP segment")
        return cls(jpeg, found[0] if found else None)

    @property
    def packet(self) -> bytes | None:
        return self.jpeg.data[self.segment.payload + len(XMP) : self.segment.end] if self.segment else None

    def with_packet(self, packet: bytes) -> bytes:
        if len(packet) > _LONGEST:
            raise Refused("its XMP would not fit into one segment")
        if self.segment and len(packet) != self.segment.end - self.segment.payload - len(XMP):
            self.jpeg.refuse_to_move_what_follows(self.segment, "XMP")
        return self.jpeg.with_segment(self.segment, self._place(), APP1, XMP + packet)

    def prove(self, data: bytes, packet: bytes) -> None:
        """Refuse `data` unless it is this file but for one segment, and that one holds `packet`."""
        segments = all_of(read_segments(data))
        found = [s for s in segments if s.marker == APP1 and data.startswith(XMP, s.payload, s.end)]
        if len(found) != 1 or data[found[0].payload : found[0].end] != XMP + packet:
            raise Refused("the new XMP does not read back")
        self.jpeg.prove_others(self.segment, self._place(), data, segments, found[0])

    def _place(self) -> int:
        return self.jpeg.exif.end if self.jpeg.exif else self.jpeg.first_place()
