"""Captions in PNG files: one eXIf chunk, and nothing else."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from . import asking, making
from .asking import describe
from .independent import (
    exiftool_description,
    exiftool_others,
    exiftool_tags,
    needs_exiftool,
    new_complaints,
    png_parts,
    tiff_tags,
    without_description,
)
from .making import CAPTION, camera_block


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", len(payload), kind) + payload + struct.pack(">I", zlib.crc32(kind + payload))


def before(kind: bytes, png: bytes, *chunks: bytes) -> bytes:
    """The PNG with more chunks, before the first one of a kind."""
    at = png.index(kind) - 4
    return png[:at] + b"".join(chunks) + png[at:]


def text(kind: bytes, keyword: bytes, value: bytes, *, compressed: bool = False) -> bytes:
    """A textual chunk: tEXt, zTXt or iTXt."""
    value = zlib.compress(value) if compressed else value
    between = {b"tEXt": b"", b"zTXt": b"\0", b"iTXt": bytes((compressed, 0)) + b"\0\0"}[kind]
    return chunk(kind, keyword + b"\0" + between + value)


def raw_profile(kind: str, data: bytes) -> bytes:
    """As ImageMagick writes it into a text."""
    digits = data.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{kind}\n{len(data):8}\n{lines}\n".encode()


def animated() -> bytes:
    frames = [making.picture().rotate(turn) for turn in (90, 180)]
    return making.saved("PNG", save_all=True, append_images=frames)


def halved() -> bytes:
    """As Apple writes it: iDOT says where the second half of the image data begins, counted from itself."""
    plain = making.saved("PNG")
    at = plain.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", plain, at)
    data = plain[at + 8 : at + 8 + length]
    first, second = chunk(b"IDAT", data[: length // 2]), chunk(b"IDAT", data[length // 2 :])
    index = chunk(b"iDOT", struct.pack(">7I", 2, 0, 16, 40, 16, 16, 28 + 12 + len(first)))
    return plain[:at] + index + first + second + plain[at + 12 + length :]


def amid(extra: bytes) -> bytes:
    """The image data in two chunks, and another one between them."""
    data = halved().replace(halved()[(at := halved().index(b"iDOT") - 4) : at + 40], b"")
    at = data.rindex(b"IDAT") - 4
    return data[:at] + extra + data[at:]


PLAIN = making.saved("PNG")
XMP = text(b"iTXt", b"XML:com.adobe.xmp", making.PLAIN_XMP)
LITTLE, BIG = chunk(b"eXIf", camera_block("<")), chunk(b"eXIf", camera_block(">"))
PNGS = {
    "plain": PLAIN,
    "grey": making.saved("PNG", "L"),
    "palette": making.saved("PNG", "P"),
    "transparent": making.saved("PNG", "RGBA"),
    "16 bits": making.saved("PNG", "I;16"),
    "ICC, text and resolution": making.saved(
        "PNG", icc_profile=making.icc_profile(), dpi=(300, 300), pnginfo=PngImagePlugin.PngInfo()
    ),
    "XMP": before(b"IDAT", PLAIN, XMP, text(b"tEXt", b"Comment", b"hello")),
    "EXIF of Pillow": making.saved("PNG", exif=Image.Exif()),
    "camera, little-endian": before(b"IDAT", PLAIN, LITTLE, XMP),
    "camera, big-endian": before(b"IDAT", PLAIN, XMP, BIG),
    "EXIF with the header of JPEG": before(b"IDAT", PLAIN, chunk(b"eXIf", b"Exif\0\0" + camera_block("<"))),
    "EXIF behind the image": before(b"IEND", PLAIN, LITTLE),
    "camera's description": before(b"IDAT", PLAIN, chunk(b"eXIf", camera_block("<", b"SONY DSC"))),
    "unknown chunks": before(b"IEND", before(b"IDAT", PLAIN, chunk(b"quAx", b"?")), chunk(b"quIx", b"!")),
    "bytes behind IEND": PLAIN + b"something",
    "animated": animated(),
    "in halves": halved(),
    "EXIF, in halves": before(b"iDOT", halved(), LITTLE),
}
each_png = pytest.mark.parametrize("data", PNGS.values(), ids=PNGS.keys())


@each_png
def test_only_the_exif_chunk_changes(data: bytes) -> None:
    """All other chunks are the same bytes in the same order, with their CRCs, and so is what follows IEND."""
    old, trailer = png_parts(data)
    new, new_trailer = png_parts(asking.written(data, "PNG").data)
    assert new_trailer == trailer
    assert [part for part in new if part[0] != b"eXIf"] == [part for part in old if part[0] != b"eXIf"]
    kinds, new_kinds = [part[0] for part in old], [part[0] for part in new]
    if b"eXIf" in kinds:
        assert new_kinds == kinds
        return
    following = new_kinds[new_kinds.index(b"eXIf") + 1]
    assert following == (b"iDOT" if b"iDOT" in kinds else b"IDAT")


@each_png
def test_no_byte_of_a_block_moves(data: bytes) -> None:
    """An EXIF block keeps its bytes and its values; a new one holds the caption alone."""
    old, new = (
        next(
            (payload.removeprefix(b"Exif\0\0") for kind, payload in png_parts(png)[0] if kind == b"eXIf"), b""
        )
        for png in (data, asking.written(data, "PNG").data)
    )
    assert tiff_tags(new)["IFD0", 270] == (2, CAPTION.encode() + b"\0")
    assert without_description(new) == (without_description(old) if old else {})
    changed = [at for at, (was, now) in enumerate(zip(old, new, strict=False)) if was != now]
    assert not changed or changed[-1] - changed[0] < 12


@needs_exiftool
def test_exiftool_sees_no_other_change(tmp_path: Path) -> None:
    """exiftool reads the caption, all other tags as before, and complains of nothing new."""
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    for name, data in PNGS.items():
        (tmp_path / "old" / f"{name}.png").write_bytes(data)
        (tmp_path / "new" / f"{name}.png").write_bytes(asking.written(data, "PNG").data)
    old, new = exiftool_tags(tmp_path / "old"), exiftool_tags(tmp_path / "new")
    assert new.keys() == {f"{name}.png" for name in PNGS}
    for name, tags in new.items():
        assert exiftool_description(tags) == CAPTION, name
        assert exiftool_others(tags) == exiftool_others(old[name]), name
        assert new_complaints(old[name], tags) == set(), name


SAYING = making.xmp_saying("Grandma")


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"eXIf", camera_block("<", b"Grandma")),
        text(b"iTXt", b"XML:com.adobe.xmp", SAYING),
        text(b"iTXt", b"XML:com.adobe.xmp", SAYING, compressed=True),
        text(
            b"zTXt",
            b"Raw profile type iptc",
            raw_profile("iptc", making.photoshop_saying(b"Oma")),
            compressed=True,
        ),
        text(b"tEXt", b"Raw profile type iptc", raw_profile("iptc", making.photoshop_saying(b"Oma"))),
    ],
    ids=["EXIF", "XMP", "compressed XMP", "compressed IPTC", "IPTC"],
)
def test_a_persons_description_stays(extra: bytes) -> None:
    """What a person wrote is kept, wherever it stands, unless it is to be replaced."""
    data = before(b"IDAT", PLAIN, extra)
    assert asking.kept(data, "PNG") == "kept existing description"
    asking.written(data, "PNG", replace=True)


REFUSED = {
    "two eXIf": before(b"IDAT", PLAIN, LITTLE, BIG),
    "a wrong CRC": before(b"IDAT", PLAIN, LITTLE[:-1] + bytes((LITTLE[-1] ^ 1,))),
    "a raw profile": before(b"IDAT", PLAIN, text(b"tEXt", b"Raw profile type exif", b"x")),
    "a compressed raw profile": before(
        b"IDAT", PLAIN, text(b"zTXt", b"Raw profile type APP1", b"x", compressed=True)
    ),
    "a compressed eXIf": before(b"IDAT", PLAIN, chunk(b"zxIf", b"\0" + zlib.compress(camera_block("<")))),
    "EXIF between index and image": before(b"IDAT", halved(), LITTLE),
    "EXIF amid the image data": amid(LITTLE),
    "a C2PA manifest": before(b"IDAT", PLAIN, chunk(b"caBX", b"\0\0\0\x08jumb")),
    "a signature": before(b"IEND", PLAIN, chunk(b"dSIG", b"signed")),
    "an empty eXIf": before(b"IDAT", PLAIN, chunk(b"eXIf", b"")),
    "no IEND": PLAIN[:-12],
    "a truncated chunk": PLAIN[:-20],
    "no image": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IEND", b""),
    "the signature alone": b"\x89PNG\r\n\x1a\n",
    "nothing": b"",
    "a JPEG": making.saved("JPEG"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_proved_safe_is_refused(data: bytes) -> None:
    """A refusal gives back the very same bytes and a reason, even where a description may be replaced."""
    asking.refused(data, "PNG")


def test_a_bomb_of_text_is_not_blown_up() -> None:
    """A compressed text is looked at, but never beyond a few megabytes."""
    bomb = text(b"zTXt", b"Raw profile type iptc", bytes(1 << 26), compressed=True)
    described = describe(before(b"IDAT", PLAIN, bomb), "PNG", CAPTION)
    assert described.written[0].action == "wrote"
