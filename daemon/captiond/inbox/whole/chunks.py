"""PNG and WebP: their chunks must lead to an end, and lie within the file."""

from __future__ import annotations

import struct

from captiond.inbox.whole.reading import Cut, File, Lack, TooComplex

_LEAST_CHUNK = 1024  # bytes on average; no encoder makes many of less


def png(file: File) -> Lack | None:
    """Its chunks must lead to IEND."""
    if file.read(file.size - 8, 4) == b"IEND":
        return None
    position = chunks = 8
    try:
        while True:
            length, kind = struct.unpack(">I4s", file.exactly(position, 8))
            if not kind.isalpha():
                return Lack("PNG data ends in zeros", certain=False) if kind == bytes(4) else None
            position += 12 + length
            chunks += 1
            if position > file.size:
                raise Cut
            if kind == b"IEND":
                return None
    except TooComplex:
        if position < chunks * _LEAST_CHUNK:
            raise
        # A very large one that is still being uploaded, or has something behind its end.
        return Lack("PNG data that does not end in its end marker", certain=False)


def webp(file: File) -> Lack | None:
    """It must be as long as it says."""
    (length,) = file.unpack("<I", 4)
    if length == 0:
        return Lack("WebP data whose length is not written yet")
    if 8 + length > file.size:
        raise Cut
    if file.is_zero_before(8 + length):
        return Lack("WebP data ends in zeros", certain=False)
    return None
