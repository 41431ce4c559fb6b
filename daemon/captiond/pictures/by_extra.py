"""Pictures that Pillow does not read, by libraries that come with captiond's extras.

The libraries are loaded with this module, before a decoder closes its sandbox.  Each reader works like
Pillow: first it tells what the header says, then it loads the pixels.
"""

from __future__ import annotations

import mmap
from typing import Protocol

from PIL import Image

from captiond.formats import extras
from captiond.records import Notice

Content = bytes | mmap.mmap
# The pixels, their EXIF orientation, and notices about them.
Loaded = tuple[Image.Image, int, tuple[Notice, ...]]


class Picture(Protocol):
    """A picture whose header was read."""

    mode: str  # as `header` understands it
    size: tuple[int, int]  # as the file has it, before it is turned upright

    def load(self) -> Loaded:
        """Call it once.  Raises: ValueError, if the picture is damaged."""


def raw_of(data: Content) -> Picture:
    """Raises: ValueError, if LibRaw does not read it."""
    return raw_file.RawFile(data)


def jxl_of(data: Content) -> Picture:
    return jxl.JxlFile(data)


def tiff_of(data: Content) -> Picture | None:
    """None if the extra is not installed."""
    return tiff_more.TiffFile(data) if _HAS["tiff"] else None


_HAS = {name: extras.why_not(name) is None for name in ("raw", "jxl", "tiff")}
if _HAS["raw"]:
    from captiond.pictures import raw_file
if _HAS["jxl"]:
    from captiond.pictures import jxl
if _HAS["tiff"]:
    from captiond.pictures import tiff_more
