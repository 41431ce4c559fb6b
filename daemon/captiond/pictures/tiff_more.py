"""TIFFs that Pillow does not read, by tifffile and imagecodecs: the first page, in 8 bits.

Floats, 10 to 14 bits, CMYK with alpha, planes, codecs of instrument makers.
"""

from __future__ import annotations

import io
import mmap
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from captiond.records import Notice

# imagecodecs loads codecs on first use: so load them now, since the sandbox lets no file be opened later.
_CODECS = (
    "bitshuffle", "deflate", "delta", "eer", "float24", "floatpred", "jetraw", "jpeg", "jpeg2k", "jpeg8",
    "jpegxl", "jpegxr", "lerc", "ljpeg", "lzma", "lzw", "mozjpeg", "packbits", "packints", "png", "webp",
    "xor", "zlib", "zstd",
)  # fmt: skip
for _name in _CODECS:
    getattr(imagecodecs, f"{_name}_decode", None)

_WHITE_IS_ZERO, _PALETTE, _CMYK, _YCBCR = 0, 3, 5, 6
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 34892: 3}  # by photometric interpretation: how many samples
_FAULTS = (
    ValueError, TypeError, KeyError, IndexError, OSError, RuntimeError, AttributeError, NotImplementedError,
    ZeroDivisionError, OverflowError, AssertionError,
)  # fmt: skip


class TiffFile:
    """Raises: ValueError, if it is damaged, or of a kind that these do not read either."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        try:
            self._page: Any = tifffile.TiffFile(io.BytesIO(data)).pages[0]
            self._colour = int(self._page.photometric or 0)
            self.size = int(self._page.imagewidth), int(self._page.imagelength)
            depth, samples = int(self._page.imagedepth), int(self._page.samplesperpixel)
            each = np.dtype(self._page.dtype).itemsize
        except _FAULTS as error:
            raise ValueError(f"tifffile: {error}") from error
        if self._colour not in _COLOURS or depth != 1 or samples < _COLOURS[self._colour]:
            raise ValueError("tifffile: of a kind that is not shown")
        # Per sample: as stored, as a 32-bit float, and in 8 bits.
        self.mode = f"{samples * (each + 4 + 1) + 4} bytes"

    def load(self) -> tuple[Image.Image, int, tuple[Notice, ...]]:
        page = self._page
        try:
            pixels = np.asarray(page.asarray(maxworkers=1))
            if page.planarconfig == 2 and pixels.ndim == 3:
                pixels = np.moveaxis(pixels, 0, -1)
            image = self._shown(pixels.reshape(self.size[1], self.size[0], -1))
            orientation = page.tags.get(274)
        except _FAULTS as error:
            raise ValueError(f"tifffile: {error}") from error
        turn = orientation.value if orientation is not None else 1
        return image, turn if isinstance(turn, int) and 1 <= turn <= 8 else 1, ()

    def _shown(self, pixels: np.ndarray) -> Image.Image:
        count = _COLOURS[self._colour]
        colours, more = pixels[..., :count], pixels[..., count:]
        if self._colour == _PALETTE:
            colours, count = np.asarray(self._page.colormap)[:, colours[..., 0]].transpose(1, 2, 0), 3
        seen = self._in_eight_bits(colours)
        if self._colour == _WHITE_IS_ZERO:
            seen = 255 - seen
        extra = tuple(map(int, self._page.extrasamples or ()))
        if count != 4 and more.shape[-1] and extra[:1] in ((1,), (2,)):
            return self._with_alpha(seen, self._in_eight_bits(more[..., :1]), is_premultiplied=extra[0] == 1)
        image = Image.fromarray(np.ascontiguousarray(seen[..., 0] if count == 1 else seen), _MODES[count])
        profile = self._page.tags.get(34675)
        if profile is not None and isinstance(profile.value, bytes):
            image.info["icc_profile"] = profile.value
        return image

    def _in_eight_bits(self, pixels: np.ndarray) -> np.ndarray:
        """White is the greatest value that the bits hold; for floats 1, or their greatest if that is more."""
        if np.iscomplexobj(pixels):
            pixels = np.abs(pixels)
        if pixels.dtype == np.uint8 and self._bits() == 8:
            return pixels
        if pixels.dtype == bool:
            return pixels.astype(np.uint8) * np.uint8(255)
        values = pixels.astype(np.float32)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        if pixels.dtype.kind == "u":
            low, high = 0.0, float(2 ** (16 if self._colour == _PALETTE else self._bits()) - 1)
            high = high if pixels.dtype.itemsize < 4 else float(finite.max()) or 1.0
        elif low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        values -= low
        values *= 255.0 / (high - low) if high > low else 0.0
        return np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).round().astype(np.uint8)

    def _bits(self) -> int:
        bits = self._page.bitspersample
        return int(max(bits) if isinstance(bits, tuple) else bits)

    def _with_alpha(self, seen: np.ndarray, alpha: np.ndarray, *, is_premultiplied: bool) -> Image.Image:
        pixels = np.concatenate([seen, alpha], axis=-1)
        modes = ("La", "RGBa") if is_premultiplied else ("LA", "RGBA")
        mode = modes[seen.shape[-1] == 3]
        return Image.frombytes(mode, self.size, np.ascontiguousarray(pixels).tobytes())


_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
