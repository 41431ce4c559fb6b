"""Captions in WebP files: one EXIF chunk, the flag that says so, and nothing else."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from . import asking, making
from .independent import (
    exiftool_description,
    exiftool_others,
    exiftool_tags,
    needs_exiftool,
    new_complaints,
    tiff_tags,
    webp_parts,
    without_description,
)
from .making import CAPTION, camera_block, picture

Chunks = list[tuple[bytes, bytes]]


def riff(chunks: Chunks, trailer: bytes = b"") -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2) for kind, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body + trailer


def with_chunks(webp: bytes, *extra: tuple[bytes, bytes], flags: int = 0) -> bytes:
    """An extended WebP file with more chunks at its end and more flags set."""
    ((kind, header), *rest), trailer = webp_parts(webp)
    assert kind == b"VP8X"
    return riff([(kind, bytes((header[0] | flags,)) + header[1:]), *rest, *extra], trailer)


PROFILE = making.icc_profile()
LOSSY, LOSSLESS = making.saved("WEBP"), making.saved("WEBP", lossless=True)
EXTENDED = making.saved("WEBP", icc_profile=PROFILE)
LITTLE, BIG = (b"EXIF", camera_block("<")), (b"EXIF", camera_block(">"))
XMP = (b"XMP ", making.PLAIN_XMP)
WEBPS = {
    "lossy": LOSSY,
    "lossless": LOSSLESS,
    "lossless, transparent": making.saved("WEBP", "RGBA", lossless=True),
    "lossy, transparent": making.saved("WEBP", "LA"),
    "animated": making.saved("WEBP", save_all=True, append_images=[picture().rotate(90)]),
    "ICC": EXTENDED,
    "ICC and XMP": making.saved("WEBP", icc_profile=PROFILE, xmp=making.PLAIN_XMP),
    "camera, little-endian": with_chunks(EXTENDED, LITTLE, XMP, flags=0x0C),
    "camera, big-endian": with_chunks(EXTENDED, BIG, flags=0x08),
    "EXIF behind XMP": with_chunks(EXTENDED, XMP, BIG, flags=0x0C),
    "EXIF without its flag": with_chunks(EXTENDED, LITTLE),
    "EXIF with the header of JPEG": with_chunks(EXTENDED, (b"EXIF", b"Exif\0\0" + LITTLE[1]), flags=0x08),
    "EXIF of odd length": with_chunks(EXTENDED, (b"EXIF", camera_block("<", padding=1)), flags=0x08),
    "camera's description": with_chunks(EXTENDED, (b"EXIF", camera_block("<", b"SONY DSC")), flags=0x08),
    "unknown chunks": with_chunks(EXTENDED, (b"what", b"odd"), XMP, (b"ever", b"even"), flags=0x04),
    "simple, unknown chunk": riff([*webp_parts(LOSSY)[0], (b"what", b"odd")]),
    "bytes behind": LOSSLESS + b"something",
}
each_webp = pytest.mark.parametrize("data", WEBPS.values(), ids=WEBPS.keys())


def exif_of(chunks: Chunks) -> bytes:
    return next((payload.removeprefix(b"Exif\0\0") for kind, payload in chunks if kind == b"EXIF"), b"")


@each_webp
def test_only_exif_and_its_flag_change(data: bytes) -> None:
    """All other chunks are the same bytes in the same order; EXIF follows the image at once, or stays."""
    old, trailer = webp_parts(data)
    new, new_trailer = webp_parts(asking.written(data, "WEBP").data)
    assert new_trailer == trailer
    header = dict(new)[b"VP8X"]
    assert header[0] & 0x08
    if old[0][0] == b"VP8X":
        assert header == bytes((old[0][1][0] | 0x08,)) + old[0][1][1:]
        old = old[1:]
    new = new[1:]
    assert [part for part in new if part[0] != b"EXIF"] == [part for part in old if part[0] != b"EXIF"]
    kinds, new_kinds = [part[0] for part in old], [part[0] for part in new]
    if b"EXIF" in kinds:
        assert new_kinds == kinds
    else:
        assert new_kinds[new_kinds.index(b"EXIF") - 1] in (b"VP8 ", b"VP8L", b"ANMF")


@each_webp
def test_no_byte_of_a_block_moves(data: bytes) -> None:
    """An EXIF block keeps its bytes and its values; a new one holds the caption alone."""
    old, new = exif_of(webp_parts(data)[0]), exif_of(webp_parts(asking.written(data, "WEBP").data)[0])
    assert tiff_tags(new)["IFD0", 270] == (2, CAPTION.encode() + b"\0")
    assert without_description(new) == (without_description(old) if old else {})
    changed = [at for at, (was, now) in enumerate(zip(old, new, strict=False)) if was != now]
    assert not changed or changed[-1] - changed[0] < 12


@pytest.mark.parametrize("name", ["lossy", "lossless", "lossless, transparent"])
def test_a_simple_file_becomes_an_extended_one(name: str) -> None:
    """The new header has the size of the image, its transparency and EXIF, and no other flag."""
    chunks, _ = webp_parts(asking.written(WEBPS[name], "WEBP").data)
    width, height = picture().size
    flags = 0x18 if name == "lossless, transparent" else 0x08
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    assert chunks[0] == (b"VP8X", bytes((flags, 0, 0, 0)) + size)


@needs_exiftool
def test_exiftool_sees_no_other_change(tmp_path: Path) -> None:
    """exiftool reads the caption, all other tags as before, and complains of nothing new."""
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    for name, data in WEBPS.items():
        (tmp_path / "old" / f"{name}.webp").write_bytes(data)
        (tmp_path / "new" / f"{name}.webp").write_bytes(asking.written(data, "WEBP").data)
    old, new = exiftool_tags(tmp_path / "old"), exiftool_tags(tmp_path / "new")
    assert new.keys() == {f"{name}.webp" for name in WEBPS}
    for name, tags in new.items():
        assert exiftool_description(tags) == CAPTION, name
        assert exiftool_others(tags) == exiftool_others(old[name]), name
        assert new_complaints(old[name], tags) == set(), name


@pytest.mark.parametrize(
    "extra",
    [(b"EXIF", camera_block("<", b"Grandma")), (b"XMP ", making.xmp_saying("Grandma"))],
    ids=["EXIF", "XMP"],
)
def test_a_persons_description_stays(extra: tuple[bytes, bytes]) -> None:
    """What a person wrote is kept, wherever it stands, unless it is to be replaced."""
    data = with_chunks(EXTENDED, extra, flags=0x0C)
    assert asking.kept(data, "WEBP") == "kept existing description"
    asking.written(data, "WEBP", replace=True)


REFUSED = {
    "two EXIF": with_chunks(EXTENDED, LITTLE, BIG, flags=0x08),
    "EXIF in a simple file": riff([*webp_parts(LOSSY)[0], LITTLE]),
    "two headers": with_chunks(EXTENDED, webp_parts(EXTENDED)[0][0]),
    "a header that is not first": riff(webp_parts(EXTENDED)[0][::-1]),
    "a header that is short": riff([(b"VP8X", bytes(4)), *webp_parts(LOSSY)[0]]),
    "a lossy image without a header": riff([(b"VP8 ", bytes(20))]),
    "a lossless image without a header": riff([(b"VP8L", b"")]),
    "an empty EXIF": with_chunks(EXTENDED, (b"EXIF", b""), flags=0x08),
    "a C2PA manifest": with_chunks(EXTENDED, (b"C2PA", b"\0\0\0\x08jumb")),
    "no image": riff([webp_parts(EXTENDED)[0][0]]),
    "no chunk": riff([]),
    "a truncated file": LOSSY[:-2],
    "a truncated chunk": LOSSY[:4] + struct.pack("<I", len(LOSSY) - 10) + LOSSY[8:],
    "bytes that are no chunk": LOSSY[:4] + struct.pack("<I", len(LOSSY) - 4) + LOSSY[8:] + b"abcd",
    "nothing": b"",
    "a WAV": b"RIFF\x04\0\0\0WAVE",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_proved_safe_is_refused(data: bytes) -> None:
    """A refusal gives back the very same bytes and a reason, even where a description may be replaced."""
    asking.refused(data, "WEBP")
