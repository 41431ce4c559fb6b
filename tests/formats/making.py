"""RAW files and JPEG XLs as cameras and programs make them, as small as they can be."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import Image

Entry = tuple[int, int, Sequence[int] | bytes]  # tag, type, values


def directory(entries: list[Entry], at: int, order: str, following: int = 0) -> bytes:
    """A directory that lies at `at`, with what it points to behind it."""
    table, behind = b"", b""
    end = at + 2 + 12 * len(entries) + 4
    for tag, kind, values in sorted(entries, key=lambda entry: entry[0]):
        letter = {1: "B", 2: "s", 3: "H", 4: "I"}[kind]
        text = values if isinstance(values, bytes) else b""
        packed = text or struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            packed, behind = struct.pack(order + "I", end + len(behind)), behind + packed
        table += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return struct.pack(order + "H", len(entries)) + table + struct.pack(order + "I", following) + behind


def thumbnail(maker: bytes | None, width: int, more: list[Entry]) -> list[Entry]:
    """What stands first in most RAW files, and is all that a reader of TIFFs shows."""
    return [
        (254, 4, (1,)), (256, 4, (width,)), (257, 4, (12,)), (258, 3, (8, 8, 8)), (259, 3, (1,)),
        (262, 3, (2,)), (277, 3, (3,)), (278, 4, (12,)), (279, 4, (width * 12 * 3,)),
        *([(271, 2, maker)] if maker else []), *more,
    ]  # fmt: skip


def raw_tiff(
    maker: bytes | None = b"NIKON CORPORATION\0",
    *,
    codec: int = 34713,
    photometric: int = 32803,
    dng: bool = False,
    order: str = "<",
    size: tuple[int, int] = (64, 48),
    head: bytes = b"",
    preview: bytes = b"",
) -> bytes:
    """A RAW that is a TIFF: a thumbnail of 16 x 12 pixels, and what the sensor saw in a directory within.

    A `preview` is a JPEG in a directory of its own.
    """
    start, (width, height) = 8 + len(head), size
    more: list[Entry] = [(50706, 1, (1, 4, 0, 0)), (50708, 2, b"A Camera\0")] if dng else []
    room = 2 + 12 * 16 + 64 + 200
    inner_at = start + room
    preview_at, data_at = inner_at + room, inner_at + 2 * room
    thumb_at, sensor_at = data_at, data_at + 16 * 12 * 3
    shown_at = sensor_at + width * height * 2
    inner = [inner_at, preview_at] if preview else [inner_at]
    first = directory([*thumbnail(maker, 16, more), (273, 4, (thumb_at,)), (330, 4, inner)], start, order)
    sensor = directory(
        [
            (254, 4, (0,)), (256, 4, (width,)), (257, 4, (height,)), (258, 3, (16,)), (259, 3, (codec,)),
            (262, 3, (photometric,)), (273, 4, (sensor_at,)), (277, 3, (1,)), (278, 4, (height,)),
            (279, 4, (width * height * 2,)), (33421, 3, (2, 2)), (33422, 1, (0, 1, 1, 2)), (50714, 3, (0,)),
            (50717, 4, (65535,)),
        ],
        inner_at, order,
    )  # fmt: skip
    small = directory(
        [
            (254, 4, (1,)), (256, 4, (64,)), (257, 4, (48,)), (258, 3, (8, 8, 8)), (259, 3, (7,)),
            (262, 3, (6,)), (273, 4, (shown_at,)), (277, 3, (3,)), (278, 4, (48,)), (279, 4, (len(preview),)),
        ],
        preview_at, order,
    )  # fmt: skip
    mark = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    pixels = struct.pack(order + "H", 20_000) * (width * height)
    body = mark + head + first
    body = body.ljust(inner_at, b"\0") + sensor
    body = body.ljust(preview_at, b"\0") + (small if preview else b"")
    return body.ljust(data_at, b"\0") + bytes([200]) * (16 * 12 * 3) + pixels + preview


def jpeg(width: int = 64, height: int = 48, colour: str = "orange") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "JPEG")
    return buffer.getvalue()


NEF = raw_tiff()
DNG = raw_tiff(b"Apple\0", dng=True, codec=1, order=">")
CR2 = raw_tiff(b"Canon\0", codec=6, photometric=1, head=b"CR\x02\0" + bytes(4))
CR3 = struct.pack(">I", 24) + b"ftypcrx \0\0\0\x01crx isom" + struct.pack(">I", 8) + b"moov" + bytes(64)
RAWS = {
    "NEF": NEF,
    "DNG": DNG,
    "CR2": CR2,
    "CR3": CR3,
    "ARW": raw_tiff(b"SONY\0", codec=32767),
    "PEF": raw_tiff(b"PENTAX\0", codec=65535, order=">"),
    "SRW": raw_tiff(b"SAMSUNG\0", codec=32770),
    "RAW": raw_tiff(b"Leica Camera AG\0", codec=1),
    "IIQ": raw_tiff(b"Phase One\0", codec=1, photometric=2, head=b"IIII\0\0\0\0"),
    "RAF": b"FUJIFILMCCD-RAW 0201FF389501X100" + bytes(200),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(200),
    "ORF": b"IIRO\x08\0\0\0" + bytes(200),
    "CRW": b"II\x1a\0\0\0HEAPCCDR\x02\0" + bytes(200),
    "X3F": b"FOVb\x03\0\x02\0" + bytes(200),
    "MRW": b"\0MRM\0\0\0\x20" + bytes(200),
}
# All that a blue JPEG XL of 1024 x 1024 pixels needs to begin with; no more is looked at.
JXL_HEADS = (b"\xff\x0a\xfa\x7f" + bytes(40), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40))
