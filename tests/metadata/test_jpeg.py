"""Captions in JPEG files: what changes, what never does, and what is refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import piexif
import pytest
from PIL import Image

from captiond.records import Described

from . import asking, making
from .independent import (
    exiftool_description,
    exiftool_others,
    exiftool_tags,
    is_exif,
    jpeg_parts,
    needs_exiftool,
    new_complaints,
    pixels,
    tiff_tags,
    without_description,
)
from .making import CAPTION, camera_block, exif_segment, jpeg_segment, with_segments

JPEGS = making.jpegs()
PLAIN = JPEGS["plain"]

each_jpeg = pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS.keys())


def written(data: bytes, caption: str = CAPTION, *, replace: bool = False) -> Described:
    return asking.written(data, "JPEG", caption, replace=replace)


@each_jpeg
def test_only_the_exif_segment_changes(data: bytes) -> None:
    """All other segments, the scans and what follows them are the same bytes in the same order."""
    old, old_scan = jpeg_parts(data)
    new, new_scan = jpeg_parts(written(data).data)
    assert new_scan == old_scan
    assert [part for part in new if not is_exif(part)] == [part for part in old if not is_exif(part)]
    places = [place for place, part in enumerate(old) if is_exif(part)]
    first = next((place for place, part in enumerate(old) if part[0] != 0xE0), len(old))
    assert [place for place, part in enumerate(new) if is_exif(part)] == (places or [first])


@each_jpeg
def test_no_byte_of_a_block_moves(data: bytes) -> None:
    """An EXIF block keeps its bytes, but for one entry or one pointer, and grows at its end."""
    old = next((part[1][6:] for part in jpeg_parts(data)[0] if is_exif(part)), None)
    new = next(part[1][6:] for part in jpeg_parts(written(data).data)[0] if is_exif(part))
    if old is None:
        assert list(tiff_tags(new)) == [("IFD0", 270)]
        return
    assert without_description(new) == without_description(old)
    changed = [at for at, (before, after) in enumerate(zip(old, new, strict=False)) if before != after]
    assert changed[-1] - changed[0] < 12


@each_jpeg
def test_the_caption_reads_back(data: bytes) -> None:
    """Pillow and piexif find the caption, in UTF-8 and ended by one NUL; a second time changes nothing."""
    described = written(data).data
    exif = next(part[1] for part in jpeg_parts(described)[0] if is_exif(part))
    assert tiff_tags(exif[6:])["IFD0", 270] == (2, CAPTION.encode() + b"\0")
    assert piexif.load(exif)["0th"][270].rstrip(b"\0") == CAPTION.encode()


@needs_exiftool
def test_exiftool_sees_no_other_change(tmp_path: Path) -> None:
    """exiftool reads the caption, all other tags as before, and complains of nothing new."""
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    for name, data in JPEGS.items():
        (tmp_path / "old" / f"{name}.jpg").write_bytes(data)
        (tmp_path / "new" / f"{name}.jpg").write_bytes(written(data).data)
    old, new = exiftool_tags(tmp_path / "old"), exiftool_tags(tmp_path / "new")
    assert new.keys() == {f"{name}.jpg" for name in JPEGS}
    for name, tags in new.items():
        assert exiftool_description(tags) == CAPTION, name
        assert exiftool_others(tags) == exiftool_others(old[name]), name
        assert new_complaints(old[name], tags) == set(), name


@pytest.mark.parametrize("name", ["MPO", "MPO, camera"])
def test_multi_pictures_still_lead_to_each_other(name: str) -> None:
    """The offsets in an MPF segment, which count from itself, still lead to the other pictures."""
    data = asking.written(JPEGS[name], "MPO").data
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "MPO"
        assert image.n_frames == 3  # type: ignore[attr-defined]
    assert pixels(data) == pixels(JPEGS[name])


def test_a_camera_note_is_replaced_and_told() -> None:
    """A camera's description is no person's: it makes way, and what it said is told."""
    described = written(JPEGS["camera's description"])
    assert described.previous_description == "OLYMPUS DIGITAL CAMERA"


@pytest.mark.parametrize("order", "<>")
def test_a_persons_description_stays(order: str) -> None:
    """What a person wrote is kept, with the very same bytes, unless it is to be replaced."""
    data = with_segments(PLAIN, exif_segment(camera_block(order, "Oma in Köln".encode())))
    assert asking.kept(data, "JPEG") == "kept existing description"
    replaced = written(data, replace=True)
    assert replaced.previous_description == "Oma in Köln"


@pytest.mark.parametrize(
    "segment",
    [
        jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + making.xmp_saying("Grandma &amp; I")),
        jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + making.XMP % b' dc:description="Grandma">'),
        jpeg_segment(0xED, b"Photoshop 3.0\0" + making.photoshop_saying(b"Grandma in K\xf6ln")),
    ],
    ids=["XMP element", "XMP attribute", "IPTC"],
)
def test_a_person_may_have_written_elsewhere(segment: bytes) -> None:
    """dc:description and Caption/Abstract count as a person's too, whatever EXIF says."""
    for data in (with_segments(PLAIN, segment), with_segments(JPEGS["camera's description"], segment)):
        assert asking.kept(data, "JPEG") == "kept existing description"
        written(data, replace=True)


def test_a_camera_may_have_written_elsewhere() -> None:
    """A camera's words in XMP and IPTC do not keep the caption out."""
    xmp = jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + making.xmp_saying("SONY DSC"))
    iptc = jpeg_segment(0xED, b"Photoshop 3.0\0" + making.photoshop_saying(b"  "))
    written(with_segments(PLAIN, xmp, iptc))


def test_the_caption_may_fit_into_the_entry() -> None:
    """A caption of three bytes needs no place of its own: the block keeps its length."""
    data = JPEGS["camera's description"]
    described = written(data, "Cat").data
    assert len(described) == len(data)
    written(PLAIN, "Cat")


def test_a_segment_can_be_filled_to_the_last_byte() -> None:
    """A segment holds 65,533 bytes and not one more; what does not fit is refused."""
    room = 65_533 - 6 - 8 - 2 - 12 - 4 - 1
    written(PLAIN, "x" * room)
    assert "fit" in asking.refused(PLAIN, "JPEG", "x" * (room + 1))


def mpf_then_exif() -> bytes:
    segments, _ = jpeg_parts(JPEGS["MPO"])
    mpf = next(payload for marker, payload in segments if marker == 0xE2)
    return with_segments(PLAIN, jpeg_segment(0xE2, mpf), exif_segment(camera_block("<")))


def preview_behind_eoi(order: str, base: str) -> bytes:
    """A camera's file whose MakerNote counts, from one base or another, to a preview behind EOI."""
    note = b"ACME" + bytes(8)
    length = len(with_segments(PLAIN, exif_segment(camera_block("<", note=note))))
    exif_at = PLAIN.index(b"\xff\xdb")
    block = camera_block("<", note=note)
    start = {"file": 0, "block": exif_at + 10, "note": exif_at + 10 + block.index(b"ACME" + bytes(8))}[base]
    pointing = camera_block("<", note=b"ACME" + struct.pack(order + "I", length - start) + bytes(4))
    return with_segments(PLAIN, exif_segment(pointing)) + making.thumbnail()


CAMERA = exif_segment(camera_block("<"))
REFUSED = {
    "two EXIF segments": with_segments(PLAIN, CAMERA, CAMERA),
    "EXIF behind MPF": mpf_then_exif(),
    "unknown EXIF header": with_segments(PLAIN, jpeg_segment(0xE1, b"Exif\0\1" + camera_block("<"))),
    "EXIF without a block": with_segments(PLAIN, exif_segment(b"")),
    "garbage between segments": with_segments(PLAIN, CAMERA, b"garbage"),
    "a marker without a length": with_segments(PLAIN, b"\xff\xd0\x00\x02", CAMERA),
    "a length below two": with_segments(PLAIN, b"\xff\xe5\x00\x01"),
    "truncated in a segment": PLAIN[:100],
    "truncated before the scan": PLAIN[: PLAIN.index(b"\xff\xda")],
    "AFCP": with_segments(PLAIN, CAMERA) + b"AXS!" + bytes(8),
    "C2PA": with_segments(PLAIN, jpeg_segment(0xEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumbc2pa")),
    **{
        f"a preview from the {base} on, {order}": preview_behind_eoi(order, base)
        for base in ("file", "block", "note")
        for order in "<>"
    },
    "nothing": b"",
    "a PNG": making.saved("PNG"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_proved_safe_is_refused(data: bytes) -> None:
    """A refusal gives back the very same bytes and a reason, even where a description may be replaced."""
    asking.refused(data, "JPEG")


def test_a_preview_that_nobody_points_to_is_no_reason() -> None:
    """Another JPEG behind EOI does not matter while no word of the MakerNote leads to it."""
    written(JPEGS["camera, little-endian"] + making.thumbnail())
