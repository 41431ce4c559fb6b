"""Damaged and hostile files: each gets either a caption that others find harmless, or back the same bytes."""

from __future__ import annotations

import io
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captiond.metadata import TARGET, tiff, tiff_patch
from captiond.metadata.refusal import Refused
from captiond.records import Written

from . import making
from .asking import describe
from .independent import is_exif, jpeg_parts, pillow_description, pixels, png_parts, tiff_tags, webp_parts
from .making import CAPTION, camera_block, directory, exif_segment, header
from .test_jpeg import JPEGS
from .test_png import PNGS
from .test_tiff_files import TIFFS
from .test_webp import WEBPS

BLOCKS = [camera_block(order, text) for order in "<>" for text in (None, b"SONY DSC")]


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes], reach: int = 1200) -> bytes:
    """One of the originals with some bytes changed, put in, removed or cut off, mostly near the beginning."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(reach, len(data) - 1)) | st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["set", "set", "set", "word", "insert", "remove", "cut"])):
            case "set":
                data[at] = draw(st.integers(0, 255))
            case "word":
                data[at : at + 4] = draw(
                    st.binary(min_size=4, max_size=4) | st.sampled_from([bytes(4), b"\xff" * 4])
                )
            case "insert":
                data[at:at] = draw(st.binary(max_size=12))
            case "remove":
                del data[at : at + draw(st.integers(1, 12))]
            case "cut":
                del data[max(at, 16) :]
        if not data:
            break
    return bytes(data)


def described(data: bytes, format: str) -> bytes | None:
    """The described file; None where it was refused, which leaves the very same bytes."""
    result = describe(data, format, CAPTION, replace=True)
    (one,) = result.written
    assert one.target == TARGET
    if one == Written(TARGET, "wrote"):
        again = describe(result.data, format, CAPTION, replace=True)
        assert again.written == (one,)
        assert again.data is result.data
        return result.data
    assert one.action in ("refused", "kept")
    assert one.reason
    assert "unexpected" not in one.reason
    assert result.data is data
    return None


def tags_of(block: bytes) -> object:
    """What the independent reader finds besides the description; None where it gives up."""
    try:
        found = tiff_tags(block)
    except Exception:  # a small reader, for sound blocks
        return None
    return {key: value for key, value in found.items() if key != ("IFD0", 270)}


def seen(data: bytes) -> object:
    """What Pillow makes of the file: its frames, or the error."""
    try:
        return pixels(data)
    except Exception as error:  # whatever Pillow raises, it must be the same before and after
        return type(error)


def assert_block_grew(old: bytes, new: bytes) -> None:
    changed = [at for at, (was, now) in enumerate(zip(old, new, strict=False)) if was != now]
    assert not changed or changed[-1] - changed[0] < 20
    if (before := tags_of(old)) is not None:
        assert tags_of(new) == before


@given(st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]), st.binary(max_size=300))
def test_random_blocks(magic: bytes, rest: bytes) -> None:
    """Random bytes behind a header are refused, or keep their bytes and values."""
    check_block(magic + rest)


@given(mutated(BLOCKS))
def test_mutated_blocks(data: bytes) -> None:
    """A camera's block with some damage is refused, or keeps its bytes and values."""
    check_block(data)


@st.composite
def linked(draw: st.DrawFn) -> bytes:
    """IFDs whose pointers lead to each other, into each other and beside."""
    order = draw(st.sampled_from("<>"))
    place = st.integers(0, 200)
    tag = st.sampled_from([270, 273, 279, 330, 513, 514, 34665, 34853, 37500, 40965, 50000])
    tags = st.lists(
        st.tuples(tag, st.sampled_from([1, 2, 3, 4, 7, 13]), st.integers(0, 6), place), max_size=5
    )
    data = header(order, draw(place))
    for chosen in draw(st.lists(tags, min_size=1, max_size=4)):
        packed = [(tag, kind, count, making.long(order, 0, value)[3]) for tag, kind, count, value in chosen]
        data += directory(order, len(data), packed, draw(place | st.just(0)))
    return data + draw(st.binary(max_size=40))


@given(linked())
def test_linked_blocks(data: bytes) -> None:
    """IFDs that point anywhere are refused, or keep their bytes and values."""
    check_block(data)


def check_block(data: bytes) -> None:
    text = b"Two dogs run\0"
    try:
        block = tiff.parse(data)
        new = tiff_patch.describe(block, text)
        tiff_patch.prove(block, new, text)
    except Refused:
        return
    assert tiff.parse(new).description() == text
    assert_block_grew(data, new)


@given(mutated(list(JPEGS.values())))
def test_mutated_jpegs(data: bytes) -> None:
    """All segments but the EXIF one, the scans, the pixels and the EXIF values stay."""
    new = described(data, "JPEG")
    if new is None:
        return
    (old_segments, old_scan), (new_segments, new_scan) = jpeg_parts(data), jpeg_parts(new)
    assert new_scan == old_scan
    assert [s for s in new_segments if not is_exif(s)] == [s for s in old_segments if not is_exif(s)]
    (exif,) = (payload[6:] for marker, payload in new_segments if is_exif((marker, payload)))
    old = next((payload[6:] for marker, payload in old_segments if is_exif((marker, payload))), None)
    if old is not None:
        assert_block_grew(old, exif)
    assert seen(new) == seen(data)


@given(mutated(BLOCKS))
def test_jpegs_with_mutated_blocks(block: bytes) -> None:
    """Damage in the EXIF of a JPEG does not reach its picture, and Pillow reads what was written."""
    data = making.with_segments(JPEGS["plain"], exif_segment(block))
    new = described(data, "JPEG")
    if new is not None:
        assert seen(new) == seen(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert pillow_description(new) == CAPTION


@given(mutated(list(PNGS.values())))
def test_mutated_pngs(data: bytes) -> None:
    """All chunks but eXIf and the pixels stay."""
    new = described(data, "PNG")
    if new is None:
        return
    old_chunks = chunks_of(png_parts, data)
    if old_chunks is not None:
        assert chunks_of(png_parts, new) == old_chunks
    assert seen(new) == seen(data)


@given(mutated(list(WEBPS.values())))
def test_mutated_webps(data: bytes) -> None:
    """All chunks but EXIF and the header that announces it, and the pixels stay."""
    new = described(data, "WEBP")
    if new is None:
        return
    old_chunks = chunks_of(webp_parts, data)
    if old_chunks is not None:
        assert chunks_of(webp_parts, new) == old_chunks
    if not isinstance(seen(data), type):
        assert seen(new) == seen(data)


def chunks_of(parts: object, data: bytes) -> object:
    """The chunks but for EXIF and VP8X, and the trailer; None where the independent walker gives up."""
    try:
        chunks, trailer = parts(data)  # type: ignore[operator]
    except AssertionError:
        return None
    return [part for part in chunks if part[0] not in (b"eXIf", b"EXIF", b"VP8X")], trailer


@given(mutated(list(TIFFS.values())))
def test_mutated_tiffs(data: bytes) -> None:
    """No page changes, whatever a damaged pointer leads to, and the bytes stay where they were."""
    new = described(data, "TIFF")
    if new is None:
        return
    assert_block_grew(data, new)
    before = seen(data)
    assert seen(new) == before
    if isinstance(before, list):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert pillow_description(new) == CAPTION


@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "TIFF"])
@given(data=st.binary(max_size=200))
def test_random_bytes(format: str, data: bytes) -> None:
    """What is no image at all is refused."""
    assert described(data, format) is None


def test_pillow_is_a_judge() -> None:
    """The comparison of pixels sees a difference of one sample."""
    image = making.picture()
    out = io.BytesIO()
    image.putpixel((3, 3), (1, 2, 3))
    image.save(out, "PNG")
    assert seen(out.getvalue()) != seen(JPEGS["plain"])
    assert isinstance(Image.open(out), Image.Image)
