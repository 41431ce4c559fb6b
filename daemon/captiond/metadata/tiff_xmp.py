"""XMP in a TIFF or BigTIFF file: the value of tag 700 in IFD0, laid in like a description.

XMP Specification, part 3, 1.1.2.  The former packet stays, as bytes that no pointer leads to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from . import tiff, tiff_patch
from .tiff_file import TiffFile


@dataclass(frozen=True, slots=True)
class TiffXmp:
    """A TIFF file that can be written into, read for its packet."""

    block: tiff.Block

    @classmethod
    def read(cls, data: bytes) -> Self:
        TiffFile.read(data)
        return cls(tiff.parse(data, tiff.XMP))

    @property
    def packet(self) -> bytes | None:
        return self.block.description()

    def with_packet(self, packet: bytes) -> bytes:
        return tiff_patch.describe(self.block, packet)

    def prove(self, data: bytes, packet: bytes) -> None:
        """Refuse `data` unless it is this file, byte for byte, but for the packet."""
        tiff_patch.prove(self.block, data, packet)
