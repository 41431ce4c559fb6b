"""Bytes and pixels in memory that two processes share, by descriptor: nothing is copied through a socket.

Memory without a name (memfd) and not /dev/shm, which is small in a container.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image

BYTES_EACH = 4  # of a pixel, as Pillow keeps RGB


def made() -> BinaryIO:
    """New memory, to be written and then handed over by its descriptor."""
    return os.fdopen(os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb")


def contents(memory: int) -> bytes:
    """The bytes, read and not mapped, so that it is harmless if the process that made it changes it later."""
    return os.pread(memory, os.fstat(memory).st_size, 0)


@contextmanager
def lent(data: bytes) -> Iterator[int]:
    """A descriptor of memory that holds `data`."""
    memory = os.memfd_create("picture", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(data)
        yield memory
    finally:
        os.close(memory)


def image_of(memory: int, width: int, height: int, profile_bytes: int) -> Image.Image:
    """The RGB picture in this memory, without a copy; the descriptor may be closed afterwards.

    Raises: ValueError, if the memory does not hold exactly such a picture, with its profile behind it.
    """
    # First: the process that made it could truncate it later, and reading it would then end this process.
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    pixel_bytes = width * height * BYTES_EACH
    if min(width, height, profile_bytes + 1) < 1 or os.fstat(memory).st_size != pixel_bytes + profile_bytes:
        raise ValueError(f"{width}x{height} pixels are not what the memory holds")
    content = mmap.mmap(memory, 0, access=mmap.ACCESS_READ)
    image = _mapped(content, width, height)
    if profile_bytes:
        image.info["icc_profile"] = content[pixel_bytes:]
    return image


def _mapped(content: mmap.mmap, width: int, height: int) -> Image.Image:
    """What Image.frombuffer does for modes of four bytes but RGB, which is kept in four bytes as well."""
    core = Image.core.map_buffer(  # type: ignore[attr-defined]  # the module in C, which is not typed
        content, (width, height), "raw", 0, ("RGB", 0, 1)
    )
    image = Image.new("RGB", (0, 0))._new(core)
    image.readonly = 1  # Pillow then copies it before a change
    return image
