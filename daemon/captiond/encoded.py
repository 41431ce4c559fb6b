"""A picture as a JPEG to send: what a caller wishes, and what it gets.  Frozen records without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from captiond.records import PictureFacts


@dataclass(frozen=True, slots=True)
class JpegWish:
    """How large a JPEG a caller wants of a picture."""

    longest_side: int  # pixels, at most
    least_side: int  # at least, if a larger picture can be reduced by a whole factor, which costs little
    quality: int  # 1 to 95


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as a JPEG, upright and in sRGB, without the file's metadata."""

    jpeg: bytes = field(repr=False)
    facts: PictureFacts
