"""An upright picture as a JPEG for somebody to look at: in sRGB, bounded in size, without metadata."""

from __future__ import annotations

import io
import math
from typing import BinaryIO, cast

from PIL import Image, ImageCms

from captiond.encoded import JpegWish


def save(image: Image.Image, profile: bytes | None, wish: JpegWish, file: BinaryIO) -> None:
    """`profile`: by which the picture's numbers are meant; None: sRGB.

    Where `file` has a descriptor, other threads run while it is encoded.
    """
    # The empty comment, else Pillow hands the file's on.
    _in_srgb(_fitted(image, wish), profile).save(file, "JPEG", quality=wish.quality, comment=b"")


def _fitted(image: Image.Image, wish: JpegWish) -> Image.Image:
    """No longer than is wished for: by averaging whole squares where that leaves enough."""
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
    """Servers look at the numbers alone: a phone's Display P3 or a camera's Adobe RGB would look pale."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        srgb = ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, source, srgb))
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile, or that of the gray or CMYK file this picture was made from
