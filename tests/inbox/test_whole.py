"""Containers, whole and cut short: every format, made for real."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from captiond.inbox.whole import Lack, find_lack
from inbox.making import encoded, picture


def frames(count: int = 3) -> list[Image.Image]:
    """Made anew for each use: saving leaves settings of the encoder behind in an image."""
    return [picture(40, 30 + number).crop((0, 0, 32, 30)) for number in range(count)]


IMAGES = {
    "jpeg": encoded("JPEG", quality=90),
    "jpeg progressive": encoded("JPEG", quality=90, progressive=True),
    "jpeg with headers": encoded(
        "JPEG", exif=b"Exif\0\0" + bytes(3000), comment=b"c" * 500, icc_profile=bytes(70000)
    ),
    "jpeg long": encoded("JPEG", picture(500, 400), quality=95),
    "jpeg long progressive": encoded("JPEG", picture(500, 400), quality=95, progressive=True),
    "jpeg flat": encoded("JPEG", Image.new("RGB", (3000, 3000)), optimize=True),
    "mpo": encoded("MPO", save_all=True, append_images=frames()),
    "png": encoded("PNG"),
    "png long": encoded("PNG", picture(300, 300)),
    "apng": encoded("PNG", frames()[0], save_all=True, append_images=frames()[1:]),
    "webp": encoded("WEBP"),
    "webp lossless": encoded("WEBP", lossless=True),
    "webp animation": encoded("WEBP", frames()[0], save_all=True, append_images=frames()[1:]),
    "tiff": encoded("TIFF"),
    "tiff deflate": encoded("TIFF", compression="tiff_deflate"),
    "tiff jpeg": encoded("TIFF", compression="jpeg"),
    "tiff pages": encoded("TIFF", save_all=True, append_images=frames()),
    "tiff big": encoded("TIFF", big_tiff=True),
    "gif": encoded("GIF", picture().quantize()),
    "gif animation": encoded("GIF", frames()[0], save_all=True, append_images=frames()[1:]),
    "bmp": encoded("BMP"),
    "bmp palette": encoded("BMP", picture().quantize()),
    "dib": encoded("DIB"),
    "webp long": encoded("WEBP", picture(300, 300)),
    "heif": encoded("HEIF"),
    "heif long": encoded("HEIF", picture(300, 300)),
    "avif": encoded("AVIF"),
}

# Where a cut between two blocks leaves something that can be read all the same.
DOUBTFUL = {"gif", "gif animation", "tiff", "tiff deflate", "tiff jpeg", "tiff pages", "tiff big"}

APPENDIX = {
    "zeros": bytes(100_000),
    "few zeros": bytes(3),
    "text": b"<appendix>" * 20_000,
    "noise": os.urandom(200_000),
    "film": b"\0\0\0\x18ftypmp42" + os.urandom(150_000) + bytes(5000),
}


def lack_of(data: bytes) -> Lack | None:
    descriptor = os.memfd_create("image")
    try:
        os.write(descriptor, data)
        return find_lack(descriptor, len(data))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("name", IMAGES)
def test_whole_pictures_are_whole(name: str) -> None:
    """Whatever an encoder makes is whole."""
    assert lack_of(IMAGES[name]) is None


@pytest.mark.parametrize("name", IMAGES)
def test_cut_pictures_are_not_whole(name: str) -> None:
    """A picture that lacks its end is not whole, wherever it was cut."""
    data = IMAGES[name]
    cuts = {1, 2, 3, 11, 12, 25, 26, 30, 100, len(data) - 1, len(data) - 2, len(data) - 3, len(data) - 12}
    cuts |= {len(data) * part // 64 for part in range(1, 64)}
    if name == "mpo":
        # Cut behind its first picture it is a picture still; only the cut within the first can be told.
        cuts = {cut for cut in cuts if cut < data.index(b"\xff\xd9")}
    if name == "tiff pages":
        cuts = {cut for cut in cuts if cut < len(data.rstrip(b"\0"))}  # padding is no loss
    for cut in sorted(cut for cut in cuts if 0 < cut < len(data)):
        lack = lack_of(data[:cut])
        assert lack is not None, f"cut at {cut} of {len(data)}"
        assert lack.certain or name in DOUBTFUL
        assert lack.reason


@pytest.mark.parametrize("appendix", APPENDIX)
@pytest.mark.parametrize("name", IMAGES)
def test_what_follows_a_whole_picture_does_not_matter(name: str, appendix: str) -> None:
    """Motion photos, padding, notes of phones: data behind the picture never makes it certainly unwhole."""
    lack = lack_of(IMAGES[name] + APPENDIX[appendix])
    assert lack is None or (not lack.certain and name.startswith(("heif", "avif")))


@pytest.mark.parametrize(
    "name", ["jpeg long", "jpeg long progressive", "png long", "gif", "webp long", "heif long"]
)
def test_room_that_is_not_written_yet_is_not_whole(name: str) -> None:
    """A file that got its full length first and its data from the front, as Windows copies, is not whole."""
    data = IMAGES[name]
    for part in (0.02, 0.3, 0.6):
        written = int(len(data) * part)
        assert lack_of(data[:written] + bytes(len(data) - written)) is not None, part


def test_nothing_and_zeros_are_not_whole() -> None:
    """An empty file, a few bytes, and a file full of zeros are not whole."""
    for data in (b"", b"\0", b"\xff\xd8\xff", bytes(26), bytes(5000), bytes(3_000_000)):
        lack = lack_of(data)
        assert lack is not None
        assert lack.certain


def test_unknown_content_is_left_to_the_decoder() -> None:
    """What is no container that we know counts as whole: the decoder will tell."""
    for data in (b"This is no picture at all." * 10, os.urandom(64) + b"x" * 100, b"%PDF-1.7" + b" " * 99):
        assert lack_of(data) is None


def test_the_preview_in_the_headers_is_not_the_picture() -> None:
    """A JPEG that was cut behind its thumbnail, which has an end marker of its own, is not whole."""
    thumbnail = encoded("JPEG", picture(32, 24))
    data = encoded("JPEG", picture(300, 300), exif=b"Exif\0\0" + thumbnail)
    assert lack_of(data) is None
    behind = data.index(b"\xff\xd9") + 2
    for cut in (behind, behind + 1, len(data) // 2):
        lack = lack_of(data[:cut])
        assert lack is not None
        assert lack.certain


def test_a_heif_without_its_data_is_not_whole() -> None:
    """A HEIF cut exactly between its description and its data is not whole."""
    for name in ("heif", "avif"):
        data = IMAGES[name]
        lack = lack_of(data[: data.index(b"mdat") - 4])
        assert lack is not None
        assert lack.certain


def test_a_tiff_that_is_being_written_is_not_whole() -> None:
    """A TIFF whose directory is not there yet is not whole."""
    lack = lack_of(b"II*\0\0\0\0\0" + os.urandom(5000))
    assert lack is not None
    assert lack.certain


def test_a_loop_of_directories_ends() -> None:
    """A TIFF whose directories point at each other is looked at once."""
    directory = struct.pack("<HHHII", 1, 256, 3, 1, 1) + struct.pack("<I", 8)
    assert lack_of(b"II*\0\x08\0\0\0" + directory + bytes(50)) is None


def test_large_files_are_not_read_in_full(tmp_path: Path) -> None:
    """A few blocks tell, even of a file of 4 GB."""
    for name in ("jpeg", "png", "webp", "gif", "heif", "bmp", "tiff"):
        path = tmp_path / name
        path.write_bytes(IMAGES[name])
        with path.open("r+b") as file:
            file.truncate(4 << 30)
            before = _bytes_read()
            find_lack(file.fileno(), 4 << 30)
            assert _bytes_read() - before < 6 << 20, name


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("name", IMAGES)
def test_damage_is_no_crash(name: str) -> None:
    """Whatever bytes are wrong, there is an answer."""
    data = IMAGES[name][:20_000]
    for offset in range(0, min(len(data), 200)):
        for value in (0, 0xFF, data[offset] ^ 0x55):
            lack_of(data[:offset] + bytes([value]) + data[offset + 1 :])


def test_images_are_images() -> None:
    """The pictures of these tests can be decoded."""
    pillow_heif.register_heif_opener()
    for name, data in IMAGES.items():
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.width > 0, name
