"""GIF: its blocks must lead to the trailer."""

from __future__ import annotations

from captiond.inbox.whole.reading import Cut, File, Lack, TooComplex

_LONGEST_WALK = 4 * 1024 * 1024  # bytes; of longer ones the end is looked at
_STEPS_PER_BLOCK = 4


def check(file: File) -> Lack | None:
    if file.size <= _LONGEST_WALK:
        try:
            return _walk(file, file.read(0, _LONGEST_WALK))
        except TooComplex:
            pass  # its end tells, as of a long one
    end = file.end_without_zeros()
    # A block's end, then the trailer.
    is_whole = file.read(max(end - 2, 0), 2) == b"\0;"
    return None if is_whole else Lack("GIF data without its trailer", certain=False)


def _walk(file: File, data: bytes) -> Lack | None:
    if len(data) < 13:
        raise Cut
    position = 13 + _colors(data[10])
    while position < len(data):
        kind = data[position]
        if kind == 0x3B:
            return None
        if kind == 0x21:
            position = _skip(file, data, position + 2)
        elif kind == 0x2C:
            if position + 10 > len(data):
                raise Cut
            position = _skip(file, data, position + 11 + _colors(data[position + 9]))
        else:
            return Lack("GIF data ends in zeros", certain=False) if kind == 0 else None
    if position > len(data):
        raise Cut
    # Every block is complete, and decoders get by without a trailer.
    return Lack("GIF data without its trailer", certain=False)


def _colors(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip(file: File, data: bytes, position: int) -> int:
    """Behind the sub-blocks that begin at `position`."""
    while True:
        file.step(_STEPS_PER_BLOCK)
        if position >= len(data):
            raise Cut
        length = data[position]
        position += 1 + length
        if length == 0:
            return position
