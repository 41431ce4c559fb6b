"""What begins behind a JPEG's picture without a promise in its headers, and tells its own length.

Samsung's phones append blocks and, at the very end, a directory of them (SEF); others append a film.
"""

from __future__ import annotations

import re

from captiond.inbox.whole.boxes import boxes
from captiond.inbox.whole.reading import File, Lack

# Two zeros, the kind, the length of its name, its name.
_SEF_BLOCK = re.compile(rb"\0\0..([\x01-\x40])\0\0\0([A-Za-z][A-Za-z0-9_]*)", re.DOTALL)
_LONGEST_BLOCK_HEADER = 8 + 64
# Other words may be data that only looks like a box.
_FILM = frozenset({b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"uuid", b"meta", b"udta"})


def find_lack(file: File, eoi: int, end: int) -> Lack | None:
    """What is missing of what begins where the picture ends, if it is known; `end`: where its data ends."""
    head = file.read(eoi, _LONGEST_BLOCK_HEADER)
    if head[4:8] == b"ftyp":
        return _film(file, eoi)
    block = _SEF_BLOCK.match(head)
    if block is not None and len(block[2]) >= block[1][0]:
        return _samsung(file, end)
    return None


def _film(file: File, start: int) -> Lack | None:
    for box in boxes(file, start, file.size):
        if box.kind != b"ftyp" and box.kind not in _FILM:
            return None
        if box.end > file.size:
            return Lack("the film behind the picture is cut short", certain=False)
    return None


def _samsung(file: File, end: int) -> Lack | None:
    """The directory, SEFH, must be as far before the end as the end itself, SEFT, says."""
    tail = file.read(max(end - 8, 0), 8)
    if tail[4:] == b"SEFT":
        at = end - 8 - int.from_bytes(tail[:4], "little")
        if at >= 0 and file.read(at, 4) == b"SEFH":
            return None
    return Lack("what Samsung's camera puts behind the picture is cut short", certain=False)
