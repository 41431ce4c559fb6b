"""Small files that take a lot: of time, of memory, or of nerves.  Each states what it costs a decoder."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def many_scans(scans: int, side: int = 8000) -> bytes:
    """A progressive JPEG that paints one plain picture again and again: 400 scans take seconds."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 120).save(buffer, "JPEG", progressive=True, quality=10)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xc4")  # a Huffman table and the scan that uses it
    return data[:last] + data[last:-2] * scans + data[-2:]


def rle_bitmap(width: int = 10_000, height: int = 5_000) -> bytes:
    """A bitmap of 21 KB with one pixel in each row: the rest is filled in by Python, which takes 15 s."""
    pixels = b"\x01\x01\0\0" * height + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(pixels), 0, 0, 0, 0)
    start = 14 + len(header) + 1024
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + header + bytes(1024) + pixels


def vast_tile(side: int = 32_768, *, is_whole: bool = False) -> bytes:
    """A TIFF of 16 x 16 pixels in one tile of `side` x `side`: 1 GiB.  Whole: with all of that to read."""
    packed = zlib.compress(bytes(side * side), 1) if is_whole else zlib.compress(bytes(1000))
    entries = (
        (256, 3, 16), (257, 3, 16), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, side), (323, 4, side), (324, 4, 134), (325, 4, len(packed)),
    )  # fmt: skip
    layouts = {3: "<HHIHxx", 4: "<HHII"}
    table = b"".join(struct.pack(layouts[kind], tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + packed


def pointing_tiff(entries: int = 65_000, values: int = 1_000_000) -> bytes:
    """A TIFF of 4.8 MB whose entries all point at one array: as many steps as entries times values."""
    data_at = 8 + 2 + 12 * entries + 4
    table = struct.pack("<H", entries) + struct.pack("<HHII", 273, 4, values, data_at) * entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + table + struct.pack("<I", 8) * values


def vast_webp() -> bytes:
    """A WebP of 34 bytes that declares 144 megapixels: 2.2 GiB."""
    return bytes.fromhex("524946461a000000574542505650384c0e0000002fdfeeb70b071011fd0f4444ff03")


def deep_grey(side: int = 14_000) -> bytes:
    """A black PNG of 16 bits a pixel, of 0.4 MB for 196 megapixels: read at once, 3.2 GiB."""
    packing = zlib.compressobj(1)
    row = bytes(1 + 2 * side)
    rows = b"".join(packing.compress(row) for _ in range(side)) + packing.flush()
    return PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)) + _ended(rows)


def wordy_png(*extras: bytes, size: tuple[int, int] = (64, 64)) -> bytes:
    """A sound little picture with these chunks before its pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (220, 30, 30)).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + b"".join(extras) + data[33:]


def packed_text(keyword: bytes, size: int) -> bytes:
    """Of `size` when it is unpacked, and of a thousandth of that in the file."""
    return chunk(b"iTXt", keyword + b"\0\1\0\0\0" + zlib.compress(b"{" * size))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _ended(rows: bytes) -> bytes:
    return chunk(b"IDAT", rows) + chunk(b"IEND", b"")
