"""Any picture in, upright 8-bit RGB out; what is none is rejected with the reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from captiond import formats
from captiond.errors import Rejected
from captiond.inbox import whole
from captiond.metadata import blocks
from captiond.pictures import converting
from captiond.pictures.decoding import decode
from hostile.making import PNG, chunk, packed_text, wordy_png

RED, WHITE = (220, 30, 30), (255, 255, 255)
ORIENTATION = 0x0112


def _encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _decoded(image: Image.Image, format: str, **options: object) -> Image.Image:
    return decode(_encoded(image, format, **options), max_pixels=10_000_000).image


def _half_red(size: tuple[int, int] = (120, 80)) -> Image.Image:
    """Red on the left, white on the right."""
    image = Image.new("RGB", size, WHITE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image


def _is_close(image: Image.Image, at: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    pixel = image.getpixel(at)
    return isinstance(pixel, tuple) and all(abs(a - b) < 30 for a, b in zip(pixel, colour, strict=True))


def _psd() -> bytes:
    """As Photoshop saves its flattened picture: planes of one colour each, not packed."""
    planes = np.asarray(_half_red()).transpose(2, 0, 1).tobytes()
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 80, 120, 8, 3)
    return header + struct.pack(">III", 0, 0, 0) + struct.pack(">H", 0) + planes


ALL = [one.name for one in formats.FORMATS]


@pytest.mark.parametrize("format", ALL)
def test_every_promised_format_is_read(format: str) -> None:
    """Each decodes to RGB of the right size and colours, and says what it is."""
    options = {"sizes": [(120, 80)]} if format == "ICO" else {}
    data = _psd() if format == "PSD" else _encoded(_half_red(), format, **options)
    assert formats.formats_of(data[: formats.HEAD_BYTES])[0].name == format
    picture = decode(data, max_pixels=10_000_000)
    assert (picture.facts.format, picture.facts.width, picture.facts.height) == (format, 120, 80)
    assert picture.image.mode == "RGB" and picture.image.size == (120, 80)
    assert _is_close(picture.image, (20, 40), RED) and _is_close(picture.image, (100, 40), WHITE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_stands_upright_whatever_its_exif_says(orientation: int) -> None:
    """A picture stored in any of the eight EXIF orientations decodes to the same upright picture."""
    stored = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    upright = _half_red()
    upright.paste((30, 30, 220), (0, 0, 30, 30))
    image = upright
    for step in stored:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = decode(_encoded(image, "PNG", exif=exif), max_pixels=10_000_000)
    assert picture.image.tobytes() == upright.tobytes()
    assert (picture.facts.width, picture.facts.height) == image.size


def test_transparent_pixels_become_white() -> None:
    """What lies under transparency is not shown, whether in RGBA, grey with alpha or a palette."""
    image = _half_red().convert("RGBA")
    image.paste((0, 0, 0, 0), (60, 0, 120, 80))
    for decoded in (
        _decoded(image, "PNG"),
        _decoded(image, "WEBP", lossless=True),
        _decoded(image.convert("P"), "PNG", transparency=image.convert("P").getpixel((100, 40))),
    ):
        assert _is_close(decoded, (100, 40), WHITE)
        assert _is_close(decoded, (20, 40), RED)
    assert _is_close(_decoded(image.convert("LA"), "PNG"), (100, 40), WHITE)


@pytest.mark.parametrize(("greatest", "format"), [(65535, "PNG"), (65535, "TIFF"), (4095, "TIFF")])
def test_sixteen_bit_grey_keeps_its_greys(greatest: int, format: str) -> None:
    """A 16-bit (or 12-bit) ramp decodes to a ramp from black to white, not to white."""
    ramp = np.linspace(0, greatest, 256 * 16).reshape(16, 256).astype(np.uint16)
    decoded = np.asarray(_decoded(Image.fromarray(ramp), format))
    assert decoded.min() == 0 and decoded.max() == 255 and 120 < decoded.mean() < 135


def test_a_floating_point_tiff_is_stretched_and_nan_is_black() -> None:
    """Scientific TIFFs without a known white show their range instead of failing."""
    values = np.linspace(-3.0, 9.0, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[0, 0] = np.nan
    decoded = np.asarray(_decoded(Image.fromarray(values), "TIFF"))
    assert decoded[0, 0, 0] == 0 and decoded.max() == 255


def test_a_uniform_deep_picture_does_not_divide_by_zero() -> None:
    """A floating-point picture of one value decodes to one colour."""
    decoded = np.asarray(_decoded(Image.fromarray(np.full((8, 8), 7.5, np.float32)), "TIFF"))
    assert np.unique(decoded).size == 1


def test_cmyk_shows_its_colours_with_and_without_a_profile() -> None:
    """A CMYK JPEG decodes to the colours it was made of; a broken press profile does not stop it."""
    image = _half_red().convert("CMYK")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for options in ({}, {"icc_profile": b"rubbish"}, {"icc_profile": srgb}):
        decoded = _decoded(image, "JPEG", **options)
        assert _is_close(decoded, (20, 40), RED) and _is_close(decoded, (100, 40), WHITE)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1, 1), (1, 1)),
        ((150, 1), (150, 1)),
        ((151, 1), (151, 2)),
        ((4000, 1), (4000, 27)),
        ((1, 4000), (27, 4000)),
        ((30, 60_000), (400, 60_000)),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_no_picture_is_too_long_for_a_model(size: tuple[int, int], shown: tuple[int, int], mode: str) -> None:
    """What is longer than 150:1 stands in the middle of a white frame, and a notice tells of it."""
    picture = decode(_encoded(Image.new("RGB", size, RED).convert(mode), "PNG"), max_pixels=10_000_000)
    assert picture.image.size == shown and (picture.facts.width, picture.facts.height) == size
    assert [notice.code for notice in picture.facts.notices] == ([] if size == shown else ["too_long"])
    left, top = ((whole - part) // 2 for whole, part in zip(shown, size, strict=True))
    inside = picture.image.crop((left, top, left + size[0], top + size[1])).convert("L")
    assert inside.getextrema() == (inside.getpixel((0, 0)),) * 2  # nothing of the frame in it
    outside = picture.image.convert("L").histogram()[255]
    assert outside == shown[0] * shown[1] - size[0] * size[1]


def test_an_animation_shows_its_first_frame() -> None:
    """Of a GIF with several frames the first is captioned."""
    data = _encoded(
        _half_red(), "GIF", save_all=True, append_images=[Image.new("RGB", (120, 80), (0, 0, 255))]
    )
    assert _is_close(decode(data, max_pixels=10_000_000).image, (20, 40), RED)


def test_too_many_pixels_are_refused_before_decoding() -> None:
    """A decompression bomb is refused by what it declares, and the limit is named."""
    bomb = _encoded(Image.new("1", (20_000, 20_000)), "PNG")
    with pytest.raises(Rejected, match=r"20000x20000 .*limits\.max_pixels") as refusal:
        decode(bomb, max_pixels=200_000_000)
    assert refusal.value.kind == "too_many_pixels"


@pytest.mark.parametrize(
    "data", [b"", b"not an image at all", b"\xff\xd8\xff", b"%PDF-1.4", b"%!PS-Adobe-3.0 EPSF-3.0"]
)
def test_what_is_no_picture_is_rejected(data: bytes) -> None:
    """Text, documents and stumps are rejected in words for people."""
    with pytest.raises(Rejected, match="cannot be read as a picture") as refusal:
        decode(data, max_pixels=1_000_000)
    assert refusal.value.kind == "unreadable" and refusal.value.advice


@pytest.mark.parametrize("format", sorted({*ALL} - {"PSD"}))
def test_half_a_picture_is_rejected(format: str) -> None:
    """No format passes off a file cut in half as a picture."""
    noise = Image.effect_noise((300, 200), 80).convert("RGB")
    data = _encoded(noise, format)
    with pytest.raises(Rejected):
        decode(data[: len(data) // 2], max_pixels=1_000_000)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    """Rubbish where the EXIF block should be leaves the pixels readable."""
    data = _encoded(_half_red(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\x01" * 40)
    assert decode(data, max_pixels=1_000_000).image.size == (120, 80)


def _photo(size: tuple[int, int], **options: object) -> bytes:
    """A JPEG with structure at many scales, in colour."""
    noise = [Image.effect_noise((size[0] // 16, size[1] // 16), 60) for _ in "RGB"]
    image = Image.merge("RGB", noise).resize(size, Image.Resampling.BICUBIC)
    return _encoded(image, "JPEG", quality=90, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_is_decoded_no_larger_than_the_model_needs(options: dict[str, object]) -> None:
    """At a quarter where that keeps twice the needed side, with the same look; the facts are the file's."""
    data = _photo((1600, 1200), **options)
    whole = decode(data, max_pixels=10_000_000).image
    picture = decode(data, max_pixels=10_000_000, needed_side=lambda width, height: 200)
    assert picture.image.size == (400, 300)
    assert (picture.facts.width, picture.facts.height) == (1600, 1200)
    small, reduced = (
        np.asarray(image.resize((200, 150), Image.Resampling.BILINEAR), dtype=float)
        for image in (whole, picture.image)
    )
    assert np.abs(small - reduced).mean() < 1.0


@pytest.mark.parametrize(
    ("size", "needed", "decoded"),
    [
        ((1600, 1200), 401, (1600, 1200)),  # half would be 800: less than twice what is needed
        ((1600, 1200), None, (1600, 1200)),
        ((1602, 1200), 100, (801, 600)),  # a quarter would be 400.5 wide
        ((1601, 1200), 100, (1601, 1200)),
    ],
)
def test_a_jpeg_is_decoded_in_full_where_less_would_show_something_else(
    size: tuple[int, int], needed: int | None, decoded: tuple[int, int]
) -> None:
    """Never below twice the needed side, and never at other proportions than the file's."""
    picture = decode(_photo(size), max_pixels=10_000_000, needed_side=lambda width, height: needed)
    assert picture.image.size == decoded


def test_a_reduced_jpeg_stands_upright_and_a_cut_one_is_rejected() -> None:
    """Decoding at a smaller size turns a picture as its EXIF says, and overlooks no missing end."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = _photo((1600, 1200), exif=exif)
    assert decode(data, max_pixels=10_000_000, needed_side=lambda *_: 100).image.size == (150, 200)
    with pytest.raises(Rejected):
        decode(data[: len(data) // 2], max_pixels=10_000_000, needed_side=lambda *_: 100)


def test_only_jpegs_are_decoded_at_a_smaller_size() -> None:
    """Other formats have no such way, and come in full."""
    data = _encoded(Image.new("RGB", (1600, 1200), RED), "PNG")
    assert decode(data, max_pixels=10_000_000, needed_side=lambda *_: 10).image.size == (1600, 1200)


def test_a_mistake_of_ours_is_not_told_as_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in our own conversion comes through as what it is, not as `unreadable`."""

    def mistaken(_: Image.Image) -> Image.Image:
        raise TypeError("ours")

    monkeypatch.setattr(converting, "_to_eight_bits", mistaken)
    with pytest.raises(TypeError, match="ours"):
        _decoded(Image.fromarray(np.zeros((8, 8), np.uint16)), "PNG")


MODES = (
    "1", "L", "LA", "La", "P", "PA", "I", "F", "I;16", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB",
    "HSV",
)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_every_mode_becomes_rgb(mode: str, orientation: int) -> None:
    """Whatever Pillow may decode a picture to, there is a way from it to RGB."""
    image = Image.new(mode, (7, 5))
    strips = list(converting.strips(image, orientation))
    assert {strip.mode for strip in strips} == {"RGB"}
    assert sum(strip.height for strip in strips) == (5 if orientation == 1 else 7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [1, 40, 10_000])
def test_strips_make_up_the_picture(orientation: int, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However high the strips are, together they are what Pillow turns upright as a whole."""
    monkeypatch.setattr(converting, "STRIP_PIXELS", pixels)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (31, 20, 3), np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = _encoded(image, "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    decoded = decode(data, max_pixels=1000).image
    assert decoded.size == upright.size and decoded.tobytes() == upright.tobytes()


@pytest.mark.parametrize(
    "extras",
    [
        [packed_text(b"workflow", 2 << 20)],
        [packed_text(b"XML:com.adobe.xmp", 2 << 20)],
        [chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(3 << 20)))],
        [chunk(b"iCCP", b"wide\0\0" + zlib.compress(bytes(3 << 20)))],
        [chunk(b"tEXt", b"parameters\0" + b"x" * (1 << 20))] * 65,
        [chunk(b"zTXt", b"prompt\0\0" + b"not packed at all")],
        [chunk(b"iCCP", b"no end")],
        [chunk(b"tEXt", b"")] * 3,
        [chunk(b"caNv", bytes(16)), chunk(b"tIME", b"")],
    ],
    ids=["workflow", "XMP", "zTXt", "profile", "65 MiB", "broken text", "broken profile", "empty", "others"],
)
def test_no_chunk_that_no_pixel_depends_on_costs_a_png(extras: list[bytes]) -> None:
    """Whole workflows, vast profiles and broken texts, before the pixels or behind them, are not read."""
    data = wordy_png(*extras)
    for one in (data, data[:-12].replace(b"".join(extras), b"") + b"".join(extras) + data[-12:]):
        picture = decode(one, max_pixels=10_000)
        assert picture.image.getpixel((30, 30)) == RED


def test_a_png_stands_upright_by_any_of_its_chunks() -> None:
    """Its orientation is read from eXIf, from XMP and from a raw profile, whatever else is left out."""
    turned = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    block = exif.tobytes()
    raw = b"\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n"
    for extra in (
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + turned),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
        chunk(b"eXIf", block.removeprefix(b"Exif\0\0")),
    ):
        data = wordy_png(packed_text(b"workflow", 2 << 20), extra, size=(40, 30))
        assert decode(data, max_pixels=10_000).image.size == (30, 40)


def test_an_apng_shows_its_default_picture() -> None:
    """Frames are left out, and what viewers without animation show is seen."""
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    data = _encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert b"fdAT" in data and decode(data, max_pixels=10_000).image.getpixel((5, 5)) == (255, 0, 0)


def test_a_png_of_rubbish_is_still_told_as_damaged() -> None:
    """Leaving chunks out makes no picture of what is none."""
    for data in (PNG, PNG + bytes(40), PNG + chunk(b"IHDR", b"") + chunk(b"IEND", b""), wordy_png()[:50]):
        with pytest.raises(Rejected, match="cannot be read"):
            decode(data, max_pixels=10_000)


def _tiff(
    *, bits: tuple[int, ...], samples: int, photometric: int, kind: int = 1, codec: int = 1, order: str = "<"
) -> bytes:
    """A TIFF of 8 x 8 pixels, all of them 0, whose tags say what they are."""
    strip = bytes(8 * 8 * samples * max(bits) // 8 + 8)
    values = {
        256: (3, (8,)), 257: (3, (8,)), 258: (3, bits), 259: (3, (codec,)), 262: (3, (photometric,)),
        273: (4, (0,)), 277: (3, (samples,)), 278: (3, (8,)), 279: (4, (len(strip),)),
        **({338: (3, (1,))} if samples in (2, 5) else {}),
        339: (3, (kind,) * samples),
    }  # fmt: skip
    start = 8 + 2 + 12 * len(values) + 4
    table, behind = b"", b""
    strip_at = start + sum(2 * len(v) for k, v in values.values() if k == 3 and len(v) > 2)
    for tag, (width, numbers) in values.items():
        letter = {3: "H", 4: "I"}[width]
        if tag == 273:
            numbers = (strip_at,)
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(packed) > 4:
            packed, behind = struct.pack(order + "I", start + len(behind)), behind + packed
        table += struct.pack(order + "HHI", tag, width, len(numbers)) + packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", len(values))
    return head + table + bytes(4) + behind + strip


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"bits": (32,) * 3, "samples": 3, "photometric": 2, "kind": 3}, "32-bit floating-point RGB"),
        ({"bits": (64,), "samples": 1, "photometric": 1, "kind": 3}, "64-bit floating-point grey"),
        ({"bits": (14,), "samples": 1, "photometric": 1}, "14-bit grey"),
        ({"bits": (8,) * 5, "samples": 5, "photometric": 5, "order": ">"}, "8-bit CMYK with alpha"),
        ({"bits": (8,) * 3, "samples": 3, "photometric": 2, "codec": 34712}, "8-bit RGB, JPEG 2000"),
        ({"bits": (8,), "samples": 1, "photometric": 1, "codec": 34887}, "8-bit grey, LERC"),
        ({"bits": (8,), "samples": 1, "photometric": 1, "codec": 65000}, "8-bit grey, compression 65000"),
        ({"bits": (16,), "samples": 1, "photometric": 32803}, "16-bit colour filter array"),
    ],
)
def test_a_sound_tiff_that_is_not_read_is_told_by_its_kind(tags: dict[str, Any], told: str) -> None:
    """Neither damaged nor "no TIFF data": what it is, as `unsupported`."""
    with pytest.raises(Rejected) as refusal:
        decode(_tiff(**tags), max_pixels=10_000)
    assert refusal.value.kind == "unsupported"
    assert refusal.value.message == f"a kind of TIFF that is not supported: {told}"
    assert "replace" not in (refusal.value.advice or "")


@pytest.mark.parametrize(
    "tags",
    [
        {"bits": (8,), "samples": 1, "photometric": 1},
        {"bits": (8,) * 3, "samples": 3, "photometric": 2, "order": ">"},
        {"bits": (16,), "samples": 1, "photometric": 1},
        {"bits": (32,), "samples": 1, "photometric": 1, "kind": 3},
        {"bits": (8,) * 2, "samples": 2, "photometric": 1},  # grey with associated alpha
        {"bits": (8,) * 4, "samples": 4, "photometric": 5},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_tiffs_of_usual_kinds_are_read(tags: dict[str, Any]) -> None:
    """And one that is cut short is damaged, whatever its kind."""
    data = _tiff(**tags)
    assert decode(data, max_pixels=10_000).image.size == (8, 8)
    for cut in (data[:-70], data[:20]):
        with pytest.raises(Rejected) as refusal:
            decode(cut, max_pixels=10_000)
        assert refusal.value.kind == "unreadable"


def test_the_table_of_formats_says_what_the_rooms_do() -> None:
    """Who can tell a file's end, and who writes into it, stands in the table as it is."""
    told = {"HEIF", "AVIF", *(name.upper() for name, _, _ in whole._FORMATS)}
    assert {one.name for one in formats.FORMATS if one.tells_its_end} == told
    written = {one.name for one in formats.FORMATS if one.written_by == "captiond"}
    assert written == set(blocks._READERS) - {"MPO"}
    assert len({one.name for one in formats.FORMATS}) == len(formats.FORMATS)
    assert sum(len(one.endings) for one in formats.FORMATS) == len(formats.ENDINGS)


@given(st.binary(max_size=40))
def test_any_bytes_are_of_some_formats_or_of_none(head: bytes) -> None:
    """Whatever a file begins with, the table has an answer."""
    assert set(formats.formats_of(head)) <= set(formats.FORMATS)


def test_the_page_on_formats_says_what_the_table_says() -> None:
    """docs/formats.md has a line for each format, with its endings, and where its captions go.

    Those that need an extra have one as well.
    """
    lines = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8").splitlines()
    ways = {"captiond": "into it", "exiftool": "into it, with exiftool", None: "beside it"}
    for one in (*formats.FORMATS, *formats.BY_EXTRA):
        endings = " ".join(f".{ending}" for ending in one.endings)
        end = "is told before it is decoded" if one.tells_its_end else "is told by the decoder"
        assert f"| {one.shown} | {endings} | {end} | {ways[one.written_by]} |" in lines
