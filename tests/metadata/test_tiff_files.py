"""Captions in TIFF and BigTIFF files: appended, with one entry or pointer patched."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from . import asking, making
from .independent import (
    exiftool_description,
    exiftool_others,
    exiftool_tags,
    needs_exiftool,
    new_complaints,
    tiff_tags,
    without_description,
)
from .making import CAPTION, Tag, ascii, directory, header, long, picture, short

# A grey picture of 8 by 4 in two uncompressed strips, which stand right behind the header.
GREY = {
    order: [
        short(order, 256, 8), short(order, 257, 4), short(order, 258, 8), short(order, 259, 1),
        short(order, 262, 1), long(order, 273, 8, 24), short(order, 277, 1), short(order, 278, 2),
        long(order, 279, 16, 16),
    ]
    for order in "<>"
}  # fmt: skip


def strips(order: str, *extra: Tag, without: int | None = None, counts: tuple[int, ...] = (16, 16)) -> bytes:
    """A file of that picture, with other tags, and other byte counts."""
    tags = [tag for tag in GREY[order] if tag[0] not in (279, without)]
    tags += extra if without == 279 else (*extra, long(order, 279, *counts))
    return header(order, 40) + bytes(range(32)) + directory(order, 40, sorted(tags))


def pages(order: str, following: int = 0) -> bytes:
    """Two pages; the second one is followed by nothing, or by what a broken writer put there."""
    first = strips(order)
    (count,) = struct.unpack_from(order + "H", first, 40)
    pointer_at = 40 + 2 + 12 * count
    second = directory(order, len(first), GREY[order], following)
    return first[:pointer_at] + struct.pack(order + "I", len(first)) + first[pointer_at + 4 :] + second


def several() -> bytes:
    frames = [picture().rotate(turn) for turn in (90, 180)]
    return making.saved("TIFF", save_all=True, append_images=frames, compression="tiff_lzw")


def tiled() -> bytes:
    out = io.BytesIO()
    Image.new("L", (64, 48), 7).save(
        out, "TIFF", compression="tiff_adobe_deflate", tiffinfo={322: 32, 323: 32}
    )
    return out.getvalue()


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags.get_ifd(ExifTags.IFD.Exif)[36867] = "2024:05:06 07:08:09"
    tags.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return tags


TIFFS = {
    "Pillow's": making.saved("TIFF"),
    "bilevel": making.saved("TIFF", "1"),
    "CMYK": making.saved("TIFF", "CMYK"),
    "floats": making.saved("TIFF", "F"),
    "LZW": making.saved("TIFF", compression="tiff_lzw"),
    "deflate": making.saved("TIFF", compression="tiff_adobe_deflate"),
    "JPEG": making.saved("TIFF", compression="jpeg"),
    "CCITT": making.saved("TIFF", "1", compression="group4"),
    "tiles": tiled(),
    "ICC": making.saved("TIFF", icc_profile=making.icc_profile()),
    "EXIF": making.saved("TIFF", exif=exif()),
    "pages": several(),
    "little-endian": strips("<"),
    "big-endian": strips(">"),
    "two pages, little-endian": pages("<"),
    "two pages, big-endian": pages(">"),
    "XMP": strips("<", (700, 1, len(making.PLAIN_XMP), making.PLAIN_XMP)),
    "odd length": strips(">") + b"?",
    "camera's description": strips("<", ascii(270, b"Exif_JPEG_PICTURE")),
    "empty description": strips("<", ascii(270, b"")),
    "BigTIFF": making.saved("TIFF", big_tiff=True),
    "BigTIFF, pages": making.saved(
        "TIFF", big_tiff=True, save_all=True, append_images=[picture().rotate(90)]
    ),
    "BigTIFF, LZW": making.saved("TIFF", big_tiff=True, compression="tiff_lzw"),
    "BigTIFF, camera's description": making.saved("TIFF", big_tiff=True, description="SONY DSC"),
}
each_tiff = pytest.mark.parametrize("data", TIFFS.values(), ids=TIFFS.keys())


@each_tiff
def test_the_file_only_grows(data: bytes) -> None:
    """Every byte stays where it was, but for one entry or one pointer."""
    new = asking.written(data, "TIFF").data
    changed = [at for at, (was, now) in enumerate(zip(data, new, strict=False)) if was != now]
    assert changed[-1] - changed[0] < (20 if b"+" in data[:4] else 12)
    assert len(new) > len(data)


@pytest.mark.parametrize("name", [name for name in TIFFS if "BigTIFF" not in name])
def test_all_other_tags_stay(name: str) -> None:
    """All values of all pages are the same, read by other means."""
    data = TIFFS[name]
    new = asking.written(data, "TIFF").data
    assert without_description(new) == without_description(data)
    assert tiff_tags(new)["IFD0", 270] == (2, CAPTION.encode() + b"\0")


@each_tiff
def test_pillow_sees_the_same_tags(data: bytes) -> None:
    """Pillow reads all tags but the description as before, also in BigTIFF."""
    old, new = (pillow_tags(tiff) for tiff in (data, asking.written(data, "TIFF").data))
    assert new == old


def pillow_tags(data: bytes) -> dict[int, object]:
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        return {tag: value for tag, value in image.tag_v2.items() if tag != 270}


@needs_exiftool
def test_exiftool_sees_no_other_change(tmp_path: Path) -> None:
    """exiftool reads the caption, all other tags as before, and complains of nothing new."""
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    for name, data in TIFFS.items():
        (tmp_path / "old" / f"{name}.tif").write_bytes(data)
        (tmp_path / "new" / f"{name}.tif").write_bytes(asking.written(data, "TIFF").data)
    old, new = exiftool_tags(tmp_path / "old"), exiftool_tags(tmp_path / "new")
    assert new.keys() == {f"{name}.tif" for name in TIFFS}
    for name, tags in new.items():
        assert exiftool_description(tags) == CAPTION, name
        assert exiftool_others(tags) == exiftool_others(old[name]), name
        assert new_complaints(old[name], tags) == set(), name


@pytest.mark.parametrize(
    "tag",
    [
        ascii(270, b"Grandma"),
        (700, 1, len(making.xmp_saying("Grandma")), making.xmp_saying("Grandma")),
        (33723, 7, 12, b"\x1c\x02\x78\0\x07Grandma"),
        (34377, 1, len(making.photoshop_saying(b"Oma")), making.photoshop_saying(b"Oma")),
    ],
    ids=["EXIF", "XMP", "IPTC", "Photoshop"],
)
@pytest.mark.parametrize("order", "<>")
def test_a_persons_description_stays(order: str, tag: Tag) -> None:
    """What a person wrote is kept, wherever it stands, unless it is to be replaced."""
    data = strips(order, tag)
    assert asking.kept(data, "TIFF") == "kept existing description"
    asking.written(data, "TIFF", replace=True)


@pytest.mark.parametrize("text", [b"<?xml version='1.0'?><OME xmlns='x'/>", b"ImageJ=1.53k\nimages=2\n"])
def test_what_microscopes_live_on_is_never_replaced(text: bytes) -> None:
    """OME-XML and ImageJ's description stay, even where a person asks to replace."""
    for replace in (False, True):
        assert "programs" in asking.kept(strips("<", ascii(270, text)), "TIFF", replace=replace)


REFUSED = {
    "strips without lengths": strips("<", without=279),
    "a strip of length zero": strips("<", counts=(32, 0)),
    "a strip outside": strips("<", counts=(16, 4000)),
    "fewer lengths than strips": strips("<", counts=(32,)),
    "strips that are too short": strips("<", counts=(16, 15)),
    "a loop of pages": pages("<", following=40),
    "a page outside": pages(">", following=60_000),
    "two descriptions": strips("<", ascii(270, b"a"), ascii(270, b"b")),
    "a description of numbers": strips("<", short("<", 270, 7)),
    "an unknown type": strips("<", (50_000, 200, 1, b"abcd")),
    "a sub-IFD outside": strips(">", long(">", 330, 60_000)),
    "a value outside": strips("<")[:-4],
    "CR2": strips("<")[:8] + b"CR\2\0" + strips("<")[12:],
    "NDPI": strips("<", long("<", 65420, 1)),
    "a C2PA manifest": strips("<", (52545, 7, 8, b"\0\0\0\x08jumb")),
    "AFCP": strips("<") + b"AXS!" + bytes(8),
    "a Photo Mechanic trailer": strips("<") + bytes(20) + b"cbipcbbl",
    "a Canon VRD trailer": strips("<") + b"CANON OPTIONAL DATA\0" + bytes(44),
    "a FotoStation trailer": strips("<") + bytes(6) + b"\xa1\xb2\xc3\xd4",
    "a MIE trailer": strips("<") + b"~\0\x04\0zmie~\0\0\x06" + bytes(4) + b"\x10\x04",
    "a Samsung trailer": strips("<") + bytes(8) + b"SEFT",
    "a header alone": b"II*\0",
    "another magic": b"IIU\0" + strips("<")[4:],
    "nothing": b"",
    "a JPEG": making.saved("JPEG"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_proved_safe_is_refused(data: bytes) -> None:
    """A refusal gives back the very same bytes and a reason, even where a description may be replaced."""
    asking.refused(data, "TIFF")
