"""HEIF and AVIF: boxes must lie within the file, with a `meta` and the data it speaks of among them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from captiond.inbox.whole.reading import File, Lack

_SHORTEST = 8  # bytes; what claims less is taken for a bare header


class Box(NamedTuple):
    kind: bytes
    start: int
    end: int


def boxes(file: File, position: int, end: int) -> Iterator[Box]:
    """The boxes from `position` on, the last of which may reach beyond `end`; ends at what is no box."""
    while position + _SHORTEST <= end:
        length, kind = struct.unpack(">I4s", file.exactly(position, _SHORTEST))
        if not kind.isascii() or not kind.isalnum():
            return  # some phones append data of their own, without a box around it
        if length == 1:
            (length,) = file.unpack(">Q", position + _SHORTEST)
        elif length == 0:
            length = end - position
        box = Box(kind, position, position + max(length, _SHORTEST))
        yield box
        position = box.end


def check(file: File) -> Lack | None:
    described, has_data, last = False, False, Box(b"", 0, 0)
    for last in boxes(file, 0, file.size):
        described |= last.kind in (b"meta", b"moov")
        has_data |= last.kind == b"mdat" or (last.kind == b"meta" and _has_inner_data(file, last))
        if last.end > file.size:
            # A cut-off extra behind a complete picture may be an appendix that only looks like a box.
            appendix = described and has_data and last.kind not in (b"mdat", b"meta", b"moov")
            return Lack("HEIF data is cut short", certain=not appendix)
    if not described or not has_data:
        # Canon's RAW may be cut down to its previews.
        return Lack("HEIF data without its picture", certain=file.read(8, 4) != b"crx ")
    if last.kind == b"mdat" and file.is_zero_before(last.end):
        return Lack("HEIF data ends in zeros", certain=False)
    return None


def _has_inner_data(file: File, meta: Box) -> bool:
    """Whether this `meta` box carries the data itself, in an `idat` box."""
    inner = boxes(file, meta.start + 12, min(meta.end, file.size))
    return any(box.kind == b"idat" for box in inner)
