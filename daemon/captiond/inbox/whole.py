"""Is the container whole?  Told by content, not by name, from a few blocks of an open file.

Reads the head, the tail and what lies on the way through the container's structure; never the whole of
a large file.  A good picture must never fail here: what is not certainly cut short is, after a while,
left to the decoder, and so is content that none of this knows.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import NamedTuple

_WINDOW = 64 * 1024
_ZEROS = 4096
_GIF_BUDGET = 4 * 1024 * 1024
_MANY = 100_000
_SHORTEST = 26  # bytes; no picture is smaller (BMP's headers)


class Lack(NamedTuple):
    """What is missing; uncertain where the picture may be good all the same."""

    reason: str
    certain: bool = True


class _Cut(Exception):
    """The structure points beyond the end of the file."""


def find_lack(descriptor: int, size: int) -> Lack | None:
    """What the file lacks to be whole; None if nothing, or if its content is not known here."""
    if size == 0:
        return Lack("it is empty")
    if size < _SHORTEST:
        return Lack(f"{size} bytes are too few for any picture")
    file = _File(descriptor, size)
    head = file.read(0, min(size, _ZEROS))
    if not head.strip(b"\0"):
        return Lack("it begins with zeros where its data is still to come")
    for name, is_this, check in _FORMATS:
        if is_this(head):
            try:
                return check(file)
            except _Cut:
                return Lack(f"{name} data is cut short")
    return None


class _File:
    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`."""
        return os.pread(self._descriptor, count, offset)

    def exactly(self, offset: int, count: int) -> bytes:
        if offset + count > self.size:
            raise _Cut
        data = self.read(offset, count)
        if len(data) < count:
            raise _Cut
        return data

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack(layout, self.exactly(offset, struct.calcsize(layout)))

    def is_zero_before(self, end: int) -> bool:
        """Whether the last block before `end` was never written, by its look."""
        return end >= 4 * _ZEROS and not self.read(end - _ZEROS, _ZEROS).strip(b"\0")

    def end_without_zeros(self) -> int:
        """Where the zeros begin that the file ends in, found without reading all of them."""
        known_data, step = self.size, _ZEROS
        zeros_from = self.size
        while known_data > 0:
            start = max(zeros_from - step, 0)
            block = self.read(start, min(step, _WINDOW, zeros_from - start))
            data = block.rstrip(b"\0")
            if data:
                known_data = start + len(data)
                break
            zeros_from, known_data, step = start, start, step * 2
        return self._last_data(known_data, zeros_from)

    def _last_data(self, low: int, high: int) -> int:
        """Halves the gap between data that ends at `low` and zeros that begin at `high`."""
        while high - low > _WINDOW:
            middle = (low + high) // 2
            data = self.read(middle, _ZEROS).rstrip(b"\0")
            if data:
                low = middle + len(data)
            else:
                high = middle
        return low + len(self.read(low, high - low).rstrip(b"\0"))


def _jpeg(file: _File) -> Lack | None:
    """Its end marker, EOI, must follow its scan.  Padding, a film or another JPEG may follow EOI."""
    scan = _jpeg_scan(file)
    if scan is None:
        return None
    end = file.end_without_zeros()
    start = max(scan, end - _WINDOW)
    window = file.read(start, end - start) if end > start else b""
    if b"\xff\xd9" in window:
        return None
    if start == scan or _looks_like_scan(window):
        return Lack("JPEG data without its end marker")
    return None


def _jpeg_scan(file: _File) -> int | None:
    """Where the first scan begins, behind the headers, whose thumbnails have end markers of their own."""
    position = 2
    for _ in range(_MANY):
        mark, code = file.exactly(position, 2)
        if mark == code == 0 and file.end_without_zeros() <= position:
            raise _Cut  # made as long as it will be, and not filled further than to here
        if mark != 0xFF or code == 0xD9:
            return None
        if code == 0xFF:
            position += 1
        elif code == 0x01 or 0xD0 <= code <= 0xD8:
            position += 2
        else:
            (length,) = file.unpack(">H", position + 2)
            position += 2 + length
            if position > file.size:
                raise _Cut
            if code == 0xDA:
                return position
    return None


# Tables (Huffman, quantization, arithmetic), the next scan, restart interval, line count, comment.
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, 0xCC, 0xDA, 0xDD, 0xDC, 0xFE})


def _looks_like_scan(window: bytes) -> bool:
    """Whether this can be the middle of a JPEG's picture data, where FF never stands alone.

    Any other data of this size has an FF followed by something else, or hardly any FF.
    """
    seen = 0
    position = window.find(b"\xff")
    while 0 <= position < len(window) - 1:
        code = window[position + 1]
        if code == 0 or 0xD0 <= code <= 0xD7:
            seen += 1
            position += 2
        elif code == 0xFF:
            position += 1
        elif code in _BETWEEN_SCANS:
            position += 2 + int.from_bytes(window[position + 2 : position + 4], "big")
        else:
            return False
        position = window.find(b"\xff", position)
    return seen >= 8


def _png(file: _File) -> Lack | None:
    """Its chunks must lead to IEND."""
    if file.read(file.size - 8, 4) == b"IEND":
        return None
    position = 8
    for _ in range(_MANY):
        length, kind = struct.unpack(">I4s", file.exactly(position, 8))
        if not kind.isalpha():
            return Lack("PNG data ends in zeros", certain=False) if kind == bytes(4) else None
        position += 12 + length
        if position > file.size:
            raise _Cut
        if kind == b"IEND":
            return None
    return None


def _webp(file: _File) -> Lack | None:
    """It must be as long as it says."""
    (length,) = file.unpack("<I", 4)
    if length == 0:
        return Lack("WebP data whose length is not written yet")
    if 8 + length > file.size:
        raise _Cut
    if file.is_zero_before(8 + length):
        return Lack("WebP data ends in zeros", certain=False)
    return None


# Only the widths matter: a fraction is read as one number of the same length.
_TIFF_TYPES = dict(enumerate("BBHIQBBHIQIQI", start=1)) | {16: "Q", 17: "Q", 18: "Q"}
# Strips, tiles, old-style JPEG data: the tag of the offsets and the tag of the lengths.
_TIFF_DATA = ((273, 279), (324, 325), (513, 514))
_TIFF_WANTED = frozenset(tag for pair in _TIFF_DATA for tag in pair)


def _tiff(file: _File) -> Lack | None:
    """Every directory in the chain, and what it points to, must lie within the file."""
    order = "<" if file.read(0, 2) == b"II" else ">"
    is_big = file.unpack(order + "H", 2) == (43,)
    (offset,) = file.unpack(order + "Q", 8) if is_big else file.unpack(order + "I", 4)
    if offset == 0:
        return Lack("TIFF data whose directory is not written yet")
    visited: set[int] = set()
    overhangs = False
    while offset and offset not in visited and len(visited) < 1000:
        visited.add(offset)
        directory = _TiffDirectory(file, offset, order, is_big=is_big)
        overhangs |= directory.overhangs()
        offset = directory.following
    # Some programs give the last strip the length of a full one, or leave a tag without its value; decoders
    # do not mind.
    return Lack("TIFF data is cut short", certain=False) if overhangs else None


class _TiffDirectory:
    def __init__(self, file: _File, offset: int, order: str, *, is_big: bool) -> None:
        self._file = file
        self._order = order
        self._word = order + ("Q" if is_big else "I")
        self._inline = struct.calcsize(self._word)
        counter, self._entry_size = (order + "Q", 20) if is_big else (order + "H", 12)
        (count,) = file.unpack(counter, offset)
        if count > _MANY:
            raise _Cut
        self._table_at = offset + struct.calcsize(counter)
        self._table = file.exactly(self._table_at, count * self._entry_size)
        (self.following,) = file.unpack(self._word, self._table_at + len(self._table))

    def overhangs(self) -> bool:
        """Whether something reaches beyond the end of the file; that begins behind it is certainly cut."""
        arrays: dict[int, tuple[int, ...]] = {}
        overhangs = False
        for at in range(0, len(self._table), self._entry_size):
            tag, kind = struct.unpack_from(self._order + "HH", self._table, at)
            (count,) = struct.unpack_from(self._word, self._table, at + 4)
            width = struct.calcsize(_TIFF_TYPES.get(kind, ""))
            value_at = self._table_at + at + 4 + self._inline
            if count * width > self._inline:
                (value_at,) = struct.unpack_from(self._word, self._table, at + 4 + self._inline)
                overhangs |= value_at + count * width > self._file.size
            if tag in _TIFF_WANTED and width > 1 and count <= 10 * _MANY:
                arrays[tag] = self._file.unpack(f"{self._order}{count}{_TIFF_TYPES[kind]}", value_at)
        return overhangs or any(
            self._data_overhangs(arrays.get(offsets, ()), arrays.get(lengths, ()))
            for offsets, lengths in _TIFF_DATA
        )

    def _data_overhangs(self, offsets: tuple[int, ...], lengths: tuple[int, ...]) -> bool:
        size = self._file.size
        if any(offset >= size for offset in offsets):
            raise _Cut
        return any(offset + length > size for offset, length in zip(offsets, lengths, strict=False))


def _isobmff(file: _File) -> Lack | None:
    """HEIF and AVIF: boxes must lie within the file, with a `meta` and the data it speaks of among them."""
    position, described, has_data, last = 0, False, False, b""
    for _ in range(_MANY):
        if position + 8 > file.size:
            break
        length, kind = struct.unpack(">I4s", file.exactly(position, 8))
        if not kind.isascii() or not kind.isalnum():
            # Not a box.  Some phones append data of their own, without a box around it.
            break
        if length == 1:
            (length,) = file.unpack(">Q", position + 8)
        elif length == 0:
            length = file.size - position
        described |= kind in (b"meta", b"moov")
        has_data |= kind == b"mdat" or (kind == b"meta" and _has_inner_data(file, position, length))
        position += max(length, 8)
        last = kind
        if position > file.size:
            # A cut-off extra behind a complete picture may be an appendix that only looks like a box.
            appendix = described and has_data and kind not in (b"mdat", b"meta", b"moov")
            return Lack("HEIF data is cut short", certain=not appendix)
    if not described or not has_data:
        return Lack("HEIF data without its picture")
    if last == b"mdat" and file.is_zero_before(position):
        return Lack("HEIF data ends in zeros", certain=False)
    return None


def _has_inner_data(file: _File, start: int, length: int) -> bool:
    """Whether this `meta` box carries the data itself, in an `idat` box."""
    position, end = start + 12, min(start + length, file.size)
    for _ in range(1000):
        if position + 8 > end:
            return False
        inner, kind = struct.unpack(">I4s", file.exactly(position, 8))
        if kind == b"idat":
            return True
        position += max(inner, 8)
    return False


def _gif(file: _File) -> Lack | None:
    """Its blocks must lead to the trailer."""
    data = file.read(0, _GIF_BUDGET)
    if file.size > len(data):
        end = file.end_without_zeros()
        # A block's end, then the trailer.
        return (
            None if file.read(end - 2, 2) == b"\0;" else Lack("GIF data without its trailer", certain=False)
        )
    position = 13 + _gif_colors(data[10])
    while position < len(data):
        kind = data[position]
        if kind == 0x3B:
            return None
        if kind == 0x21:
            position = _gif_skip(data, position + 2)
        elif kind == 0x2C:
            if position + 10 > len(data):
                raise _Cut
            position = _gif_skip(data, position + 11 + _gif_colors(data[position + 9]))
        else:
            return Lack("GIF data ends in zeros", certain=False) if kind == 0 else None
    if position > len(data):
        raise _Cut
    # Every block is complete, and decoders get by without a trailer.
    return Lack("GIF data without its trailer", certain=False)


def _gif_colors(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_skip(data: bytes, position: int) -> int:
    """Behind the sub-blocks that begin at `position`."""
    while True:
        if position >= len(data):
            raise _Cut
        length = data[position]
        position += 1 + length
        if length == 0:
            return position


def _bmp(file: _File) -> Lack | None:
    """Its rows must lie within the file; the length it says it has is often wrong."""
    (pixels_at,) = file.unpack("<I", 10)
    return _dib(file, 14, pixels_at)


def _bare_dib(file: _File) -> Lack | None:
    header, bits, colors = *file.unpack("<I", 0), *file.unpack("<H", 14), *file.unpack("<I", 32)
    palette = 4 * (colors or 1 << bits) if bits <= 8 else 4 * colors
    return _dib(file, 0, header + palette)


def _dib(file: _File, header_at: int, pixels_at: int) -> Lack | None:
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
        raise _Cut
    return None


def _is_bare_dib(head: bytes) -> bool:
    header, planes, bits = struct.unpack_from("<I8xHH", head)
    return header in (40, 108, 124) and planes == 1 and bits in (1, 4, 8, 16, 24, 32)


_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[_File], Lack | None]], ...] = (
    ("JPEG", lambda head: head.startswith(b"\xff\xd8\xff"), _jpeg),
    ("PNG", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("WebP", lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP", _webp),
    ("TIFF", lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    ("HEIF", lambda head: head[4:8] == b"ftyp", _isobmff),
    ("GIF", lambda head: head[:6] in (b"GIF87a", b"GIF89a"), _gif),
    ("BMP", lambda head: head.startswith(b"BM"), _bmp),
    ("DIB", _is_bare_dib, _bare_dib),
)
