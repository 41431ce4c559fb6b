"""The second reader: what it vetoes, what it has no vote about, and that no block makes it slow."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from contextlib import suppress

import pytest

from captiond.metadata import second_reader, tiff, tiff_patch
from captiond.metadata.refusal import Refused

from .fuzz import damaged
from .making import Tag, ascii, block, camera_block, directory, header, short

TEXT = b"Two dogs\0"


def patched(data: bytes, text: bytes = TEXT) -> tuple[tiff.Block, bytes]:
    old = tiff.parse(data)
    return old, tiff_patch.describe(old, text)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("description", [None, b"", b"An older one"])
def test_it_agrees_to_what_the_writer_does(order: str, description: bytes | None) -> None:
    """A camera's block with a new text is the same to both readers, and so is a block that is all new."""
    old, new = patched(camera_block(order, description))
    second_reader.must_agree(old, tiff.parse(new))
    second_reader.must_agree(None, tiff.parse(tiff_patch.fresh(TEXT)))


@pytest.mark.parametrize(
    ("there", "instead"),
    [(b"ACME\0", b"ACMF\0"), (b"2024:05:06", b"2025:05:06"), (b"R98", b"R03"), (b"\xff\xd8", b"\xff\xd9")],
    ids=["IFD0", "Exif", "Interop", "thumbnail"],
)
def test_another_change_is_refused(there: bytes, instead: bytes) -> None:
    """If it sees anything else change, in whichever directory, the block is not published."""
    old, new = patched(camera_block("<"))
    with pytest.raises(Refused, match="second reader sees other tags"):
        second_reader.must_agree(old, tiff.parse(new.replace(there, instead)))


def test_the_proof_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No block passes the proof against its vote: here it reads all blocks as if they said nothing."""
    monkeypatch.setattr("piexif.load", lambda _: {"0th": {}})
    old, new = patched(camera_block("<"))
    with pytest.raises(Refused, match="does not find the text"):
        tiff_patch.prove(old, new, TEXT)
    with pytest.raises(Refused, match="does not find the text"):
        tiff_patch.prove(None, tiff_patch.fresh(TEXT), TEXT)


def test_a_block_that_became_unreadable_is_refused() -> None:
    """Where it could read the old block, it must be able to read the new one."""
    old = tiff.parse(block("<", [ascii(315, b"Anna")]))
    unreadable = tiff.parse(block("<", [ascii(270, TEXT[:-1]), (315, 129, 5, b"Anna\0")]))
    with pytest.raises(Refused, match="cannot read"):
        second_reader.must_agree(old, unreadable)


def test_it_has_no_vote_about_what_it_cannot_read() -> None:
    """A block with a type of EXIF 3.0 is unknown to it, as is a BigTIFF: neither is refused for that."""
    old, new = patched(block("<", [(315, 129, 5, b"Anna\0")]))
    tiff_patch.prove(old, new, TEXT)
    entry = struct.pack("<HHQ8s", 315, 2, 5, b"Anna\0\0\0\0")
    big = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + entry + bytes(8)
    old, new = patched(big)
    tiff_patch.prove(old, new, TEXT)


def test_it_is_never_given_the_name_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a block begins with, piexif gets it behind a header, or it would open it as a file."""
    given: list[bytes] = []

    def load(data: bytes) -> dict[str, dict[int, bytes]]:
        given.append(data)
        return {"0th": {270: TEXT[:-1]}}

    monkeypatch.setattr("piexif.load", load)
    old, new = patched(camera_block(">"))
    second_reader.must_agree(old, tiff.parse(new))
    assert [data[:6] for data in given] == [b"Exif\0\0"] * 2


@pytest.mark.parametrize("kind", [2, 3, 7])
def test_arrays_that_share_their_bytes_cost_nothing(kind: int) -> None:
    """Thousands of entries that all hold the same 60,000 bytes are not copied thousands of times."""
    count = 4000
    at = 8 + 2 + 12 * count + 4
    units = 60_000 // tiff.SIZES[kind]
    entries = b"".join(struct.pack("<HHII", 33432 + n % 3, kind, units, at) for n in range(count))
    data = header("<") + struct.pack("<H", count) + entries + bytes(4) + bytes(60_000)
    old, new = patched(data)
    tracemalloc.start()
    start = time.perf_counter()
    second_reader.must_agree(old, tiff.parse(new))
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 2
    assert peak < 50_000_000


def test_damaged_blocks_cost_little() -> None:
    """Blocks damaged at random that the first parser accepts take milliseconds and hardly any memory."""
    draw = random.Random(7)
    tags: list[Tag] = [ascii(271, b"ACME"), short("<", 274, 6)]
    originals = [camera_block("<"), camera_block(">", b"Our dog"), header(">") + directory(">", 8, [])]
    originals += [block("<", tags)]
    slowest = voted = 0.0
    for number in range(2000):
        with suppress(Refused):
            old, new = patched(damaged(draw, originals[number % len(originals)]))
            start = time.perf_counter()
            tiff_patch.prove(old, new, TEXT)
            slowest = max(slowest, time.perf_counter() - start)
            voted += 1
    assert voted > 200
    assert slowest < 1
