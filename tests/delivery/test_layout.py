"""Delivery by date: where a picture goes is decided once, and whatever travels with it goes along."""

from __future__ import annotations

import io
import json
import os
from datetime import datetime
from pathlib import Path

import pytest
from delivery_world import World, embed_beside
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from captiond.delivery.claims import claim_from
from captiond.metadata.taken import camera_of, taken_at
from captiond.names import checked_path
from captiond.support.layout import Layout
from daemon_process import Place
from fake_chat_server import FakeChatServer

TAKEN = datetime(2019, 8, 3, 14, 30, 5)
ORIGINAL, DIGITIZED = 0x9003, 0x9004


def _picture(form: str = "JPEG", *, said: str | None = "2019:08:03 14:30:05", tag: int = ORIGINAL) -> bytes:
    image, buffer = Image.new("RGB", (40, 30), "teal"), io.BytesIO()
    if form == "TIFF":
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        directory[0x8769] = {tag: said}
        image.save(buffer, form, tiffinfo=directory)
        return buffer.getvalue()
    exif = Image.Exif()
    if said is not None:
        exif.get_ifd(0x8769)[tag] = said
    image.save(buffer, form, exif=exif.tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("tag", [ORIGINAL, DIGITIZED])
def test_the_date_is_read_in_every_format_that_has_one(form: str, tag: int) -> None:
    """When it was taken, else when it was digitised."""
    assert taken_at(_picture(form, tag=tag)) == TAKEN


@pytest.mark.parametrize(
    "said",
    [None, "0000:00:00 00:00:00", "    :  :     :  :  ", "2019:13:03 14:30:05", "0800:01:01 00:00:00", "x"],
)
def test_what_no_camera_can_mean_is_no_date(said: str | None) -> None:
    """Cameras whose clock was never set say nothing."""
    assert taken_at(_picture(said=said)) is None


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        (None, "DSC-RX100", "DSC-RX100"),
        ("Leica", None, "Leica"),
        ("  ", "\x07\n", None),
        (None, None, None),
    ],
)
def test_the_camera_is_named_once(make: str | None, model: str | None, camera: str | None) -> None:
    """Maker and model in one line, without the maker twice; nothing where nothing is said."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif.update({tag: said for tag, said in ((271, make), (272, model)) if said is not None})
    Image.new("RGB", (40, 30)).save(buffer, "JPEG", exif=exif.tobytes())
    assert camera_of(buffer.getvalue()) == camera


@given(st.binary(max_size=200), st.integers(0, 400), st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]))
def test_nothing_raises_whatever_the_bytes(noise: bytes, at: int, form: str) -> None:
    """Damage in a picture costs its date and its camera, and no picture."""
    sound = _picture(form)
    for data in (noise, sound[:at] + noise + sound[at + len(noise) :]):
        taken_at(data)
        camera_of(data)


@pytest.mark.parametrize(
    ("pattern", "dropped", "folder"),
    [
        ("{taken:%Y/%m}", "trip", "2019/08"),
        ("photos/{taken:%Y}/{taken:%m-%d}", "", "photos/2019/08-03"),
        ("{folder}/{taken:%Y-%m-%d}", "trip/a", "trip/a/2019-08-03"),
        ("{folder}/{taken:%Y-%m-%d}", "", "2019-08-03"),
        ("{taken:%Y}/{folder}", "", "2019"),
        ("{taken:%y%j %H%M%S}", "x", "19215 143005"),
    ],
)
def test_a_pattern_says_where(pattern: str, dropped: str, folder: str) -> None:
    """By the date, and by the folder that it was dropped in."""
    assert Layout.of(pattern).folder(TAKEN, dropped) == folder
    assert Layout.of("{taken:%Y}").folder(datetime(800, 1, 1), "") == "0800"


@pytest.mark.parametrize(
    "pattern",
    ["", "by date", "{taken}", "{taken:}", "{taken:x}", "{taken:%Y}/../..", "/{taken:%Y}", "{taken:%Y}/",
     "{taken:/%Y}", "{taken:%Y}/.captiond", "{taken:../%Y}", "{taken:%B}", "{taken:%%}", "{taken:%Y%}",
     "{taken:%Y}{camera}", "{taken:%Y}}", "{taken:%Y}\0", "{taken.year}", "{taken:%Y}/./x", "{taken:%Y}//x",
     "{taken:%Y}/.{folder}", "{folder}{folder}/{taken:%Y}", "a" * 200 + "{taken:%Y}"],
)  # fmt: skip
def test_a_pattern_that_leads_elsewhere_or_nowhere_is_refused(pattern: str) -> None:
    """At the start, and not with the first picture."""
    with pytest.raises(ValueError, match="must"):
        Layout.of(pattern)


@given(st.text("{}taken:%Ym/.folder\0-", max_size=30))
def test_what_is_taken_makes_paths_beneath_the_folder_alone(pattern: str) -> None:
    """Whatever the pattern, the date and the folder."""
    try:
        layout = Layout.of(pattern)
    except ValueError:
        return
    for moment in (TAKEN, datetime.min, datetime.max):
        for dropped in ("", "trip", "a/b"):
            checked_path(layout.folder(moment, dropped))


def test_companions_go_along(tmp_path: Path) -> None:
    """All lie in one folder, which was decided when the picture was claimed."""
    world = World.at(tmp_path, embed=embed_beside)
    settled = world.drop("trip/photo.jpg")
    world.drop_beside("trip/photo.jpg.xmp", b"<x/>")
    with world.opened(folder_of=lambda *_: "2019/08") as delivery:
        job = world.claim(delivery, settled)
        assert job.folder == "2019/08"
        delivered = world.publish(delivery, job)
    assert delivered.path == "2019/08/photo.jpg"
    assert {path.name for path in (world.done / "2019/08").iterdir()} == {
        "photo.jpg", "photo.jpg.xmp", "photo.txt", "photo.jpg.caption.json"
    }  # fmt: skip
    world.check_quiet()


@pytest.mark.parametrize(
    "folder", ["../out", "/out", "a/../b", "", "a//b", ".captiond", "x\0y", 7, [], "a/" * 2000 + "b"]
)
def test_a_forged_folder_in_a_claim_is_not_obeyed(folder: object) -> None:
    """It is checked like every path that is read."""
    seen = {"device": 1, "inode": 1, "size": 1, "modified_ns": 1, "changed_ns": 1}
    original = {"path": "a.jpg", "fingerprint": seen, "sha256": "a" * 64}
    tail = {"suffix": "", "on_stem": False}
    told = {
        "name": "a.jpg",
        "pieces": [{"tail": tail, "sha256": "b" * 64, "original": original}],
        "folder": folder,
    }
    with pytest.raises(ValueError, match=r"path|name"):
        claim_from(json.dumps(told).encode())


def test_pictures_lie_by_date_and_what_is_sent_again_is_known(tmp_path: Path, server: FakeChatServer) -> None:
    """By EXIF, else by the file's own time; a profile may say otherwise; failures lie as dropped."""
    watch = {"settle_seconds": 0.2, "incomplete_after_seconds": 0.5}
    output = {"layout": "{taken:%Y/%m}"}
    place = Place(tmp_path, {"model": server.settings, "output": output, "watch": watch})
    settings = json.loads(place.settings.read_text())
    settings["profiles"] = [{"match": "shop/**", "output": {"layout": "as_dropped"}}]
    place.settings.write_text(json.dumps(settings))
    undated, data = _picture("PNG", said=None), _picture()

    def drop() -> None:
        place.drop(data, "trip/dated.jpg")
        os.utime(place.drop(undated, "trip/undated.png"), (1.2e9, datetime(2011, 2, 15, 12).timestamp()))

    drop()
    place.drop(_picture(said="2020:01:01 00:00:00"), "shop/article.jpg")
    place.drop(b"\xff\xd8\xff no picture \xff\xd9", "trip/broken.jpg")
    place.once()
    delivered = {str(path.relative_to(place.done)) for path in place.done.rglob("*.json")}
    assert delivered == {
        f"{name}.caption.json" for name in ("2019/08/dated.jpg", "2011/02/undated.png", "shop/article.jpg")
    }
    told = place.sidecar("2019/08/dated.jpg")
    assert told["source"]["path"] == "trip/dated.jpg"
    assert (place.failed / "trip/broken.jpg.error.json").exists()
    drop()
    assert place.once().returncode == 0 and not place.left_in_inbox()
    assert len(list(place.done.rglob("*.json"))) == 3
