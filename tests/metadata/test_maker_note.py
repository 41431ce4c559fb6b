"""MakerNotes, whose offsets only their makers know: what is not to be led astray by a longer block."""

from __future__ import annotations

import struct

import pytest

from captiond.metadata import maker_note, tiff

from . import asking, making
from .making import camera_block, exif_segment, with_segments

PLAIN = making.saved("JPEG")


def note(order: str, offset: int, prefix: bytes = b"") -> bytes:
    """A MakerNote with an IFD of four entries, of which one has a value of 20 bytes at an offset."""
    entries = [struct.pack(order + "HHII", tag, 3, 1, 0) for tag in (1, 2, 3)]
    entries.append(struct.pack(order + "HHII", 4, 2, 20, offset))
    return prefix + struct.pack(order + "H", 4) + b"".join(entries) + bytes(4) + b"the maker's own words"


def block_with(order: str, offset: int, prefix: bytes = b"") -> bytes:
    return camera_block(order, note=note(order, offset, prefix))


def length_of(order: str, prefix: bytes) -> int:
    return len(block_with(order, 0, prefix))


each_layout = pytest.mark.parametrize("prefix", [b"", b"ACME\0\1", b"ACME CAMERA\0"], ids=["bare", "6", "12"])
each_order = pytest.mark.parametrize("order", "<>")


@each_layout
@each_order
def test_a_value_behind_the_block_is_a_reason(order: str, prefix: bytes) -> None:
    """Where a broken MakerNote leads behind the EXIF, the caption would be taken for its value."""
    size = length_of(order, prefix)
    for offset in (size - 10, size, size + 10):
        block = block_with(order, offset, prefix)
        data = with_segments(PLAIN, exif_segment(block))
        assert "MakerNote" in asking.refused(data, "JPEG")


@each_layout
@each_order
def test_a_value_inside_is_none(order: str, prefix: bytes) -> None:
    """Offsets that stay inside, from whatever base, are no reason, nor are those far away."""
    size = length_of(order, prefix)
    for offset in (0, len(prefix) + 54, 200, size - 20, size + 100_000):
        asking.written(with_segments(PLAIN, exif_segment(block_with(order, offset, prefix))), "JPEG")


@each_order
def test_a_note_of_no_known_layout_is_none(order: str) -> None:
    """Bytes that look like no IFD lead nowhere."""
    for note in (b"\xff" * 40, b"ACME", bytes(5), bytes(range(256))):
        block = tiff.parse(camera_block(order, note=note))
        assert not maker_note.leads_into(block, len(block.data) + 1000)
        assert not maker_note.has_preview(block, block.data, 0, len(block.data))


def test_many_bases_cost_little() -> None:
    """A note that is full of TIFF headers is not counted from all of them."""
    block = camera_block("<", note=b"II*\0" * 15_000)
    asking.written(with_segments(PLAIN, exif_segment(block)) + making.thumbnail(), "JPEG")
