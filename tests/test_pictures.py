"""Any picture in, upright 8-bit RGB out; what is none is rejected with the reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from captiond.errors import Rejected
from captiond.pictures import converting
from captiond.pictures.decoding import decode

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


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF", "AVIF"])
def test_every_promised_format_is_read(format: str) -> None:
    """The eight formats decode to RGB of the right size and colours, and say what they are."""
    picture = decode(_encoded(_half_red(), format), max_pixels=10_000_000)
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


@pytest.mark.parametrize("size", [(1, 1), (4000, 1), (1, 4000)])
def test_extreme_sizes_are_pictures_too(size: tuple[int, int]) -> None:
    """One pixel, or a line of them, decodes."""
    assert _decoded(Image.new("RGB", size, RED), "PNG").size == size


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


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF", "AVIF"])
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
