"""JPEG XL by pylibjxl: the first frame, upright as libjxl turns it, in 8 bits."""

from __future__ import annotations

import mmap

import pylibjxl
from PIL import Image

from captiond.records import Notice

_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB "}
_LONGEST_PROFILE = 1 << 20


class JxlFile:
    """Raises: ValueError, if the file is damaged."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data = bytes(data)
        try:
            found = pylibjxl.probe(self._data)
        except RuntimeError as error:
            raise ValueError(f"libjxl: {error}") from error
        self.size = found["width"], found["height"]
        self.mode = "RGBA" if found["has_alpha"] else ("L" if found["color_channels"] == 1 else "RGB")

    def load(self) -> tuple[Image.Image, int, tuple[Notice, ...]]:
        try:
            decoder = pylibjxl.JXL(threads=1)
            pixels, found = decoder.decode(self._data, metadata=True)
        except RuntimeError as error:
            raise ValueError(f"libjxl: {error}") from error
        image = Image.fromarray(pixels)
        profile = found.get("icc") or b""
        # A CMYK picture has the press's profile, but its pixels come as RGB: that profile is dropped.
        if profile[16:20] == _SPACES.get(image.mode) and len(profile) <= _LONGEST_PROFILE:
            image.info["icc_profile"] = profile
        return image, 1, ()  # libjxl has turned it, whatever its EXIF says
