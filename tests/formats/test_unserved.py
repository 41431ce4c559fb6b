"""Whatever is a picture by its content is served or told of, and no RAW is ever written into."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path

import pytest
from PIL import Image

from captiond import formats, metadata
from captiond.errors import Rejected
from captiond.formats import extras, raw
from captiond.inbox import root
from captiond.inbox.ignore import Ignore
from captiond.inbox.unserved import Strangers, beneath
from captiond.pictures.decoding import decode
from captiond.records import Texts
from daemon_process import Place, captiond
from formats.making import JXL_HEADS, RAWS, Entry, directory, jpeg, raw_tiff

without = {
    name: pytest.mark.skipif(extras.why_not(name) is None, reason=f"the extra {name} is installed here")
    for name in ("raw", "jxl")
}


@pytest.mark.parametrize("kind", RAWS)
def test_a_raw_is_known_by_its_content(kind: str) -> None:
    """Of whichever maker it is."""
    assert raw.kind_in(RAWS[kind]) == kind
    assert formats.kind_of(lambda at, count: RAWS[kind][at : at + count]) is formats.RAW


@pytest.mark.parametrize("format", ["TIFF", "JPEG", "PNG", "WEBP", "GIF", "AVIF", "JPEG2000"])
def test_no_other_picture_is_taken_for_a_raw(format: str) -> None:
    """A TIFF that names its camera, with a smaller picture in it, is a TIFF all the same."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif.update({271: "NIKON CORPORATION", 272: "D70"})
    Image.new("RGB", (60, 40), "teal").save(buffer, format, **({"exif": exif} if format == "TIFF" else {}))
    assert raw.kind_in(buffer.getvalue()) is None
    assert raw.kind_in(raw_tiff(b"NIKON CORPORATION\0", codec=1, photometric=2)) is None
    assert raw.kind_in(raw_tiff(None, codec=1, photometric=32803)) is None


def test_a_damaged_raw_is_looked_at_within_bounds() -> None:
    """Cut anywhere, or with directories that lead in circles, it is a RAW or it is none."""
    whole = RAWS["NEF"]
    for end in range(0, len(whole), 37):
        assert raw.kind_in(whole[:end]) in (None, "NEF")
    circle = bytearray(whole)
    circle[4:8] = (8).to_bytes(4, "little")
    assert raw.kind_in(bytes(circle).replace((8 + 470).to_bytes(4, "little"), (8).to_bytes(4, "little")))


@pytest.mark.parametrize("kind", RAWS)
@pytest.mark.parametrize("name", ["photo.tif", "photo.jpg"])
def test_a_raw_is_never_written_into(kind: str, name: str) -> None:
    """Whatever somebody takes it for, its bytes stay."""
    for format in ("TIFF", "JPEG", "HEIF", "RAW"):
        described = metadata.describe(RAWS[kind], format, Texts("A dog."), blocks="auto", replace=True)
        assert described.data == RAWS[kind]
        assert "wrote" not in {one.action for one in described.written}


def big_tiff(order: str, entries: list[tuple[int, int, bytes]]) -> bytes:
    """A BigTIFF of one directory; values of more than eight bytes lie behind it."""
    end = 16 + 8 + 20 * len(entries) + 8
    table, behind = b"", b""
    for tag, kind, value in entries:
        field = value if len(value) <= 8 else struct.pack(order + "Q", end + len(behind))
        behind += value if len(value) > 8 else b""
        length = len(value) // {1: 1, 2: 1, 3: 2}[kind]
        table += struct.pack(order + "HHQ", tag, kind, length) + field.ljust(8, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HHHQQ", 43, 8, 0, 16, len(entries))
    return head + table + bytes(8) + behind


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_raw_that_is_a_big_tiff_is_known_and_never_written_into(order: str) -> None:
    """DNG may be a BigTIFF since 1.6; a BigTIFF of a scanner is none."""
    sensor = (262, 3, struct.pack(order + "H", 32803))
    maker = (271, 2, b"NIKON CORPORATION\0")
    dng = big_tiff(order, [(50706, 1, b"\1\6\0\0")])
    for data, kind in ((dng, "DNG"), (big_tiff(order, [sensor, maker]), "NEF")):
        assert raw.kind_in(data) == kind
        described = metadata.describe(data, "TIFF", Texts("A dog."), blocks="auto", replace=True)
        assert described.data == data
    assert raw.kind_in(big_tiff(order, [(262, 3, struct.pack(order + "H", 2)), maker])) is None
    lost = bytearray(dng)
    lost[8:16] = b"\xff" * 8
    assert raw.kind_in(bytes(lost)) is None
    assert all(raw.kind_in(dng[:end]) in (None, "DNG") for end in range(len(dng)))


@without["raw"]
@pytest.mark.parametrize("kind", RAWS)
def test_a_raw_under_another_name_is_told_as_that(kind: str) -> None:
    """It is not captioned from the thumbnail that a reader of TIFFs finds in it."""
    with pytest.raises(Rejected, match="RAW file") as refused:
        decode(RAWS[kind], max_pixels=10**9)
    assert refused.value.kind == "unsupported"
    assert "pip install 'captiond[raw]'" in (refused.value.advice or "")


def test_colours_in_planes_of_16_bits_are_seen_as_they_are_or_not_at_all() -> None:
    """Pillow takes every second byte of half of them, without a word."""
    entries: list[Entry] = [
        (256, 3, (9,)), (257, 3, (8,)), (258, 3, (16, 16, 16)), (259, 3, (1,)), (262, 3, (2,)),
        (277, 3, (3,)), (278, 3, (8,)), (279, 4, (144,) * 3), (284, 3, (2,)), (273, 4, (500, 644, 788)),
    ]  # fmt: skip
    data = (b"II*\0\x08\0\0\0" + directory(entries, 8, "<")).ljust(500, b"\0") + b"\x00\x80" * 216
    try:
        seen = decode(data, max_pixels=1000).image.getcolors()
    except Rejected as rejected:
        assert rejected.kind == "unsupported" and "16-bit RGB, in planes" in rejected.message
    else:
        assert seen == [(72, (128, 128, 128))]


@without["raw"]
def test_a_raw_under_another_name_fails_untouched(place: Place) -> None:
    """DNG as .tif, NEF as .jpg: byte for byte in failed/, with what would serve them."""
    names = {"photo.tif": RAWS["DNG"], "photo.jpg": RAWS["NEF"]}
    for name, data in names.items():
        place.drop(data, name)
    assert place.once().returncode == 1
    for name, data in names.items():
        assert (place.failed / name).read_bytes() == data
        assert place.error(name)["kind"] == "unsupported"
        assert "captiond[raw]" in place.error(name)["advice"]


@without["raw"]
@without["jxl"]
def test_what_is_not_served_is_told_everywhere(place: Place) -> None:
    """By kind and number, with what would serve it: in the log once, in status, check and explain."""
    for number in range(3):
        place.drop(RAWS["NEF"], f"trip/{number}.NEF")
    place.drop(RAWS["CR3"], "4.cr3")
    place.drop(JXL_HEADS[0], "5.jxl")
    place.drop(jpeg(), "IMG_6")
    place.drop(b"words", "letter.doc")
    place.drop(b"words", "wedding.raw")
    run = place.once()
    told = [json.loads(line) for line in run.stderr.splitlines() if "stay in the inbox" in line]
    assert {one["kind"]: one["files"] for one in told} == {
        "RAW": 4,
        "JPEG XL": 1,
        "JPEG under another name": 1,
    }
    found = json.loads(captiond("status", "--json", "-c", place.settings).stdout)
    assert {one["kind"]: one["files"] for one in found["unserved"]} == {
        "RAW": 4, "JPEG XL": 1, "JPEG under another name": 1,
    }  # fmt: skip
    assert "4 RAW (pip install 'captiond[raw]')" in captiond("status", "-c", place.settings).stdout
    assert "4 RAW (pip install 'captiond[raw]')" in captiond("check", "-c", place.settings).stdout
    explained = captiond("explain", "-c", place.settings, "trip/0.NEF").stdout
    assert "RAW (NEF)" in explained and "captiond[raw]" in explained and "Start it" not in explained
    assert "captiond[jxl]" in captiond("explain", "-c", place.settings, "5.jxl").stdout
    assert ".jpg" in captiond("explain", "-c", place.settings, "IMG_6").stdout
    explained = captiond("explain", "-c", place.settings, "wedding.raw").stdout
    assert "no picture that it may travel with is here" in explained and "Start it" not in explained


@pytest.mark.long
@without["raw"]
def test_a_running_daemon_tells_of_what_it_leaves(place: Place) -> None:
    """Once a kind, and its status as well."""
    with place.running() as daemon:
        place.drop(RAWS["DNG"], "one.dng")
        place.drop(RAWS["ARW"], "two.arw")

        def unserved() -> list[dict[str, object]]:
            found = json.loads(captiond("status", "--json", "-c", place.settings).stdout)
            return list(found["unserved"])

        daemon.until(lambda: [one["files"] for one in unserved()] == [2])
        daemon.until(lambda: "stay in the inbox" in daemon.log())
        assert daemon.log().count("stay in the inbox") == 1
        assert "RAW (DNG)" in captiond("explain", "-c", place.settings, "one.dng").stdout


@without["raw"]
def test_a_raw_beside_its_jpeg_is_no_stranger(tmp_path: Path) -> None:
    """It travels along, as long as there is a picture that takes it."""
    (tmp_path / "one.NEF").write_bytes(RAWS["NEF"])
    (tmp_path / "one.JPG").write_bytes(jpeg())
    (tmp_path / "two.NEF").write_bytes(RAWS["NEF"])
    with root.opened(tmp_path) as folder:
        assert [one.files for one in beneath(folder, Ignore(), lambda _: False)] == [1]


@without["raw"]
def test_a_raw_that_comes_after_its_jpeg_is_explained(place: Place) -> None:
    """Where it is not served, too."""
    place.drop(jpeg(), "a.jpg")
    assert place.once().returncode == 0
    place.drop(RAWS["NEF"], "a.NEF")
    explained = captiond("explain", "-c", place.settings, "a.NEF").stdout
    assert "captiond[raw]" in explained and "was delivered before it" in explained


def test_what_is_asked_to_stay_is_not_told(tmp_path: Path) -> None:
    """Nor what is temporary, hidden, no file, or no picture: by its content, or by an ending of others."""
    data = RAWS["NEF"]
    for name in ("keep.nef", ".photo.nef", "a.nef.part", "b.tmp", "letter.txt"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "none.nef").write_bytes(b"no RAW at all, whatever it is called")
    (tmp_path / "link.nef").symlink_to(tmp_path / "keep.nef")
    with root.opened(tmp_path) as folder:
        assert beneath(folder, Ignore(["keep*"]), lambda _: False) == ()


@without["raw"]
def test_strangers_are_looked_at_when_they_are_at_rest_and_forgotten_when_they_go(tmp_path: Path) -> None:
    """A file that was changed a moment ago may still be being written; one that is gone is not counted."""
    file = tmp_path / "one.nef"
    file.write_bytes(RAWS["NEF"])
    now = file.stat().st_mtime
    strangers = Strangers(lambda: now)
    with root.opened(tmp_path) as folder:
        for later, names, expected in ((0.0, ["one.nef"], 0), (9.0, ["one.nef"], 1), (10.0, [], 0)):
            now = file.stat().st_mtime + later
            strangers.round(folder, names, Ignore(), lambda _: False)
            assert sum(one.files for one in strangers.counts()) == expected


@without["raw"]
def test_a_round_that_can_find_nothing_is_left_out(tmp_path: Path) -> None:
    """With thousands of ignored files it costs; it is due if one came, went or is new, and now and then."""
    file = tmp_path / "one.nef"
    file.write_bytes(RAWS["NEF"])
    now = file.stat().st_mtime
    strangers = Strangers(lambda: now)
    assert strangers.is_due(0)
    with root.opened(tmp_path) as folder:
        strangers.round(folder, ["one.nef", "two.txt"], Ignore(), lambda _: False)
        assert strangers.is_due(2)  # it may still be being written
        now += 9.0
        strangers.round(folder, ["one.nef", "two.txt"], Ignore(), lambda _: False)
    assert not strangers.is_due(2) and strangers.is_due(1) and strangers.is_due(3)
    now += 11.0
    assert strangers.is_due(2)
    now -= 3600.0  # the clock was set back
    assert strangers.is_due(2)


def test_a_file_that_stays_empty_keeps_nobody_looking(tmp_path: Path) -> None:
    """It is looked at again now and then, for what may come into it, and not every second."""
    file = tmp_path / "empty"
    file.write_bytes(b"")
    now = file.stat().st_mtime + 9.0
    strangers = Strangers(lambda: now)
    with root.opened(tmp_path) as folder:
        strangers.round(folder, ["empty"], Ignore(), lambda _: False)
        assert not strangers.is_due(1)
        now += 20.0
        assert strangers.is_due(1)
        Image.new("RGB", (9, 9)).save(file, "PNG")
        os.utime(file, (now - 9.0, now - 9.0))
        strangers.round(folder, ["empty"], Ignore(), lambda _: False)
    assert [one.files for one in strangers.counts()] == [1]
