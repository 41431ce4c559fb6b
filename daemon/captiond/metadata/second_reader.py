"""A reader that is not ours must see in a new block what it saw in the old one, except for one tag.

A proof by the parser that wrote proves a misunderstanding, too.  piexif has a vote, not the last word: it has
none on a block that it cannot read, or would read at length.  Its writer is never used (it moves bytes that
MakerNotes point to).
"""

from __future__ import annotations

from typing import Any

import piexif

from .refusal import MISTAKES, Refused
from .tiff import Block

_HEADER = b"Exif\0\0"  # bytes without it are opened as the name of a file
_CLASSIC = 4  # bytes of an offset; piexif knows no BigTIFF

# piexif makes a tuple of each array and a copy of each text, however many of them share the same bytes.
_MOST_BYTES = 1 << 22
_MOST_VALUES = 1 << 14
_COPIED = frozenset({2, 7})  # ASCII, UNDEFINED

_IFD0 = "0th"


def must_agree(old: Block | None, new: Block) -> None:
    """Raises: Refused, if the second reader sees more change than the tag, or another value of the tag."""
    if not (_is_readable(new) and (old is None or _is_readable(old))):
        return
    before = _read(old.data) if old else _NOTHING
    if before is None:
        return
    after = _read(new.data)
    if after is None:
        raise Refused("a second reader cannot read the new EXIF")
    if after[_IFD0].get(new.tag) != _as_read(new):
        raise Refused("a second reader does not find the text in the new EXIF")
    if _but(before, new.tag) != _but(after, new.tag):
        raise Refused("a second reader sees other tags change")


_NOTHING: dict[str, Any] = {_IFD0: {}, "Exif": {}, "GPS": {}, "Interop": {}, "1st": {}, "thumbnail": None}


def _read(block: bytes) -> dict[str, Any] | None:
    """The tags by directory; None if piexif cannot read them."""
    try:
        tags: dict[str, Any] = piexif.load(_HEADER + block)
    except (
        MISTAKES
    ):  # what it raises over bytes that it does not foresee; InvalidImageDataError is one of them
        return None
    return tags


def _is_readable(block: Block) -> bool:
    """Is it of the kind that piexif knows, and small enough for the way piexif reads?"""
    if block.fields.room() != _CLASSIC or len(block.data) > _MOST_BYTES:
        return False
    entries = [entry for directory in block.directories for entry in directory.entries]
    texts = sum(entry.units for entry in entries if entry.type in _COPIED)
    values = sum(entry.units for entry in entries if entry.type not in _COPIED and entry.tag != block.tag)
    return texts <= _MOST_BYTES and values <= _MOST_VALUES


def _as_read(block: Block) -> object:
    """The value of the tag as piexif hands it out: a text without its last byte, the NUL; else numbers."""
    entry = next(entry for entry in block.first.entries if entry.tag == block.tag)
    value = block.value(entry)
    if entry.type in _COPIED:
        return value[:-1]
    return tuple(value) if len(value) != 1 else value[0]


def _but(tags: dict[str, Any], tag: int) -> dict[str, Any]:
    return {**tags, _IFD0: {one: value for one, value in tags[_IFD0].items() if one != tag}}
