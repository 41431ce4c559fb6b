"""File bytes to an upright 8-bit RGB picture, within limits.  The only decoding in the daemon.

Only the formats named here are tried, so no file ever reaches one of Pillow's rarer or external
decoders.  Nothing is written; a file that cannot be read is `Rejected` with the reason.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from captiond.errors import Rejected
from captiond.records import Notice, Picture, PictureFacts

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "HEIF", "AVIF")

# Our own limit is told from the declared size, before a byte is decoded; Pillow's would only warn.
Image.MAX_IMAGE_PIXELS = None
pillow_heif.register_heif_opener()
Image.init()  # else `formats` may name a plugin that is not registered yet

# Everything Pillow's readers were seen to raise for damaged files.
_UNREADABLE = (
    UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError,
    OverflowError, ZeroDivisionError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


# A reduced JPEG keeps this many times the pixels that the model needs on each side: its blocks are averaged
# by a coarser filter than the model's own, which must have enough left to do.  The model's input from real
# pictures then differed by less than one of 255 levels on average, with crops of 84 pixels; for crops of 336
# hardly any of those pictures were large enough to be reduced at all (benchmarks/RESULTS.md).
REDUCED_MARGIN = 2

NeededSide = Callable[[int, int], int | None]  # width, height -> pixels on the long side; None: all


def decode(data: bytes, *, max_pixels: int, needed_side: NeededSide | None = None) -> Picture:
    """The picture in `data`: first frame, turned as its EXIF says, transparency laid on white.

    Where `needed_side` tells that the model needs far less, a JPEG is decoded at a half, a quarter or an
    eighth.  `facts.width` and `facts.height` are pixels as stored in the file.  Raises Rejected: `unreadable`
    for what is no picture or a damaged one, `too_many_pixels` for more than `max_pixels` declared.
    """
    with _reading():
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    with opened:
        width, height = opened.size
        if width * height > max_pixels:
            raise Rejected(
                "too_many_pixels",
                f"{width}x{height} pixels are more than limits.max_pixels ({max_pixels:,})",
                stage="decode",
                advice="Make the picture smaller, or raise limits.max_pixels, and run `captiond retry`.",
            )
        if needed_side is not None and (needed := needed_side(width, height)) is not None:
            _reduce(opened, needed)
        with _reading():
            opened.load()
        name = "JPEG" if opened.format == "MPO" else (opened.format or "")
        upright, notices = _upright(opened)
        return Picture(_to_rgb(upright), PictureFacts(name, width, height, notices))


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever Pillow raises in here, it raises about the file.  Around Pillow's calls alone: a mistake of
    ours is not to be told as the picture's."""
    try:
        yield
    except _UNREADABLE as error:
        raise Rejected(
            "unreadable",
            f"cannot be read as a picture: {_reason(error)}",
            stage="decode",
            advice="Open it in a viewer: if it is damaged, replace it; if it is no picture, remove it.",
        ) from error


def declared_pixels(data: bytes) -> int:
    """How many pixels the header in `data` tells of, before one is decoded; 0 where it tells nothing."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return opened.width * opened.height
    except _UNREADABLE:
        return 0


def _reduce(opened: Image.Image, needed_side: int) -> None:
    """Have a JPEG decoded smaller (its DCT blocks scaled), where that leaves the proportions as they are.

    What the model makes of a picture depends on its proportions: were a side rounded, it might be cut into
    other crops.
    """
    width, height = opened.size
    for scale in (8, 4, 2):
        is_exact = width % scale == 0 and height % scale == 0
        if is_exact and max(width, height) // scale >= REDUCED_MARGIN * needed_side:
            opened.draft(None, (width // scale, height // scale))  # does nothing to other formats
            return


def _reason(error: BaseException) -> str:
    # Pillow's message names the memory address of our buffer, which tells a person nothing.
    if isinstance(error, UnidentifiedImageError):
        return "no JPEG, PNG, WebP, TIFF, GIF, BMP, HEIC or AVIF data"
    return str(error) or type(error).__name__


def _upright(image: Image.Image) -> tuple[Image.Image, tuple[Notice, ...]]:
    try:
        # Asked first, since `exif_transpose` copies what needs no turning.
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if is_turned else image, ()
    except _UNREADABLE as error:
        # A broken EXIF block says nothing about the pixels, which are whole.
        message = f"the EXIF block cannot be read ({_reason(error)}); orientation unknown"
        return image, (Notice("orientation_unknown", message),)


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB that looks as the picture does on a screen."""
    match image.mode:
        case "RGB":
            return image
        case "1" | "L":
            return _without_mask(image)
        case "I;16" | "I;16L" | "I;16B" | "I;16N" | "I" | "F":
            return _eight_bits(image).convert("RGB")
        case "CMYK":
            return _cmyk_to_rgb(image)
        case "RGBA" | "RGBa" | "LA" | "La" | "PA" | "P":
            return _on_white(image)
        case _:
            return image.convert("RGB")


def _without_mask(image: Image.Image) -> Image.Image:
    return _on_white(image) if "transparency" in image.info else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """What lies under transparent pixels is often black rubbish, and a page is white."""
    if image.mode == "P" and "transparency" not in image.info:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own convert clips 16 bits at 255 and shows a white picture.

    Scanners and cameras fill 16 bits, or 12 or 8 of them; what has any other range (32-bit and
    floating-point TIFFs) has no white that one could know, and is stretched from its least to its greatest.
    """
    values = np.asarray(image)
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low >= 0 and high <= 65535 and values.dtype.kind in "iu":
        low, high = 0.0, next(top for top in (255.0, 4095.0, 65535.0) if high <= top)
    scale = 255.0 / (high - low) if high > low else 0.0
    scaled = np.nan_to_num((values.astype(np.float32) - low) * scale, nan=0.0, posinf=255.0, neginf=0.0)
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """By the picture's own press profile where it has one; the plain formula shows neon colours."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
            return cast(Image.Image, converted)
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: the plain formula still shows what is in the picture
    return image.convert("RGB")
