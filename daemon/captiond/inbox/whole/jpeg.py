"""JPEG: its end marker, EOI, must follow its scan, and what its headers promise behind it must be there.

Padding, a film, gain maps or other JPEGs may follow EOI.
"""

from __future__ import annotations

import re

from captiond.inbox.whole import unpromised
from captiond.inbox.whole.promised import Headers
from captiond.inbox.whole.reading import BLOCK, WINDOW, Cut, File, Lack, TooComplex

_CHUNK = 1024 * 1024
_STEPS_PER_MARKER = 10
# What follows FF within a scan: a stuffed zero, a restart marker, or another FF.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
# Tables (Huffman, quantization, arithmetic), the next scan, restart interval, line count, comment.
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, 0xCC, 0xDA, 0xDD, 0xDC, 0xFE})
_EOI = b"\xff\xd9"


def check(file: File) -> Lack | None:
    headers = _read_headers(file)
    if headers is None:
        return None
    end = file.end_without_zeros()
    start = max(headers.scan_at, end - WINDOW)
    window = file.read(start, end - start) if end > start else b""
    if _EOI not in window and (start == headers.scan_at or _looks_like_scan(window)):
        return Lack("JPEG data without its end marker")
    if window.endswith(_EOI) and not headers.promises:
        return None
    return _behind_the_picture(file, headers, end)


def _read_headers(file: File, start: int = 0) -> Headers | None:
    """Up to where the first scan begins; the thumbnails in them have end markers of their own."""
    position = start + 2
    headers = Headers()
    while True:
        mark, code = file.exactly(position, 2)
        if mark == code == 0 and file.end_without_zeros() <= position:
            raise Cut  # made as long as it will be, and not filled further than to here
        if mark != 0xFF or code == 0xD9:
            return None
        if code == 0xFF:
            block = file.read(position, BLOCK)
            position += max(len(block) - len(block.lstrip(b"\xff")) - 1, 1)
        elif code == 0x01 or 0xD0 <= code <= 0xD8:
            position += 2
        else:
            (length,) = file.unpack(">H", position + 2)
            following = position + 2 + length
            if following > file.size:
                raise Cut
            if code == 0xDA:
                headers.scan_at = following
                return headers
            headers.note(file, code, position + 4, length - 2)
            position = following


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


def _behind_the_picture(file: File, headers: Headers, end: int) -> Lack | None:
    """What is missing behind the picture itself, which is whole."""
    try:
        if headers.promises and headers.look_kept(file, end):
            return None
        eoi = _end_of_scan(file, headers.scan_at)
        if eoi is None:
            return None
        return headers.broken(file, eoi, end) or unpromised.find_lack(file, eoi, end) or _second(file, eoi)
    except (Cut, TooComplex):
        return None  # of the picture itself nothing is missing


def _second(file: File, start: int) -> Lack | None:
    """A second JPEG that nothing promised, and that ends within its headers or its scan."""
    if file.read(start, 3) != b"\xff\xd8\xff":
        return None
    try:
        headers = _read_headers(file, start)
        if headers is not None:
            _end_of_scan(file, headers.scan_at)
    except Cut:
        return Lack("the second picture in this JPEG is cut short", certain=False)
    return None


def _end_of_scan(file: File, position: int) -> int | None:
    """Behind the EOI of the scan that begins at `position`; None if it is none.  Raises Cut without EOI."""
    base, data = position, b""
    while True:
        if position - base >= len(data) - 1:
            base, data = position, file.read(position, _CHUNK)
            if len(data) < 2:
                raise Cut
        found = _MARKER.search(data, position - base)
        if found is None:
            position = base + len(data) - 1  # it may be the first half of a marker
            continue
        file.step(_STEPS_PER_MARKER)
        position = base + found.start()
        code = data[found.start() + 1]
        if code == 0xD9:
            return position + 2
        if code not in _BETWEEN_SCANS:
            return None
        (length,) = file.unpack(">H", position + 2)
        position += 2 + length
