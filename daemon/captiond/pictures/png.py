"""A PNG without the chunks that no pixel depends on.  Pure: bytes in, bytes out.

Programs that make pictures put whole workflows into text chunks, and Pillow reads nothing of a picture whose
texts or colour profile unpack to more than it allows.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator

Content = bytes | mmap.mmap  # of a file

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_TEXT = 1 << 20  # bytes that Pillow unpacks; no kept chunk is larger

# Chunks that say how to show the pixels, or how to turn them upright.
_KEPT = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"eXIf"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_KEPT_TEXTS = frozenset({b"XML:com.adobe.xmp", b"Raw profile type exif"})  # orientations stand in these


def without_extras(data: Content) -> Content | bytes:
    """The same picture without those chunks; the very same bytes if there is nothing to leave out."""
    view, parts, kept_from = memoryview(data), [], 0
    for start, end, kind in _chunks(data):
        if _is_extra(kind, data, start + 8, end - 4):
            parts.append(view[kept_from:start])
            kept_from = end
    return b"".join([*parts, view[kept_from:]]) if parts else data


def _chunks(data: Content) -> Iterator[tuple[int, int, bytes]]:
    """Start, end and kind of each chunk, up to the first that does not lie within the file."""
    start = len(SIGNATURE)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            return
        yield start, end, kind
        if kind == b"IEND":
            return
        start = end


def _is_extra(kind: bytes, data: Content, start: int, end: int) -> bool:
    is_critical = not kind[0] & 0x20
    if is_critical or kind in _KEPT:
        return False
    if kind == b"iCCP" or (kind in _TEXTS and data[start : start + 80].split(b"\0")[0] in _KEPT_TEXTS):
        return end - start > LARGEST_TEXT or _unpacks_to_more(kind, data[start:end])
    return True


def _unpacks_to_more(kind: bytes, content: bytes) -> bool:
    """Whether a chunk's compressed content is larger than Pillow takes, or cannot be unpacked."""
    after = content.partition(b"\0")[2]
    if kind == b"tEXt":
        return False
    if kind == b"iTXt":
        is_packed, after = after[:1] == b"\1", after[2:]
        if not is_packed:
            return False
        packed = after.split(b"\0", 2)[-1]
    elif after[:1] != b"\0":
        return True  # an unknown compression method: Pillow would stop reading the file here
    else:
        packed = after[1:]
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, LARGEST_TEXT)
    except zlib.error:
        return True  # damaged: Pillow would stop reading the file here
    return bool(unpacking.unconsumed_tail)
