"""Captions as XMP in JPEG, PNG, WebP and TIFF files, beside EXIF: all else stays, as other readers see it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.metadata import TARGET, XMP_TARGET
from captiond.records import Written

from . import asking, making
from .asking import describe
from .independent import (
    exiftool_description,
    exiftool_others,
    exiftool_tags,
    exiftool_xmp_description,
    exiv2_xmp_description,
    is_exif,
    is_xmp,
    jpeg_parts,
    needs_exiftool,
    needs_exiv2,
    new_complaints,
    png_parts,
    tiff_tags,
    webp_parts,
)
from .making import CAPTION, PLAIN_XMP, camera_block, exif_segment, jpeg_segment, with_segments, xmp_saying
from .test_jpeg import JPEGS
from .test_mutations import mutated, seen
from .test_png import PNGS
from .test_tiff_files import TIFFS, pillow_tags, strips
from .test_webp import EXTENDED, LOSSY, WEBPS, riff, with_chunks

HEADER = b"http://ns.adobe.com/xap/1.0/\0"
KEYWORD = b"XML:com.adobe.xmp\0"
ITXT = KEYWORD + bytes(4)
SMALL = zlib.compress(PLAIN_XMP)
PADDED = PLAIN_XMP + (b" " * 99 + b"\n") * 10 + b'<?xpacket end="w"?>'
MPF = jpeg_segment(0xE2, b"MPF\0" + bytes(16))


def xmp_segment(packet: bytes) -> bytes:
    return jpeg_segment(0xE1, HEADER + packet)


def with_png_chunk(kind: bytes, payload: bytes) -> bytes:
    png = making.saved("PNG")
    crc = zlib.crc32(kind + payload)
    return png[:33] + struct.pack(">I4s", len(payload), kind) + payload + struct.pack(">I", crc) + png[33:]


def with_tag(packet: bytes) -> bytes:
    return strips(">", (700, 1, len(packet), packet))


FILES = {
    "JPEG": {
        **JPEGS,
        "padded XMP": with_segments(JPEGS["plain"], xmp_segment(PADDED)),
        "padded XMP before EXIF": with_segments(
            JPEGS["plain"], xmp_segment(PADDED), exif_segment(camera_block("<"))
        ),
        "a camera's words": with_segments(JPEGS["plain"], xmp_segment(xmp_saying("SONY DSC"))),
    },
    "PNG": PNGS | {"a camera's words": with_png_chunk(b"iTXt", ITXT + xmp_saying("SONY DSC"))},
    "WEBP": WEBPS | {"a camera's words": with_chunks(EXTENDED, (b"XMP ", xmp_saying("SONY DSC")))},
    "TIFF": TIFFS | {"a camera's words": with_tag(xmp_saying("SONY DSC"))},
}
EACH = {
    f"{format}, {name}": (format, data)
    for format, files in FILES.items()
    for name, data in files.items()
    if name != "EXIF behind XMP" or format != "JPEG"  # nothing is moved that a MakerNote may count to
}
each_file = pytest.mark.parametrize(("format", "data"), EACH.values(), ids=EACH.keys())


def others(format: str, data: bytes) -> object:
    """All parts but EXIF and XMP, by small walkers that share nothing with the code."""
    if format == "JPEG":
        segments, scan = jpeg_parts(data)
        return [part for part in segments if not is_exif(part) and not is_xmp(part)], scan
    if format == "TIFF":
        tags = pillow_tags(data) if data[:4] in (b"II+\0", b"MM\0+") else tiff_tags(data)
        return {key: value for key, value in tags.items() if key not in (("IFD0", 270), ("IFD0", 700), 700)}
    chunks, trailer = png_parts(data) if format == "PNG" else webp_parts(data)
    kept = [part for part in chunks if part[0] not in (b"eXIf", b"EXIF", b"XMP ", b"VP8X")]
    return [part for part in kept if not part[1].startswith(b"XML:com.adobe.xmp\0")], trailer


@each_file
def test_only_exif_and_xmp_change(format: str, data: bytes) -> None:
    """All other segments, chunks and tags are the same, in the same order."""
    assert others(format, asking.written_with_xmp(data, format).data) == others(format, data)


@needs_exiftool
def test_exiftool_sees_no_other_change(tmp_path: Path) -> None:
    """exiftool reads the caption twice, all other tags as before, and complains of nothing new."""
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    for name, (format, data) in EACH.items():
        file = f"{name}.{format.lower()}"
        (tmp_path / "old" / file).write_bytes(data)
        (tmp_path / "new" / file).write_bytes(asking.written_with_xmp(data, format).data)
    old, new = exiftool_tags(tmp_path / "old"), exiftool_tags(tmp_path / "new")
    assert len(new) == len(EACH)
    for name, tags in new.items():
        assert exiftool_description(tags) == exiftool_xmp_description(tags) == CAPTION, name
        ours = "XMP-dc:Description"
        assert exiftool_others(tags, ours) == exiftool_others(old[name], ours), name
        assert new_complaints(old[name], tags) == set(), name


@needs_exiv2
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("packet", [None, PLAIN_XMP, xmp_saying("")], ids=["none", "other", "blank"])
def test_exiv2_reads_the_caption(format: str, packet: bytes | None, tmp_path: Path) -> None:
    """exiv2's own RDF reader finds the caption in the default language."""
    holding = {
        "JPEG": lambda: with_segments(JPEGS["plain"], xmp_segment(packet or b"")),
        "PNG": lambda: with_png_chunk(b"iTXt", ITXT + (packet or b"")),
        "WEBP": lambda: with_chunks(EXTENDED, (b"XMP ", packet or b""), flags=4),
        "TIFF": lambda: with_tag(packet or b""),
    }
    data = holding[format]() if packet else making.saved(format)
    path = tmp_path / "image"
    path.write_bytes(asking.written_with_xmp(data, format).data)
    assert exiv2_xmp_description(path) == f'lang="x-default" {CAPTION}'


@pytest.mark.parametrize(
    "around",
    [(b"", b""), (MPF, b""), (b"", exif_segment(camera_block("<")))],
    ids=["alone", "behind a list of pictures", "before a MakerNote"],
)
def test_padding_keeps_everything_in_place(around: tuple[bytes, bytes]) -> None:
    """A packet with room to spare makes the file no longer, so that nothing behind it moves."""
    data = with_segments(JPEGS["plain"], around[0], xmp_segment(PADDED), around[1])
    new = describe(data, "JPEG", CAPTION, blocks=("xmp",))
    assert new.written == (Written(TARGET, "skipped", "switched off"), Written(XMP_TARGET, "wrote"))
    assert len(new.data) == len(data)


def test_a_camera_s_words_are_told() -> None:
    """What XMP said and says no more is told."""
    described = asking.written_with_xmp(FILES["JPEG"]["a camera's words"], "JPEG")
    assert described.previous_description == "SONY DSC"


@pytest.mark.parametrize(
    "segment",
    [
        exif_segment(camera_block("<", b"Grandma")),
        xmp_segment(xmp_saying("Grandma")),
        jpeg_segment(0xED, b"Photoshop 3.0\0" + making.photoshop_saying(b"Grandma")),
    ],
    ids=["EXIF", "XMP", "IPTC"],
)
def test_a_persons_description_stays(segment: bytes) -> None:
    """What a person wrote keeps captions out of all places, unless it is to be replaced."""
    data = with_segments(JPEGS["plain"], segment)
    kept = describe(data, "JPEG", CAPTION, blocks=("exif", "xmp"))
    assert kept.data is data
    assert {(one.action, one.reason) for one in kept.written} == {("kept", "kept existing description")}
    asking.written_with_xmp(data, "JPEG", replace=True)


def test_an_image_described_in_exif_receives_xmp_later() -> None:
    """The same caption in EXIF is nobody else's, so XMP may follow when it is asked for."""
    first = asking.written(JPEGS["plain"], "JPEG").data
    assert asking.written_with_xmp(first, "JPEG").data == asking.written_with_xmp(JPEGS["plain"], "JPEG").data


PLAIN = JPEGS["plain"]
REFUSED = {
    "two packets": ("JPEG", with_segments(PLAIN, xmp_segment(PLAIN_XMP), xmp_segment(PLAIN_XMP))),
    "an extension": (
        "JPEG",
        with_segments(PLAIN, jpeg_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(50))),
    ),
    "a long packet": ("JPEG", with_segments(PLAIN, xmp_segment(PLAIN_XMP + b" " * 65_000))),
    "a damaged packet": ("JPEG", with_segments(PLAIN, xmp_segment(PLAIN_XMP[:-5]))),
    "XMP behind a list of pictures": ("JPEG", with_segments(PLAIN, MPF, xmp_segment(PLAIN_XMP))),
    "XMP before a MakerNote": ("JPEG", JPEGS["EXIF behind XMP"]),
    "PNG: compressed": (
        "PNG",
        with_png_chunk(b"iTXt", KEYWORD + b"\1\0\0\0" + SMALL),
    ),
    "PNG: in tEXt": ("PNG", with_png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + PLAIN_XMP)),
    "PNG: ImageMagick's": (
        "PNG",
        with_png_chunk(b"zTXt", b"Raw profile type xmp\0\0" + SMALL),
    ),
    "PNG: truncated": ("PNG", with_png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0en")),
    "WebP: two packets": ("WEBP", with_chunks(EXTENDED, (b"XMP ", PLAIN_XMP), (b"XMP ", PLAIN_XMP))),
    "TIFF: two packets": (
        "TIFF",
        strips("<", (700, 1, len(PLAIN_XMP), PLAIN_XMP), (700, 1, len(PLAIN_XMP), PLAIN_XMP)),
    ),
    "TIFF: numbers": ("TIFF", strips("<", making.long("<", 700, 1, 2))),
}


@pytest.mark.parametrize(("format", "data"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_proved_safe_is_refused(format: str, data: bytes) -> None:
    """XMP is left as it is, with the reason; EXIF is written as if it had not been asked for."""
    asking.xmp_refused(data, format)


def test_a_simple_webp_becomes_an_extended_one_once() -> None:
    """EXIF and XMP announce themselves in the same header, EXIF before XMP; alone, XMP announces itself."""
    kinds = [kind for kind, _ in webp_parts(asking.written_with_xmp(LOSSY, "WEBP").data)[0]]
    assert kinds == [b"VP8X", b"VP8 ", b"EXIF", b"XMP "]
    chunks, _ = webp_parts(describe(LOSSY, "WEBP", CAPTION, blocks=("xmp",)).data)
    assert [kind for kind, _ in chunks] == [b"VP8X", b"VP8 ", b"XMP "]
    assert chunks[0][1][0] == 0x04


def test_a_simple_webp_with_xmp_is_refused() -> None:
    """XMP that no header announces is not to be found by its readers, nor changed by us."""
    data = riff([*webp_parts(LOSSY)[0], (b"XMP ", PLAIN_XMP)])
    described = describe(data, "WEBP", CAPTION, blocks=("xmp",))
    assert described.data is data
    assert described.written[1].action == "refused"


@given(st.sampled_from(sorted(FILES)).flatmap(lambda f: st.tuples(st.just(f), mutated([*FILES[f].values()]))))
def test_mutated_files(drawn: tuple[str, bytes]) -> None:
    """A damaged file shows the same pixels and holds the same parts, or comes back as the same object."""
    format, data = drawn
    described = describe(data, format, CAPTION, replace=True, blocks=("xmp",))
    (_, one) = described.written
    assert "unexpected" not in (one.reason or "")
    if one.action != "wrote":
        assert described.data is data
        return
    again = describe(described.data, format, CAPTION, replace=True, blocks=("xmp",))
    assert again.data is described.data
    try:
        before = others(format, data)
    except (AssertionError, LookupError, struct.error):  # the small walkers are for sound files
        return
    assert others(format, described.data) == before
    if format != "WEBP" or not isinstance(seen(data), type):
        assert seen(described.data) == seen(data)
