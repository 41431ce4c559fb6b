"""A decoded picture as a JPEG for the wire: in sRGB, bounded in size, without the file's metadata."""

from __future__ import annotations

import io
from typing import cast

from PIL import Image, ImageCms

LONGEST_SIDE = 2048  # pixels; what vision models look at is smaller still
JPEG_QUALITY = 90


def as_jpeg(image: Image.Image) -> bytes:
    scale = LONGEST_SIDE / max(image.size)
    profile = image.info.get("icc_profile")
    if scale < 1:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    # The empty comment, else Pillow hands the file's on.
    _in_srgb(image, profile).save(buffer, "JPEG", quality=JPEG_QUALITY, comment=b"")
    return buffer.getvalue()


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
