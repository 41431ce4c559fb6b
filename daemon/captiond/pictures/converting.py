"""A decoded picture as upright strips of 8-bit RGB, whatever mode it is stored in.  Pure.

In strips, since whole copies in between would take several times the memory of the picture itself.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from captiond.scaling import Scaling

WHITE = (255, 255, 255)
# Some families of models take no picture longer than 200:1; 150 leaves room, since reducing a picture rounds
# its short side.
LONGEST_RATIO = 150

Convert = Callable[[Image.Image], Image.Image]

STRIP_PIXELS = 1 << 17  # a strip and its copies lie in a core's cache

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    return image.size if orientation < 5 else (image.height, image.width)


def strips(image: Image.Image, orientation: int) -> Iterator[Image.Image]:
    """The strips of the upright picture, from top to bottom, each of its full width.

    `orientation` is EXIF's, 1 to 8.
    """
    to_rgb = _converter(image)
    width, height = upright_size(image, orientation)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        stored = image.crop(_stored_box(image, orientation, top, min(top + rows, height)))
        strip = to_rgb(stored)
        yield strip.transpose(_TURNS[orientation]) if orientation != 1 else strip


def framed_size(size: tuple[int, int]) -> tuple[int, int]:
    """`size`, with a longer short side if the picture is longer than models take."""
    width, height = size
    return max(width, math.ceil(height / LONGEST_RATIO)), max(height, math.ceil(width / LONGEST_RATIO))


def framed(parts: Iterator[Image.Image], size: tuple[int, int]) -> Iterator[Image.Image]:
    """The strips of a picture of this size in the middle of a white frame of `framed_size`."""
    (width, height), (full_width, full_height) = size, framed_size(size)
    above, beside = (full_height - height) // 2, (full_width - width) // 2
    if above:
        yield Image.new("RGB", (full_width, above), WHITE)
    for part in parts:
        if full_width == width:
            yield part
        else:
            wide = Image.new("RGB", (full_width, part.height), WHITE)
            wide.paste(part, (beside, 0))
            yield wide
    if below := full_height - height - above:
        yield Image.new("RGB", (full_width, below), WHITE)


def scaled(image: Image.Image, wanted: Scaling) -> Image.Image:
    """The whole upright picture, scaled as a model would do it.

    phi3v does the same by itself, since it runs without this; tests compare the two.
    """
    if not wanted.is_mirrored:
        return image.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR)
    mirrored = image.transpose(Image.Transpose.TRANSPOSE)
    mirrored = mirrored.resize((wanted.height, wanted.width), Image.Resampling.BILINEAR)
    return mirrored.transpose(Image.Transpose.TRANSPOSE)


def _stored_box(image: Image.Image, orientation: int, top: int, bottom: int) -> tuple[int, int, int, int]:
    """Where the rows `top` to `bottom` of the upright picture lie in the stored one."""
    width, height = image.size
    if orientation in (1, 2):
        return 0, top, width, bottom
    if orientation in (3, 4):
        return 0, height - bottom, width, height - top
    if orientation in (5, 6):
        return top, 0, bottom, height
    return width - bottom, 0, width - top, height


def _converter(image: Image.Image) -> Convert:
    """A function from a strip to 8-bit RGB, so that it looks as the picture does on a screen."""
    has_transparency = "transparency" in image.info
    match image.mode:
        case "RGB":
            return _unchanged
        case "I;16" | "I;16L" | "I;16B" | "I;16N" | "I" | "F":
            return _to_eight_bits(image)
        case "CMYK":
            return _from_cmyk(image.info.get("icc_profile"))
        case "RGBA" | "RGBa" | "LA" | "La" | "PA":
            return _on_white
        case "1" | "L" | "P" if has_transparency:
            return _on_white
        case _:
            return _to_rgb


def _unchanged(image: Image.Image) -> Image.Image:
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Lay it on white, like a page: the colours under transparent pixels are often black rubbish."""
    if image.mode == "La":
        image = image.convert("LA")  # Pillow has no other conversion from this mode
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _to_eight_bits(image: Image.Image) -> Convert:
    """A conversion of our own: Pillow's clips 16 bits at 255 and shows a white picture.

    Scanners and cameras fill 16 bits, or 12 or 8 of them; for any other range (32-bit and floating-point
    TIFFs) the value of white is unknown, so values are stretched from the least to the greatest.
    """
    low, high = _range(image)
    if low >= 0 and high <= 65535 and image.mode != "F":
        low, high = 0.0, next(top for top in (255.0, 4095.0, 65535.0) if high <= top)
    scale = 255.0 / (high - low) if high > low else 0.0

    def convert(strip: Image.Image) -> Image.Image:
        scaled = (np.asarray(strip).astype(np.float32) - low) * scale
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
        return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8)).convert("RGB")

    return convert


def _range(image: Image.Image) -> tuple[float, float]:
    """The least and the greatest finite value; 0 and 0 if there is none."""
    found = []
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if finite.size:
            found += [float(finite.min()), float(finite.max())]
    return (min(found), max(found)) if found else (0.0, 0.0)


def _from_cmyk(profile: bytes | None) -> Convert:
    """By the picture's own press profile if it has one: the plain formula shows neon colours."""
    if not profile:
        return _to_rgb
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), "CMYK", "RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return _to_rgb  # a broken profile: the plain formula still shows what is in the picture
    return lambda strip: cast(Image.Image, ImageCms.applyTransform(strip, transform))
