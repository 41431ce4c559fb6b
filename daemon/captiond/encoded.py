"""A picture as a JPEG that travels: how somebody wants it, and what they get.  Frozen records without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from captiond.records import PictureFacts


@dataclass(frozen=True, slots=True)
class JpegWish:
    """How large a JPEG somebody wants of a picture."""

    longest_side: int  # pixels, at most
    least_side: int  # of one that was larger and could be made smaller in whole steps, which costs little
    quality: int  # 1 to 95


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as a JPEG, upright and in sRGB, without the file's metadata."""

    jpeg: bytes = field(repr=False)
    facts: PictureFacts
