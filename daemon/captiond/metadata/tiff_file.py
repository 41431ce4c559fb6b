"""TIFF and BigTIFF files: one block that is the whole file, and what only files have.

If a file does not say the size of its image data, readers guess it from the file's size; they also look for
trailers at its end.  Such a file is refused, since appending would mislead them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from captiond.formats import raw

from . import tiff
from .refusal import Refused

IPTC, PHOTOSHOP = 33723, 34377  # XMP Specification, part 3, 1.1.2
_C2PA = 52545  # C2PA 2.1, A.3.6
_NDPI = 65420  # Hamamatsu's slides: the high halves of offsets follow each IFD, and a copy would lose them
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277  # TIFF 6.0, section 8
_STRIP_BYTE_COUNTS = 279
_UNCOMPRESSED = 1

# AFCP, Canon VRD, Photo Mechanic, FotoStation, MIE and Samsung: found by their last bytes.
_TRAILER = re.compile(
    rb"(?:AXS[!*].{8}|CANON OPTIONAL DATA\0.{44}|cbipcbbl|\xa1\xb2\xc3\xd4|SEFT|QDIOBS"
    rb"|~\0\x04\0zmie~\0\0(?:\x06.{5}\x04|\x0a.{9}\x08))\Z",
    re.DOTALL,
)
_LONGEST_FOOTER = 64


@dataclass(frozen=True, slots=True)
class TiffFile:
    """A TIFF file in which everything is where its IFDs say."""

    block: tiff.Block

    @classmethod
    def read(cls, data: bytes) -> Self:
        if (kind := raw.kind_in(data)) is not None:
            exactly = f" ({kind})" if kind != "RAW" else ""
            raise Refused(f"it is a camera's RAW file{exactly}, into which nothing is ever written")
        if _TRAILER.search(data, max(0, len(data) - _LONGEST_FOOTER)):
            raise Refused("it has a trailer that must stay at its end")
        file = cls(tiff.parse(data))
        for directory in file.block.directories:
            file._refuse_what_readers_guess(directory)
        return file

    def with_block(self, block: bytes) -> bytes:
        return block

    def prove(self, data: bytes, block: bytes) -> None:
        """Refuse what `tiff_patch.prove` refuses: the block is the file."""
        if data is not block:
            raise Refused("the file is not its block")

    def _refuse_what_readers_guess(self, directory: tiff.Directory) -> None:
        entries = {entry.tag: entry for entry in directory.entries}
        if _C2PA in entries:
            raise Refused("its C2PA manifest signs the bytes that would change")
        if _NDPI in entries:
            raise Refused("it is an NDPI slide, whose IFDs are longer than they say")
        if _STRIP_BYTE_COUNTS not in entries:
            return

        def numbers(tag: int, *default: int) -> tuple[int, ...]:
            return (self.block.integers(entries[tag]) if tag in entries else ()) or default

        if numbers(_COMPRESSION, _UNCOMPRESSED) != (_UNCOMPRESSED,):
            return
        width, length, samples = (numbers(tag, 1)[0] for tag in (_WIDTH, _LENGTH, _SAMPLES))
        bits = numbers(_BITS, 1)
        pixel = sum(bits) if len(bits) == samples else bits[0] * samples
        if sum(numbers(_STRIP_BYTE_COUNTS)) < (width * pixel + 7) // 8 * length:
            raise Refused("its strips are shorter than its image")
