"""What a picture's header says, and what decoding it will take.  Pure arithmetic: decodes nothing.

The daemon gets headers from a decoder's process, and decides here how large a picture is decoded and how much
memory that may take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from captiond.errors import Rejected

NeededSide = Callable[[int, int], int | None]  # width, height -> pixels on the long side; None: all

# A reduced JPEG keeps this many times the pixels that the model needs on each side: its blocks are averaged
# by a coarser filter than the model's own, which must have enough left to do.  The model's input from real
# pictures then differed by less than one of 255 levels on average, with crops of 84 pixels; for crops of 336
# hardly any of those pictures were large enough to be reduced at all (benchmarks/RESULTS.md).
REDUCED_MARGIN = 2

# Bytes that Pillow keeps of each pixel.
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_STORED_OTHERWISE = 4
# Bytes per pixel that a decoder takes in addition: planes, canvases and copies of its own.
_BESIDE = {"WEBP": 16, "HEIF": 16, "AVIF": 16, "JPEG2000": 20, "TIFF": 5, "BMP": 2, "DIB": 2, "JXL": 24}
_BESIDE_OTHERWISE = 4
_COEFFICIENTS = 8  # bytes per pixel of a progressive JPEG, whatever the scale: all coefficients are needed
_SHOWN = 4  # bytes per pixel of the result: RGB, and a byte that is not used
_FIXED_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Header:
    format: str  # as Pillow names it
    mode: str  # as Pillow names it; or how many bytes a pixel takes, as in `12 bytes`
    width: int
    height: int
    is_progressive: bool = False
    file_bytes: int = 0

    @property
    def pixels(self) -> int:
        return self.width * self.height


def at_full_size(_width: int, _height: int) -> None:
    """The NeededSide of a caller that needs all pixels."""


def refuse_too_many_pixels(header: Header, max_pixels: int) -> None:
    """Checks what the header declares, before a pixel is decoded.  Raises: Rejected, if it is too many."""
    if header.pixels > max_pixels:
        raise Rejected(
            "too_many_pixels",
            f"{header.width}x{header.height} pixels are more than limits.max_pixels ({max_pixels:,})",
            stage="decode",
            advice="Make the picture smaller, or raise limits.max_pixels, and run `captiond retry`.",
        )


def scale_of(header: Header, needed_side: int | None) -> int:
    """How many times smaller to decode a JPEG (by scaling its DCT blocks): 8, 4, 2, or 1 for full size.

    Only if that keeps the proportions exactly: the model's crops depend on them, and with a rounded side the
    picture might be cut into other crops.
    """
    if needed_side is None or header.format != "JPEG":
        return 1
    width, height = header.width, header.height
    for scale in (8, 4, 2):
        is_exact = width % scale == 0 and height % scale == 0
        if is_exact and max(width, height) // scale >= REDUCED_MARGIN * needed_side:
            return scale
    return 1


def bytes_for(header: Header, scale: int) -> int:
    """How much memory decoding is expected to take, rather too much than too little."""
    stored = _stored(header.mode)
    each = stored + _BESIDE.get(header.format, _BESIDE_OTHERWISE) + _SHOWN
    coefficients = _COEFFICIENTS * header.pixels if header.is_progressive else 0
    return header.pixels // scale**2 * each + coefficients + 2 * header.file_bytes + _FIXED_BYTES


def _stored(mode: str) -> int:
    number, _, unit = mode.partition(" ")
    if unit == "bytes" and number.isdecimal():
        return int(number)
    return _STORED.get(mode, _STORED_OTHERWISE)
