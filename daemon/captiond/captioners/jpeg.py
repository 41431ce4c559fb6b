"""A decoded picture as a JPEG for the wire: in sRGB, bounded in size, without the file's metadata."""

from __future__ import annotations

import io
import math
import os
from typing import cast

from PIL import Image, ImageCms

LONGEST_SIDE = 2048  # pixels; what vision models look at is smaller still
LEAST_SIDE = 2000  # of a picture that was larger and could be made smaller in whole steps, which costs little
JPEG_QUALITY = 90


def as_jpeg(image: Image.Image) -> bytes:
    profile = image.info.get("icc_profile")
    # Into a file, though one of memory: only then does Pillow let other threads run while it encodes.
    with os.fdopen(os.memfd_create("jpeg", os.MFD_CLOEXEC), "w+b", buffering=0) as file:
        # The empty comment, else Pillow hands the file's on.
        _in_srgb(_fitted(image), profile).save(file, "JPEG", quality=JPEG_QUALITY, comment=b"")
        file.seek(0)
        return file.read()


def _fitted(image: Image.Image) -> Image.Image:
    """No longer than LONGEST_SIDE: by averaging whole squares where that leaves LEAST_SIDE."""
    longest = max(image.size)
    if longest <= LONGEST_SIDE:
        return image
    step = math.ceil(longest / LONGEST_SIDE)
    if longest // step >= LEAST_SIDE and not (image.width % step or image.height % step):
        return image.reduce(step)
    scale = LONGEST_SIDE / longest
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
