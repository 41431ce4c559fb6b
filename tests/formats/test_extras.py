"""RAW, JPEG XL and rarer TIFFs, where their extras are installed; a test is skipped where its own is not."""

from __future__ import annotations

import io
import json
import struct
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captiond.errors import Rejected
from captiond.exiftool import Exiftool, version
from captiond.formats import extras
from captiond.pictures.pool import Decoders, How
from captiond.service.build import build
from captiond.settings import load
from daemon_process import Place, captiond
from formats.making import NEF, jpeg, raw_tiff

needs = {
    name: pytest.mark.skipif(extras.why_not(name) is not None, reason=f"the extra {name} is not installed")
    for name in ("raw", "jxl", "tiff")
}
FAST = {"settle_seconds": 0.2, "settle_untold_seconds": 0.3}
DNG = {"dng": True, "codec": 1}
BIG = raw_tiff(b"Apple\0", size=(2000, 1400), preview=jpeg(1600, 1120, "navy"), **DNG)  # type: ignore[arg-type]
PLAIN = raw_tiff(b"Apple\0", size=(1400, 1000), **DNG)  # type: ignore[arg-type]
TINY = raw_tiff(b"Apple\0", size=(2000, 1400), preview=jpeg(160, 112, "navy"), **DNG)  # type: ignore[arg-type]


@pytest.fixture
def quick(place: Place) -> Place:
    """RAW files wait a little longer, in case that a JPEG of their shot comes; here next to nothing."""
    return Place(place.root, {"watch": FAST, "model": _model(place)})


def _model(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.settings.read_text())["model"]
    return found


# Decoders


@needs["raw"]
def test_a_raw_is_seen_by_its_preview(decoders: Decoders) -> None:
    """The one that the camera made; the facts are the sensor's."""
    with decoders.decoded(BIG) as picture:
        assert (picture.facts.format, picture.facts.width, picture.facts.height) == ("RAW", 2000, 1400)
        assert picture.image.size == (1600, 1120)
        red, _, blue = np.asarray(picture.image)[500, 800]
        assert int(blue) > int(red) + 60


@needs["raw"]
@pytest.mark.parametrize("data", [PLAIN, TINY], ids=["without a preview", "with a thumbnail alone"])
def test_a_raw_without_a_preview_is_seen_at_half_its_size(decoders: Decoders, data: bytes) -> None:
    """From a thumbnail nothing could be told."""
    with decoders.decoded(data) as picture:
        assert picture.image.size == (picture.facts.width // 2, picture.facts.height // 2)


@needs["raw"]
def test_a_raw_under_another_name_is_a_raw(decoders: Decoders) -> None:
    """Its content tells, whatever reader of TIFFs would take its thumbnail for the picture."""
    for called_raw in (True, False):
        with decoders.decoded(BIG, how=How(called_raw=called_raw)) as picture:
            assert picture.facts.format == "RAW"


@needs["raw"]
@pytest.mark.parametrize(
    "data", [NEF[:200], b"FUJIFILMCCD-RAW 0201" + bytes(400), b"IIRO\x08\0\0\0" + bytes(99)]
)
def test_a_damaged_raw_is_told_as_that(decoders: Decoders, data: bytes) -> None:
    """Rejected, and the next picture is decoded."""
    with pytest.raises(Rejected), decoders.decoded(data, how=How(called_raw=True)):
        pass
    with decoders.decoded(jpeg()) as picture:
        assert picture.facts.format == "JPEG"


def test_an_old_libraw_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has faults that a file can use: it is as if the extra were not there, and the reason is said."""
    (tmp_path / "rawpy.py").write_text("libraw_version = (0, 21, 4)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rawpy", raising=False)
    extras.why_not.cache_clear()
    try:
        assert "LibRaw 0.21.4" in (extras.why_not("raw") or "")
    finally:
        extras.why_not.cache_clear()
        monkeypatch.undo()


@needs["jxl"]
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_jpeg_xl_is_seen(decoders: Decoders, mode: str) -> None:
    """Transparency on white, as everywhere; a codestream alone, and one in a container."""
    import pylibjxl

    image = Image.new("RGBA", (64, 40), (200, 30, 30, 255))
    image.paste((0, 0, 0, 0), (32, 0, 64, 40))
    pixels = np.asarray(image.convert(mode) if mode != "RGBA" else image)
    for extra in ({}, {"xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}):
        data = pylibjxl.encode(np.ascontiguousarray(pixels), lossless=True, **extra)
        with decoders.decoded(data) as picture:
            assert (picture.facts.format, picture.image.size) == ("JXL", (64, 40))
            if mode == "RGBA":
                assert picture.image.getpixel((50, 20)) == (255, 255, 255)
                assert picture.image.getpixel((5, 5)) == (200, 30, 30)
    with pytest.raises(Rejected) as refused, decoders.decoded(data[:90]):
        pass
    assert refused.value.kind == "unreadable"


@needs["tiff"]
@pytest.mark.parametrize(
    ("dtype", "shape", "more", "expected"),
    [
        ("float32", (8, 9, 3), {"photometric": "rgb"}, (128, 128, 128)),
        ("float64", (8, 9), {}, (128, 128, 128)),
        ("uint16", (3, 8, 9), {"photometric": "rgb", "planarconfig": "separate"}, (128, 128, 128)),
        ("uint8", (8, 9, 5), {"photometric": "separated", "extrasamples": ["unassalpha"]}, (64, 64, 64)),
        ("float32", (8, 9, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, (191, 191, 191)),
        ("uint16", (8, 9, 3), {"photometric": "rgb", "compression": "jpegxl"}, (128, 128, 128)),
        ("uint8", (8, 9, 3), {"photometric": "rgb", "compression": "jpeg2000"}, (128, 128, 128)),
        ("uint8", (8, 9), {"compression": "lerc"}, (128, 128, 128)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_rarer_tiff_is_seen(
    decoders: Decoders,
    dtype: str,
    shape: tuple[int, ...],
    more: dict[str, Any],
    expected: tuple[int],
    order: str,
) -> None:
    """All of half its whole, in every kind of number; BigTIFF as well."""
    import tifffile

    half = 0.5 if dtype.startswith("float") else (1 << (8 * np.dtype(dtype).itemsize - 1))
    buffer = io.BytesIO()
    pixels = np.full(shape, half, dtype)
    more = more if "compression" in more else {**more, "byteorder": order}
    tifffile.imwrite(buffer, pixels, bigtiff=order == ">", metadata=None, **more)
    with decoders.decoded(buffer.getvalue()) as picture:
        assert (picture.facts.format, picture.image.size) == ("TIFF", (9, 8))
        seen = np.asarray(picture.image)[4, 4].astype(int)
        assert np.abs(seen - expected).max() <= 2, seen


@needs["tiff"]
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_tiff_of_odd_bits_is_seen(decoders: Decoders, bits: int) -> None:
    """Over their whole range."""
    width, height = 8, 8
    packed = int("1" * bits * width * height, 2).to_bytes(bits * width * height // 8, "big")
    values = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: 1,
        273: 0,
        277: 1,
        278: height,
        279: len(packed),
    }
    start = 8 + 2 + 12 * len(values) + 4
    table = b"".join(
        struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in values.items()
    )
    data = struct.pack("<2sHIH", b"II", 42, 8, len(values)) + table + bytes(4) + packed
    with decoders.decoded(data) as picture:
        assert picture.image.getpixel((3, 3)) == (255, 255, 255)


# Whole deliveries


@needs["raw"]
@pytest.mark.parametrize(("named", "beside"), [("full", "a.DNG.xmp"), ("stem", "a.xmp")])
def test_a_raw_alone_is_a_picture_of_its_own(place: Place, named: str, beside: str) -> None:
    """Never a byte into it: the caption stands in the .xmp that its owner's programs read."""
    place = Place(place.root, {"watch": FAST, "model": _model(place), "output": {"xmp_sidecar_name": named}})
    place.drop(PLAIN, "a.DNG")
    assert place.once().returncode == 0
    assert (place.done / "a.DNG").read_bytes() == PLAIN
    caption = place.sidecar("a.DNG")["caption"]
    assert caption in (place.done / beside).read_text(encoding="utf-8")
    assert place.sidecar("a.DNG")["source"]["format"] == "RAW"
    assert sorted(path.name for path in place.done.iterdir() if path.is_file()) == sorted(
        ["a.DNG", beside, "a.DNG.caption.json"]
    )


@needs["raw"]
@pytest.mark.parametrize("named", ["full", "stem"])
@pytest.mark.parametrize("came", [None, "a.DNG.xmp", "a.xmp"])
def test_a_raw_and_its_jpeg_are_one_question(place: Place, named: str, came: str | None) -> None:
    """One caption, in the JPEG and in the RAW's own .xmp, whichever came along or is to be made."""
    server = _model(place)
    place = Place(place.root, {"watch": FAST, "model": server, "output": {"xmp_sidecar_name": named}})
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" '
        'crs:Exposure2012="+0.35"/></rdf:RDF></x:xmpmeta>'
    )
    if came:
        place.drop(packet.encode(), came)
    place.drop(PLAIN, "a.DNG")
    place.drop(jpeg(200, 150), "a.jpg")
    assert place.once().returncode == 0
    assert place.left_in_inbox() == []
    beside = came or ("a.DNG.xmp" if named == "full" else "a.xmp")
    caption = place.sidecar("a.jpg")["caption"]
    assert (place.done / "a.DNG").read_bytes() == PLAIN
    text = (place.done / beside).read_text(encoding="utf-8")
    assert caption in text and (came is None or "+0.35" in text)
    assert caption.encode() in (place.done / "a.jpg").read_bytes()
    assert not (place.done / "a.DNG.caption.json").exists()
    assert [path.name for path in place.done.glob("*.xmp")] == [beside]


@needs["raw"]
def test_a_raw_is_served_alone_if_its_jpeg_failed(quick: Place) -> None:
    """It travels as long as there is a picture that takes it."""
    quick.drop(PLAIN, "a.DNG")
    quick.drop(b"a letter, whatever it is called " * 9, "a.jpg")
    assert quick.once().returncode == 1
    assert (quick.failed / "a.jpg").exists() and (quick.done / "a.DNG").read_bytes() == PLAIN


@needs["raw"]
def test_a_raw_that_comes_after_its_jpeg_is_told_as_that(quick: Place) -> None:
    """It is a picture of its own by then, and its record says so."""
    quick.drop(jpeg(), "trip/a.jpg")
    assert quick.once().returncode == 0
    quick.drop(PLAIN, "trip/a.DNG")
    explained = captiond("explain", "-c", quick.settings, "trip/a.DNG").stdout
    assert "The picture of its shot was delivered before it" in explained
    assert quick.once().returncode == 0
    (warning,) = [one for one in quick.sidecar("trip/a.DNG")["warnings"] if one["code"] == "late_raw"]
    assert "trip/a.jpg" in warning["message"]


@needs["raw"]
def test_a_persons_caption_goes_into_the_raws_xmp_too(quick: Place) -> None:
    """An edit changes both, and makes no third place."""
    quick.drop(PLAIN, "a.DNG")
    quick.drop(jpeg(), "a.jpg")
    assert quick.once().returncode == 0
    delivery = build(load(quick.settings, {}, quick.root)).delivery
    delivery.open()
    try:
        delivery.edit("a.jpg", "Grandmother's garden.", datetime.now(UTC))
    finally:
        delivery.close()
    assert "garden" in (quick.done / "a.DNG.xmp").read_text(encoding="utf-8")
    assert not (quick.done / "a.jpg.xmp").exists()


@needs["raw"]
def test_one_learns_whose_a_raw_is(quick: Place) -> None:
    """Beside its JPEG a companion; alone a picture."""
    quick.drop(PLAIN, "a.DNG")
    quick.drop(jpeg(), "a.jpg")
    quick.drop(PLAIN, "b.DNG")
    explained = [captiond("explain", "-c", quick.settings, name).stdout for name in ("a.DNG", "b.DNG")]
    assert "a companion of a.jpg" in explained[0] and "complete" in explained[1]


@needs["raw"]
def test_a_plain_tiff_that_is_called_a_raw_is_not_written_into(quick: Place) -> None:
    """Some cameras write what any TIFF may say."""
    buffer = io.BytesIO()
    Image.new("RGB", (90, 60), "teal").save(buffer, "TIFF")
    quick.drop(buffer.getvalue(), "a.dng")
    assert quick.once().returncode == 0
    assert (quick.done / "a.dng").read_bytes() == buffer.getvalue()
    assert (quick.done / "a.dng.xmp").exists()


@needs["raw"]
@pytest.mark.skipif(version() is None, reason="exiftool is not installed")
def test_exiftool_finds_the_preview_that_libraw_does_not() -> None:
    """In a DNG as in any other; of what has none, nothing."""
    with closing(Exiftool()) as tool:
        assert (tool.preview(BIG) or b"")[:3] in (b"\xff\xd8\xff", b"")
        assert tool.preview(PLAIN) is None and tool.preview(b"no picture") is None


@needs["jxl"]
def test_a_jpeg_xl_is_delivered_with_its_xmp(place: Place) -> None:
    """Byte for byte, with the caption beside it."""
    import pylibjxl

    data = pylibjxl.encode(np.full((40, 60, 3), 120, np.uint8), lossless=True)
    place.drop(data, "a.jxl")
    assert place.once().returncode == 0
    assert (place.done / "a.jxl").read_bytes() == data
    assert place.sidecar("a.jxl")["caption"] in (place.done / "a.jxl.xmp").read_text(encoding="utf-8")
