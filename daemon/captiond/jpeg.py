"""An upright picture as a JPEG for a person or a model: in sRGB, bounded in size, without metadata."""

from __future__ import annotations

import io
import math
from typing import BinaryIO, cast

from PIL import Image, ImageCms

from captiond.encoded import JpegWish


def save(image: Image.Image, profile: bytes | None, wish: JpegWish, file: BinaryIO) -> None:
    """`profile`: the colour profile of the picture's numbers; None: sRGB.

    If `file` has a descriptor, other threads run while it is encoded.
    """
    # With an empty comment: else Pillow copies the source file's.
    _in_srgb(_fitted(image, wish), profile).save(file, "JPEG", quality=wish.quality, comment=b"")


def _fitted(image: Image.Image, wish: JpegWish) -> Image.Image:
    """Shrink it to the wished size: by averaging whole squares, if that leaves enough pixels."""
    longest = max(image.size)
    if longest <= wish.longest_side:
        return image
    step = math.ceil(longest / wish.longest_side)
    if longest // step >= wish.least_side and not (image.width % step or image.height % step):
        return image.reduce(step)
    scale = wish.longest_side / longest
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # Lanczos would take more than twice as long, for half a level of 255.
    return image.resize(size, Image.Resampling.HAMMING, reducing_gap=3.0)


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """In sRGB, since servers ignore profiles: a phone's Display P3, a camera's Adobe RGB would look pale."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        srgb = ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, source, srgb))
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile, or that of a gray or CMYK file from which this picture was made
