"""The TIFF block: what is refused in it, and that hostile ones neither hang nor harm."""

from __future__ import annotations

import struct
import time

import pytest

from captiond.metadata import tiff, tiff_patch
from captiond.metadata.refusal import Refused

from .independent import tiff_tags, without_description
from .making import Tag, ascii, block, camera_block, directory, header, long, short

TEXT = b"Two dogs\0"


def described(data: bytes, text: bytes = TEXT) -> bytes:
    old = tiff.parse(data)
    new = tiff_patch.describe(old, text)
    tiff_patch.prove(old, new, text)
    return new


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tags", [[271], [269], [], [254, 256, 305, 33432], [305, 256]], ids=str)
def test_the_tag_takes_its_sorted_place(order: str, tags: list[int]) -> None:
    """The new tag stands before the first higher one: TIFF 6.0 wants them in ascending order."""
    new = described(block(order, [short(order, tag, 1) for tag in tags]))
    (at,) = struct.unpack_from(order + "I", new, 4)
    (count,) = struct.unpack_from(order + "H", new, at)
    found = [struct.unpack_from(order + "H", new, at + 2 + 12 * place)[0] for place in range(count)]
    place = found.index(270)
    assert found[:place] + found[place + 1 :] == tags
    assert all(tag < 270 for tag in tags[:place])
    assert place == len(tags) or tags[place] > 270


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("description", [None, b"", b"x", b"a longer one"])
def test_what_is_new_begins_at_an_even_offset(order: str, padding: int, description: bytes | None) -> None:
    """IFDs and values begin on a word boundary, however long the block was."""
    old = camera_block(order, description, padding=padding)
    new = described(old)
    assert new[: len(old)][8:12] == old[8:12] or description is not None
    (at,) = struct.unpack_from(order + "I", new, 4)
    assert at % 2 == 0
    assert without_description(new) == without_description(old)
    assert tiff_tags(new)["IFD0", 270] == (2, TEXT)
    assert new.index(TEXT) % 2 == 0


def test_other_types_of_text_become_ascii() -> None:
    """A description in BYTE, UNDEFINED or EXIF 3.0's UTF-8 is replaced by one in ASCII."""
    for kind in (1, 7, 129):
        new = described(block("<", [(270, kind, 6, b"words\0")]))
        assert tiff_tags(new)["IFD0", 270] == (2, TEXT)


BIG = (50_000, 7, 1 << 31, b"\0\0\0\0")
REFUSED: dict[str, bytes] = {
    "no header": b"",
    "half a header": b"II*\0\x08\0",
    "an IFD in the header": header("<", 4),
    "an IFD outside": header("<", 4000),
    "a truncated IFD": block("<", [short("<", 274, 1)])[:-1],
    "a count beyond the block": header("<") + b"\xff\xff" + bytes(100),
    "a value outside": block("<", [BIG]),
    "an unknown type": block(">", [(274, 14, 1, b"\0\1\0\0")]),
    "a type of BigTIFF": block("<", [(274, 16, 1, b"12345678")]),
    "two descriptions": block("<", [ascii(270, b"one"), ascii(270, b"two")]),
    "a description of numbers": block("<", [long("<", 270, 1, 2)]),
    "an IFD that is its own next": header("<") + directory("<", 8, [short("<", 274, 1)], 8),
    "an Exif IFD that is IFD0": block("<", [long("<", 34665, 8)]),
    "an Exif IFD outside": block("<", [long("<", 34665, 4000)]),
    "an Exif IFD in a wrong type": block("<", [ascii(34665, b"abcdefg")]),
    "a thumbnail outside": block("<", [long("<", 513, 8), long("<", 514, 4000)]),
    "a thumbnail without a length": block("<", [long("<", 513, 8)]),
    "strips without lengths": block("<", [long("<", 273, 8)]),
    "a thumbnail in two places": block("<", [long("<", 513, 4000), long("<", 513, 8), long("<", 514, 4)]),
    "old JPEG tables outside": block("<", [long("<", 519, 4000)]),
    "a value in the header": block("<", [(50_000, 7, 8, b"\0" * 4)])[:18] + struct.pack("<I", 2) + bytes(4),
    "a value in the entry of the description": block(
        "<", [ascii(270, b"abcdefg"), (271, 2, 8, b"abcdefg\0")]
    )[:30]
    + struct.pack("<I", 12)
    + bytes(24),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_block_that_is_not_sound_is_refused(data: bytes) -> None:
    """Whatever leads outside, in circles, to the same place, or nobody knows where, is refused."""
    with pytest.raises(Refused):
        described(data)


@pytest.mark.parametrize("order", "<>")
def test_a_loop_is_noticed_at_once(order: str) -> None:
    """IFDs that lead back to each other are refused for that, by whichever pointers."""
    chain = header(order) + directory(order, 8, [short(order, 274, 1)], 26) + directory(order, 26, [], 8)
    for data in (chain, block(order, [long(order, 34665, 8)]), block(order, [long(order, 330, 8)])):
        with pytest.raises(Refused, match="loop"):
            tiff.parse(data)


def test_a_next_pointer_that_nobody_follows_is_no_reason() -> None:
    """The Exif IFD has no next one: what stands there is not looked at."""
    tags: list[Tag] = [long("<", 34665, 26)]
    data = header("<") + directory("<", 8, tags) + directory("<", 26, [short("<", 40961, 1)], 0xDEADBEEF)
    assert tiff_tags(described(data))["IFD0", 270] == (2, TEXT)


def test_a_full_ifd_is_refused() -> None:
    """An IFD cannot count beyond 65,535 entries."""
    tags = [short("<", 271, 1)] * 65_535
    with pytest.raises(Refused, match="full"):
        described(block("<", tags))


def chained(count: int) -> bytes:
    """As many empty IFDs as there is room for, each the next of the one before."""
    links = (struct.pack("<HI", 0, 8 + 6 * (place + 1)) for place in range(count - 1))
    return header("<") + b"".join(links) + bytes(6)


def overlapping(count: int) -> bytes:
    """IFDs that all claim the same long array as their strips."""
    size = 100_000
    array_at = 8 + 30 * count
    parts = [header("<")]
    for place in range(count):
        following = 8 + 30 * (place + 1) if place < count - 1 else 0
        entries = struct.pack("<HHIIHHII", 273, 4, size, array_at, 279, 4, size, array_at)
        parts.append(struct.pack("<H", 2) + entries + struct.pack("<I", following))
    return b"".join(parts) + bytes(4 * size)


HOSTILE = {
    "a hundred thousand IFDs": chained(100_000),
    "ten thousand IFDs of the same strips": overlapping(10_000),
    "a thousand sub-IFDs, each with the others": header("<")
    + directory("<", 8, [long("<", 330, *[8] * 100_000)]),
    "a count of four thousand million": block("<", [(273, 4, 0xFFFFFFFF, b"\x08\0\0\0")]),
    "a count that BigTIFF allows": b"II+\0\x08\0\0\0"
    + struct.pack("<QQHHQQQ", 16, 1, 273, 16, 1 << 63, 16, 0),
    "entries that BigTIFF allows": b"II+\0\x08\0\0\0" + struct.pack("<QQQ", 16, 1 << 63, 0),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_blocks_do_not_hang(data: bytes) -> None:
    """The work is bounded by the size of the block, whatever it claims to hold."""
    begun = time.process_time()
    try:
        described(data)
    except Refused:
        pass
    assert time.process_time() - begun < 2


def damaged(data: bytes, at: int, byte: bytes) -> bytes:
    return data[:at] + byte + data[at + 1 :]


def test_the_proof_notices_every_changed_byte() -> None:
    """A byte that differs where nothing was to be changed fails the proof, wherever it is."""
    data = camera_block("<", b"SONY DSC", padding=1)
    assert len(data) % 2 == 0
    old, new = tiff.parse(data), described(data)
    start, end = old.patched
    for at in (*range(start), *range(end, len(new))):
        with pytest.raises(Refused):
            tiff_patch.prove(old, damaged(new, at, bytes((new[at] ^ 0x55,))), TEXT)
    with pytest.raises(Refused):
        tiff_patch.prove(old, new[:-1], TEXT)
    with pytest.raises(Refused):
        tiff_patch.prove(None, new, TEXT)
