"""IPTC in a JPEG: the APP13 segment that holds it is replaced where it stands; none is made.

Adobe Photoshop File Formats Specification; that IPTC is written only where it is already there is the
guidance of the Metadata Working Group (2.0, 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .jpeg import APP13, PHOTOSHOP, Jpeg, Segment, read_segments
from .photoshop import Resources
from .refusal import Refused, all_of


@dataclass(frozen=True, slots=True)
class JpegIptc:
    """A JPEG file that can be written into, and the segment of its image resources."""

    jpeg: Jpeg
    segment: Segment
    resources: Resources

    @classmethod
    def read(cls, jpeg: Jpeg) -> Self | None:
        """None if there is no IPTC."""
        found = jpeg.starting_with(APP13, PHOTOSHOP)
        if len(found) > 1:
            raise Refused("its image resources are in more than one segment")
        if not found:
            return None
        resources = Resources.read(jpeg.data[found[0].payload + len(PHOTOSHOP) : found[0].end])
        return cls(jpeg, found[0], resources) if resources.iptc is not None else None

    def with_iptc(self, block: bytes) -> bytes:
        payload = PHOTOSHOP + self.resources.with_iptc(block)
        if len(payload) != self.segment.end - self.segment.payload:
            self.jpeg.refuse_to_move_what_follows(self.segment, "IPTC")
        return self.jpeg.with_segment(self.segment, self.segment.start, APP13, payload)

    def prove(self, data: bytes, block: bytes) -> None:
        """Refuse `data` unless it is this file but for one segment, and that one holds `block`."""
        segments = all_of(read_segments(data))
        found = [s for s in segments if s.marker == APP13 and data.startswith(PHOTOSHOP, s.payload, s.end)]
        if len(found) != 1:
            raise Refused("the new IPTC does not read back")
        self.resources.prove(data[found[0].payload + len(PHOTOSHOP) : found[0].end], block)
        self.jpeg.prove_others(self.segment, self.segment.start, data, segments, found[0])
