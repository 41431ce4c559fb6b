"""Cameras' RAW files by LibRaw: the largest preview inside, or what the sensor saw at half its size.

A preview is the camera's own JPEG, read in a few hundredths of a second.  A thumbnail does not count as one:
it has too few pixels to tell anything.
"""

from __future__ import annotations

import io
import mmap
from typing import cast

import rawpy
from PIL import Image

from captiond.records import Notice

LEAST_PREVIEW = 640  # pixels on its long side; or half of what the sensor has
_TURNS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's flip: EXIF's orientation


class RawFile:
    """Raises: ValueError, if LibRaw does not read the file."""

    mode = "12 bytes"

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._raw = rawpy.RawPy()
        try:
            self._raw.open_buffer(io.BytesIO(data))
        except rawpy.LibRawError as error:
            raise ValueError(_told(error)) from error
        sizes = self._raw.sizes
        self.size = sizes.width, sizes.height
        self._turn = _TURNS.get(sizes.flip, 1)

    def load(self) -> tuple[Image.Image, int, tuple[Notice, ...]]:
        preview = self._preview()
        if preview is not None and max(preview[0].size) >= min(LEAST_PREVIEW, max(self.size) // 2):
            return (*preview, ())
        try:
            pixels = self._raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8)
        except rawpy.LibRawError as error:
            if preview is None:
                raise ValueError(_told(error)) from error
            width, height = preview[0].size
            return (*preview, (Notice("small_preview", f"seen by its preview of {width}x{height} pixels"),))
        return Image.fromarray(pixels), 1, ()  # LibRaw has turned it

    def _preview(self) -> tuple[Image.Image, int] | None:
        """The largest preview and its EXIF orientation, if there is one of use."""
        try:
            found = self._raw.extract_thumb()
        except (rawpy.LibRawError, NotImplementedError):  # there is none, or in a format LibRaw does not know
            return None
        if found.format is not rawpy.ThumbFormat.JPEG:
            return Image.fromarray(found.data), self._turn
        try:
            image = Image.open(io.BytesIO(cast(bytes, found.data)), formats=["JPEG"])
            image.load()
            turn = image.getexif().get(274)
        except (OSError, SyntaxError, ValueError, TypeError):
            return None
        return image, turn if isinstance(turn, int) and 1 <= turn <= 8 else self._turn


def _told(error: rawpy.LibRawError) -> str:
    said = error.args[0] if error.args else "it cannot be read"
    return f"LibRaw: {said.decode('ascii', 'replace') if isinstance(said, bytes) else said}"
