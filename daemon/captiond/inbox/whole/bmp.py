"""BMP, with its file header or without: its rows must lie within the file."""

from __future__ import annotations

import struct

from captiond.inbox.whole.reading import Cut, File, Lack


def check(file: File) -> Lack | None:
    """The length that it says it has is often wrong."""
    (pixels_at,) = file.unpack("<I", 10)
    return _dib(file, 14, pixels_at)


def bare(file: File) -> Lack | None:
    header, bits, colors = *file.unpack("<I", 0), *file.unpack("<H", 14), *file.unpack("<I", 32)
    palette = 4 * (colors or 1 << bits) if bits <= 8 else 4 * colors
    return _dib(file, 0, header + palette)


def is_bare(head: bytes) -> bool:
    header, planes, bits = struct.unpack_from("<I8xHH", head)
    return header in (40, 108, 124) and planes == 1 and bits in (1, 4, 8, 16, 24, 32)


def _dib(file: File, header_at: int, pixels_at: int) -> Lack | None:
    (header,) = file.unpack("<I", header_at)
    if header == 12:
        width, height, _, bits = file.unpack("<HHHH", header_at + 4)
        compression = packed = 0
    elif header >= 40:
        width, height, _, bits, compression, packed = file.unpack("<iiHHII", header_at + 4)
    else:
        return None
    row = (abs(width) * bits + 31) // 32 * 4
    needed = packed if compression in (1, 2, 4, 5) else row * abs(height)
    if pixels_at + needed > file.size:
        raise Cut
    return None
