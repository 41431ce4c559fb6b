"""Captions as IPTC Caption/Abstract in JPEG files: only where IPTC is, and all else in it as it was."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.metadata import IPTC_TARGET, TARGET, iptc
from captiond.records import Described, Written

from . import making
from .asking import describe
from .independent import (
    exiftool_others,
    exiftool_tags,
    is_photoshop,
    jpeg_parts,
    needs_exiftool,
    needs_exiv2,
    new_complaints,
    pixels,
)
from .making import CAPTION, camera_block, exif_segment, jpeg_segment, with_segments
from .test_jpeg import JPEGS
from .test_mutations import mutated, seen

PLAIN = JPEGS["plain"]
UTF_8 = b"\x1c\x01\x5a\0\x03\x1b%G"
TITLE, KEYWORD, EDITOR = b"\x1c\x02\x05\0\x05Title", b"\x1c\x02\x19\0\x03sea", b"\x1c\x02\x7a\0\x02me"
LATER = b"\x1c\x07\x0a\0\x01x"
LATIN = "Zwei Hunde am Strand über Köln"


def dataset(text: bytes) -> bytes:
    return b"\x1c\x02\x78" + len(text).to_bytes(2, "big") + text


def resource(number: int, payload: bytes, name: bytes = b"\0\0") -> bytes:
    head = b"8BIM" + number.to_bytes(2, "big") + name + len(payload).to_bytes(4, "big")
    return head + payload + bytes(len(payload) % 2)


def holding(block: bytes, *, digest: bytes | None = None, behind: bytes = b"") -> bytes:
    resources = resource(0x03ED, bytes(16)) + resource(0x0404, block)
    if digest is not None:
        resources += resource(0x0425, digest)
    resources += resource(0x0BB7, b"odd", b"\x03abc")
    return with_segments(PLAIN, jpeg_segment(0xED, b"Photoshop 3.0\0" + resources + behind))


def md5(block: bytes) -> bytes:
    return hashlib.md5(block, usedforsecurity=False).digest()


BLOCKS = {
    "other datasets": UTF_8 + TITLE + KEYWORD,
    "later datasets": UTF_8 + TITLE + EDITOR + LATER,
    "a camera's caption": UTF_8 + TITLE + dataset(b"SONY DSC") + EDITOR,
    "a blank caption": UTF_8 + dataset(b""),
    "odd, padded": UTF_8 + TITLE + bytes(3),
    "a character set alone": UTF_8,
}
FILES = {name: holding(block) for name, block in BLOCKS.items()} | {
    "a digest": holding(BLOCKS["other datasets"], digest=md5(BLOCKS["other datasets"])),
    "a wrong digest": holding(BLOCKS["other datasets"], digest=bytes(16)),
    "bytes behind": holding(BLOCKS["other datasets"], behind=bytes(5)),
    "behind EXIF": with_segments(holding(UTF_8), exif_segment(camera_block("<"))),
}
each_file = pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())


def written(data: bytes, caption: str = CAPTION, *, replace: bool = False) -> Described:
    described = describe(data, "JPEG", caption, replace=replace, blocks=("exif", "iptc"))
    assert described.written == (Written(TARGET, "wrote"), Written(IPTC_TARGET, "wrote"))
    again = describe(described.data, "JPEG", caption, replace=replace, blocks=("exif", "iptc"))
    assert again.data is described.data
    assert again.written == described.written
    return described


def parts(data: bytes) -> tuple[dict[int, bytes], list[bytes]]:
    """The resources by number and the datasets but the caption, by small walkers."""
    (segment,) = (payload for marker, payload in jpeg_parts(data)[0] if is_photoshop((marker, payload)))
    rest, resources = segment[14:].rstrip(b"\0") + b"\0\0", {}
    while rest.startswith(b"8BIM"):
        number, name = int.from_bytes(rest[4:6], "big"), rest[6] + 1 + (rest[6] + 1) % 2
        size = int.from_bytes(rest[6 + name : 10 + name], "big")
        resources[number] = rest[10 + name : 10 + name + size]
        rest = rest[10 + name + size + size % 2 :]
    block, datasets = resources[0x0404], []
    while block.startswith(b"\x1c"):
        end = 5 + int.from_bytes(block[3:5], "big")
        datasets.append(block[:end])
        block = block[end:]
    return resources, datasets


@each_file
def test_only_the_caption_changes(data: bytes) -> None:
    """All other datasets, resources, segments and the scan are the same, in the same order."""
    new = describe(data, "JPEG", CAPTION, blocks=("iptc",))
    assert new.written[1] == Written(IPTC_TARGET, "wrote")
    (old_segments, scan), (new_segments, new_scan) = jpeg_parts(data), jpeg_parts(new.data)
    assert new_scan == scan
    others = [[part for part in some if not is_photoshop(part)] for some in (old_segments, new_segments)]
    assert others[0] == others[1]
    (resources, datasets), (new_resources, new_datasets) = parts(data), parts(new.data)
    caption = dataset(CAPTION.encode())
    assert new_datasets.count(caption) == 1
    assert new_datasets == sorted(new_datasets, key=lambda one: one[1:3])
    assert [one for one in new_datasets if one != caption] == [
        one for one in datasets if one[1:3] != b"\x02\x78"
    ]
    for number in (0x0404, 0x0425):
        resources.pop(number, None)
        new_resources.pop(number, None)
    assert new_resources == resources
    assert pixels(new.data) == pixels(data)


def test_a_right_digest_stays_right() -> None:
    """Photoshop finds the digest of the new block, so that it trusts XMP as before."""
    resources, _ = parts(written(FILES["a digest"]).data)
    assert resources[0x0425] == md5(resources[0x0404])


def test_a_wrong_digest_stays_wrong() -> None:
    """A digest that said that IPTC is newer than XMP goes on saying so."""
    resources, _ = parts(written(FILES["a wrong digest"]).data)
    assert resources[0x0425] == bytes(16)


@needs_exiftool
def test_exiftool_sees_no_other_change(tmp_path: Path) -> None:
    """exiftool reads the caption, all other tags as before, and complains of nothing new."""
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
    for name, data in FILES.items():
        (tmp_path / "old" / f"{name}.jpg").write_bytes(data)
        (tmp_path / "new" / f"{name}.jpg").write_bytes(written(data).data)
    old, new = exiftool_tags(tmp_path / "old"), exiftool_tags(tmp_path / "new")
    assert len(new) == len(FILES)
    ours = ("IPTC:Caption-Abstract", "Photoshop:IPTCDigest")
    for name, tags in new.items():
        assert tags["IPTC:Caption-Abstract"] == [CAPTION], name
        assert exiftool_others(tags, *ours) == exiftool_others(old[name], *ours), name
        assert new_complaints(old[name], tags) == set(), name


@needs_exiv2
def test_exiv2_reads_the_caption(tmp_path: Path) -> None:
    """exiv2's own reader finds the caption."""
    path = tmp_path / "image.jpg"
    path.write_bytes(written(FILES["a camera's caption"]).data)
    command = ["exiv2", "-q", "-K", "Iptc.Application2.Caption", "-P", "v", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert found.strip() == CAPTION


def test_a_long_caption_is_cut_between_characters() -> None:
    """2,000 bytes have room, and no half of a character is written; the rest stands in EXIF."""
    described = written(FILES["a blank caption"], "夕" * 700)
    assert dataset(("夕" * 666).encode()) in parts(described.data)[1]


def test_without_a_character_set_it_is_latin_1() -> None:
    """A block that names no character set receives what readers take for Latin-1."""
    data = holding(TITLE)
    assert dataset(LATIN.encode("latin-1")) in parts(written(data, LATIN).data)[1]
    assert dataset(b"A dog.") in parts(written(data, "A dog.").data)[1]


def test_a_camera_s_words_are_told() -> None:
    """What IPTC said and says no more is told."""
    assert written(FILES["a camera's caption"]).previous_description == "SONY DSC"


def test_a_persons_caption_stays() -> None:
    """What a person wrote into IPTC is kept, unless it is to be replaced."""
    data = holding(UTF_8 + dataset(b"Grandma"))
    kept = describe(data, "JPEG", CAPTION, blocks=("exif", "xmp", "iptc"))
    assert kept.data is data
    assert {(one.action, one.reason) for one in kept.written} == {("kept", "kept existing description")}
    assert written(data, replace=True).previous_description == "Grandma"


def test_all_three_go_together() -> None:
    """EXIF, XMP and IPTC are written at once, and the second time none is changed."""
    blocks = ("exif", "xmp", "iptc")
    described = describe(FILES["a digest"], "JPEG", CAPTION, blocks=blocks)
    assert [one.action for one in described.written] == ["wrote"] * 3
    assert describe(described.data, "JPEG", CAPTION, blocks=blocks).data is described.data


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_no_iptc_is_made(format: str) -> None:
    """Where there is no IPTC, none is wanted by anybody."""
    data = making.saved(format)
    described = describe(data, format, CAPTION, blocks=("iptc",))
    assert described.data is data
    assert described.written[1] == Written(IPTC_TARGET, "skipped", "it has no IPTC")


SEGMENT = jpeg_segment(0xED, b"Photoshop 3.0\0" + resource(0x0404, UTF_8))
REFUSED = {
    "no character set that can say it": holding(TITLE),
    "an unknown character set": holding(b"\x1c\x01\x5a\0\x03\x1b.A" + TITLE),
    "two captions": holding(UTF_8 + dataset(b"a") + dataset(b"b")),
    "an extended dataset": holding(UTF_8 + b"\x1c\x02\x05\x80\x04\0\0\0\x01x"),
    "truncated datasets": holding(UTF_8 + TITLE[:-1]),
    "garbage between datasets": holding(UTF_8 + b"garbage"),
    "garbage between resources": holding(UTF_8, behind=b"garbage"),
    "two blocks": holding(UTF_8, behind=resource(0x0404, UTF_8)),
    "two segments": with_segments(PLAIN, SEGMENT, SEGMENT),
    "truncated resources": with_segments(PLAIN, SEGMENT[:2] + b"\0\x20" + SEGMENT[4:34]),
    "before a MakerNote": with_segments(PLAIN, SEGMENT, exif_segment(camera_block("<"))),
    "behind a list of pictures": with_segments(PLAIN, jpeg_segment(0xE2, b"MPF\0" + bytes(16)), SEGMENT),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_proved_safe_is_refused(data: bytes) -> None:
    """The very same bytes come back, with a reason."""
    described = describe(data, "JPEG", CAPTION, replace=True, blocks=("iptc",))
    assert described.data is data
    assert described.written[1].action == "refused"
    assert "unexpected" not in (described.written[1].reason or "")


def test_latin_1_that_looks_like_utf_8_is_refused() -> None:
    """Without a character set, readers would guess that these two letters are one."""
    described = describe(holding(TITLE), "JPEG", "A sign says Ã¤", blocks=("iptc",))
    assert described.written[1].action == "refused"


@given(st.text(max_size=1500), st.integers(1, 60))
def test_shortened_is_the_beginning(text: str, times: int) -> None:
    """A shortened caption is a part of it that has room, and shortening it again changes nothing."""
    short = iptc.shortened(text * times)
    assert (text * times).startswith(short)
    assert len(short.encode()) <= 2000
    assert iptc.shortened(short) == short


@given(mutated([*FILES.values(), *REFUSED.values()]))
def test_mutated_files(data: bytes) -> None:
    """A damaged file shows the same pixels and keeps its other segments, or comes back as the same object."""
    described = describe(data, "JPEG", CAPTION, replace=True, blocks=("iptc",))
    one = described.written[1]
    assert "unexpected" not in (one.reason or "")
    if one.action != "wrote":
        assert described.data is data
        return
    (old_segments, scan), (new_segments, new_scan) = jpeg_parts(data), jpeg_parts(described.data)
    assert new_scan == scan
    assert [s for s in new_segments if not is_photoshop(s)] == [
        s for s in old_segments if not is_photoshop(s)
    ]
    assert seen(described.data) == seen(data)
    assert describe(described.data, "JPEG", CAPTION, replace=True, blocks=("iptc",)).data is described.data
