"""One text in a TIFF block: laid in without moving a byte, and proved to be the only change.

MakerNotes hold undocumented offsets from the start of the block.  So new bytes go to the end of the block,
and one entry or one pointer is patched to lead there.  The text is the value of the tag that the block was
read for: a description, or an XMP packet.
"""

from __future__ import annotations

from . import second_reader
from .refusal import Refused, is_same
from .tiff import BIG_ENDIAN, IMAGE_DESCRIPTION, Block, Entry, Fields, parse

_BYTE, _ASCII = 1, 2  # TIFF 6.0, section 2
_MOST_ENTRIES = 65_535


def fresh(text: bytes, tag: int = IMAGE_DESCRIPTION) -> bytes:
    """A block of one IFD that holds the text and nothing else."""
    fields = BIG_ENDIAN
    at, size = 8, fields.number.size + fields.entry.size + fields.offset.size
    entry, tail = _entry(fields, tag, text, at + size)
    none = fields.offset.pack(0)
    return b"".join((b"MM\0*", fields.offset.pack(at), fields.number.pack(1), entry, none, tail))


def describe(block: Block, text: bytes) -> bytes:
    """The block with `text` as its description, NUL included, or XMP: one patch, and bytes appended."""
    data, fields = block.data, block.fields
    start, end = block.patched
    padding = bytes(len(data) % 2)  # TIFF 6.0, section 2: IFDs and values begin on a word boundary
    at = len(data) + len(padding)
    if at + fields.entry.size * (len(block.first.entries) + 2) + len(text) >= 1 << 8 * fields.offset.size:
        raise Refused("its offsets cannot count any further")
    if start == fields.pointer_at:
        patch, tail = fields.offset.pack(at), _first_with(block, text, at)
    else:
        patch, tail = _entry(fields, block.tag, text, at)
    whole = memoryview(data)
    return b"".join((whole[:start], patch, whole[end:], padding if tail else b"", tail))


def _first_with(block: Block, text: bytes, at: int) -> bytes:
    """A copy of IFD0 to stand at `at`, with the new entry in its place among the sorted tags."""
    fields, first = block.fields, block.first
    if len(first.entries) >= _MOST_ENTRIES:
        raise Refused("its IFD0 is full")
    entries = [fields.entry.pack(*entry) for entry in first.entries]
    size = fields.number.size + (len(entries) + 1) * fields.entry.size + fields.offset.size
    entry, tail = _entry(fields, block.tag, text, at + size)
    place = next((i for i, other in enumerate(first.entries) if other.tag > block.tag), len(entries))
    entries.insert(place, entry)
    return b"".join((fields.number.pack(len(entries)), *entries, fields.offset.pack(first.next), tail))


def _entry(fields: Fields, tag: int, text: bytes, at: int) -> tuple[bytes, bytes]:
    """The entry of the text, and the bytes that go to `at` if the entry cannot hold them itself."""
    room, kind = fields.room(), _ASCII if tag == IMAGE_DESCRIPTION else _BYTE
    if len(text) <= room:
        return fields.entry.pack(tag, kind, len(text), text.ljust(room, b"\0")), b""
    return fields.entry.pack(tag, kind, len(text), fields.offset.pack(at)), text


def prove(old: Block | None, data: bytes, text: bytes, tag: int = IMAGE_DESCRIPTION) -> None:
    """Refuse `data` unless it is the old block, byte for byte, but for the text of its tag.

    Both this room's parser and another one must see it so.
    """
    new = parse(data, old.tag if old else tag)
    if new.description() != text:
        raise Refused("the caption does not read back")
    if old is None:
        if len(new.directories) != 1 or len(new.first.entries) != 1 or new.first.next:
            raise Refused("the new EXIF holds more than the caption")
        second_reader.must_agree(None, new)
        return
    start, end = old.patched
    if not (is_same(old.data, 0, start, data, 0) and is_same(old.data, end, len(old.data), data, end)):
        raise Refused("the EXIF that was there would change")
    if new.directories[1:] != old.directories[1:] or _others(new) != _others(old):
        raise Refused("the tags that were there would change")
    second_reader.must_agree(old, new)


def _others(block: Block) -> tuple[tuple[Entry, ...], int]:
    return tuple(entry for entry in block.first.entries if entry.tag != block.tag), block.first.next
