"""No file makes a look long, whatever it is made of."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable

import pytest

from captiond.inbox.whole import Lack, find_fault, find_lack
from inbox.making import encoded, picture

LONGEST_LOOK_SECONDS = 0.25  # of CPU, on the slowest machine that runs this; measured: below 0.05


def tiff_of_one_array(entries: int, values: int) -> bytes:
    """Every entry of the directory points at the same array."""
    table_at = 10
    data_at = table_at + 12 * entries + 4
    entry = struct.pack("<HHII", 273, 4, values, data_at)
    head = b"II*\0" + struct.pack("<IH", 8, entries)
    return head + entry * entries + bytes(4) + struct.pack("<I", 8) * values


def big_tiff_of_one_array(entries: int, values: int) -> bytes:
    data_at = 16 + 8 + 20 * entries + 8
    entry = struct.pack("<HHQQ", 324, 16, values, data_at)
    head = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, entries)
    return head + entry * entries + bytes(8) + struct.pack("<Q", 8) * values


def tiff_of_many_directories() -> bytes:
    """Each directory begins two bytes behind the one before, so all share their tables."""
    head = b"II*\0" + struct.pack("<I", 8)
    return head + struct.pack("<H", 60_000) * 3_000_000


def tiff_chain(directories: int) -> bytes:
    data = b"II*\0" + struct.pack("<I", 8)
    for number in range(directories):
        following = 8 + (number + 1) * (2 + 12 * 300 + 4)
        data += struct.pack("<H", 300) + struct.pack("<HHII", 256, 3, 1, 1) * 300
        data += struct.pack("<I", following)
    return data + bytes(2)


def jpeg_with(segments: bytes) -> bytes:
    plain = encoded("JPEG", picture(32, 32))
    return plain[:2] + segments + plain[2:]


def xmp(packet: bytes) -> bytes:
    data = b"http://ns.adobe.com/xap/1.0/\0" + packet
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data


def box(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(data), kind) + data + bytes(4)


def gif_of_tiny_blocks(count: int) -> bytes:
    return b"GIF89a" + bytes(7) + b"!\xfe" + b"\x01a" * count


FTYP = box(b"ftyp", b"heic\0\0\0\0heicmif1")

TOO_COMPLEX: dict[str, Callable[[], bytes]] = {
    "TIFF, one array for 65,535 entries": lambda: tiff_of_one_array(65_535, 1_000_000),
    "TIFF, one array for 2,000 entries": lambda: tiff_of_one_array(2_000, 1_000_000),
    "TIFF, small arrays": lambda: tiff_of_one_array(3_000, 5_000),
    "BigTIFF, one array": lambda: big_tiff_of_one_array(1_000, 800_000),
    "BigTIFF, many entries": lambda: big_tiff_of_one_array(500_000, 1),
    "TIFF, many directories": lambda: tiff_chain(1_000),
    "JPEG, empty segments": lambda: jpeg_with(b"\xff\xe5\0\x02" * 1_000_000),
    "JPEG, comments": lambda: jpeg_with(b"\xff\xfe\0\x03x" * 500_000),
    "JPEG, markers without data": lambda: jpeg_with(b"\xff\x01" * 1_000_000),
    "JPEG, many XMP packets": lambda: jpeg_with(xmp(b"<a><b c='d'/></a>") * 20_000),
    "PNG, empty chunks": lambda: b"\x89PNG\r\n\x1a\n" + png_chunk(b"teXt") * 1_000_000,
    "HEIF, empty boxes": lambda: FTYP + box(b"free") * 1_000_000,
    "HEIF, many metas": lambda: FTYP + box(b"meta", bytes(4) + box(b"free") * 500) * 500,
}

BEARABLE: dict[str, Callable[[], bytes]] = {
    "TIFF, directories that overlap": tiff_of_many_directories,
    "GIF, tiny blocks": lambda: gif_of_tiny_blocks(2_000_000),
    "JPEG, fill bytes": lambda: jpeg_with(b"\xff" * 1_000_000),
    "JPEG, a scan of markers": lambda: encoded("JPEG")[:-2] + b"\xff\xc4\0\x02" * 400_000 + b"\xff\xd9film",
    "JPEG, JPEGs behind it": lambda: encoded("JPEG", picture(8, 8)) * 20_000,
    "JPEG, films behind it": lambda: encoded("JPEG") + box(b"ftyp", b"mp42") + box(b"free") * 1_000_000,
    "HTML, comments": lambda: b"<!---->" * 100_000,
    "text": lambda: b"a" * 1_000_000,
}


def look(data: bytes) -> tuple[Lack | None, float]:
    descriptor = os.memfd_create("image")
    try:
        os.write(descriptor, data)
        began = time.process_time()
        find_fault(descriptor, len(data))
        lack = find_lack(descriptor, len(data))
        return lack, time.process_time() - began
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("name", TOO_COMPLEX)
def test_what_no_picture_needs_is_told_at_once(name: str) -> None:
    """A file whose structure would cost far more than any picture's is told as `too_complex`, and quickly."""
    lack, seconds = look(TOO_COMPLEX[name]())
    assert lack is not None and lack.fault is not None
    assert lack.fault.kind == "too_complex" and lack.fault.advice
    assert seconds < LONGEST_LOOK_SECONDS


@pytest.mark.parametrize("name", BEARABLE)
def test_odd_files_cost_no_more(name: str) -> None:
    """What is odd and may be a picture all the same is not refused, and its look is as short."""
    lack, seconds = look(BEARABLE[name]())
    assert lack is None or lack.fault is None
    assert seconds < LONGEST_LOOK_SECONDS


def test_a_large_upload_is_never_too_complex() -> None:
    """A large picture that is still being uploaded has many parts and no end: it waits, and does not fail."""
    chunk = png_chunk(b"IDAT", bytes(8192))
    lack, _ = look(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", bytes(13)) + chunk * 15_000)
    assert lack is not None and lack.fault is None and not lack.certain


def test_large_sound_pictures_are_not_refused() -> None:
    """200,000 tiles, as scanned slides have them, and some hundred segments, as profiles and XMP need."""
    tiles, data_at = 200_000, 8 + 2 + 2 * 12 + 4
    offsets = struct.pack("<HHII", 324, 4, tiles, data_at)
    lengths = struct.pack("<HHII", 325, 4, tiles, data_at + 4 * tiles)
    head = b"II*\0" + struct.pack("<IH", 8, 2) + offsets + lengths + bytes(4)
    assert look(head + struct.pack("<I", 8) * tiles + struct.pack("<I", 4) * tiles)[0] is None
    assert look(jpeg_with((b"\xff\xe2" + struct.pack(">H", 60_000) + bytes(59_998)) * 255))[0] is None
