"""Readers that share nothing with the code under test: small walkers, Pillow, piexif, exiftool."""

from __future__ import annotations

import io
import json
import re
import shutil
import struct
import subprocess
import warnings
import zlib
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

needs_exiv2 = pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not on the PATH")
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on the PATH")


def jpeg_parts(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """(marker, payload) of each segment before the first scan, and everything from SOS on."""
    assert data[:2] == b"\xff\xd8"
    at = 2
    segments: list[tuple[int, bytes]] = []
    while True:
        assert data[at] == 0xFF, f"no marker at {at}"
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if marker == 0xDA:
            return segments, data[at:]
        (length,) = struct.unpack_from(">H", data, at + 1)
        segments.append((marker, data[at + 3 : at + 1 + length]))
        at += 1 + length


def is_exif(segment: tuple[int, bytes]) -> bool:
    return segment[0] == 0xE1 and segment[1].startswith(b"Exif\0\0")


def is_xmp(segment: tuple[int, bytes]) -> bool:
    return segment[0] == 0xE1 and segment[1].startswith(b"http://ns.adobe.com/xap/1.0/\0")


def is_photoshop(segment: tuple[int, bytes]) -> bool:
    return segment[0] == 0xED and segment[1].startswith(b"Photoshop 3.0\0")


def tiff_tags(block: bytes) -> dict[tuple[str, int], tuple[int, bytes]]:
    """(directory, tag) -> (type, value) of a classic block, with thumbnails under (directory, -1)."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
    order = {b"II": "<", b"MM": ">"}[block[:2]]
    tags: dict[tuple[str, int], tuple[int, bytes]] = {}

    def read(name: str, at: int) -> int:
        (count,) = struct.unpack_from(order + "H", block, at)
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", block, place)
            size = sizes[kind] * number
            start = place + 8 if size <= 4 else struct.unpack_from(order + "I", block, place + 8)[0]
            assert (name, tag) not in tags
            assert start + size <= len(block)
            tags[name, tag] = kind, block[start : start + size]
            if tag in (34665, 34853, 40965):
                read(f"{name}/{tag}", struct.unpack_from(order + "I", block, place + 8)[0])
        if (name, 513) in tags:
            start = struct.unpack(order + "I", tags[name, 513][1])[0]
            size = struct.unpack(order + "I", tags[name, 514][1])[0]
            assert start + size <= len(block)
            tags[name, -1] = 7, block[start : start + size]
        return int(struct.unpack_from(order + "I", block, at + 2 + 12 * count)[0])

    at, page = struct.unpack_from(order + "I", block, 4)[0], 0
    while at:
        at, page = read(f"IFD{page}", at), page + 1
    return tags


def without_description(block: bytes) -> dict[tuple[str, int], tuple[int, bytes]]:
    return {key: value for key, value in tiff_tags(block).items() if key != ("IFD0", 270)}


def pillow_description(data: bytes) -> str | None:
    """The tag as Pillow has it, whose Latin-1 is undone.

    None where Pillow hands on another block than the file's: that of an AVIF which is turned by `irot` or
    `imir` it makes anew, to say so, and loses what is no ASCII.
    """
    with Image.open(io.BytesIO(data)) as image:
        made_anew = image.format == "AVIF" and image.info["exif"].removeprefix(b"Exif\0\0") not in data
        text = image.getexif()[270]
    return None if made_anew else str(text).encode("latin-1").decode()


def pixels(data: bytes) -> list[object]:
    """Mode, size and samples of every frame, and how the last one ends; odd files make Pillow warn."""
    frames: list[object] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            try:
                for frame in count():
                    image.seek(frame)
                    frames.append((image.mode, image.size, image.tobytes()))
            except (EOFError, OSError, ValueError, TypeError, SyntaxError) as end:
                frames.append(type(end))
    return frames


# What depends on the file rather than on the image, and absolute places, which a longer EXIF moves.
_OF_THE_FILE = ("System", "ExifTool")
_OF_PLACES = ("Offset", "Offsets", "Start", "ExifByteOrder", "CurrentIPTCDigest", "FileSize")
# An extended WebP says more of itself; in a HEIC the EXIF lies amid the data of its image.
_OF_CONTAINERS = frozenset(
    {"File:FileType", "RIFF:WebP_Flags", "RIFF:ImageWidth", "RIFF:ImageHeight"}
    | {"QuickTime:MediaData", "QuickTime:MediaDataSize"}
)

Tags = dict[str, list[str]]  # group:name -> values; "warnings" -> what exiftool complains of


def exiftool_tags(folder: Path) -> dict[str, Tags]:
    """What exiftool sees in each file of a folder, by name: all tags, binary ones too, and its complaints."""
    if shutil.which("exiftool") is None:
        return {}
    options = ["-j", "-G1:4", "-a", "-b", "-q", "-q", "-charset", "exif=UTF8"]
    wanted = ["-all", "-validate", "-warning", "-error"]
    out = subprocess.run(["exiftool", *options, *wanted, str(folder)], capture_output=True, check=False)
    found = {}
    for tags in json.loads(out.stdout or b"[]"):
        seen: Tags = {"warnings": []}
        found[Path(tags.pop("SourceFile")).name] = seen
        for tag, value in tags.items():
            name = re.sub(r":Copy\d+:", ":", tag)
            if name in ("ExifTool:Warning", "ExifTool:Error"):
                seen["warnings"].append(str(value))
            elif not (name.startswith(_OF_THE_FILE) or name.endswith(_OF_PLACES) or name in _OF_CONTAINERS):
                seen[name] = sorted([*seen.get(name, []), str(value)])
    return found


def exiftool_description(tags: Tags) -> str | None:
    return next(iter(tags.get("IFD0:ImageDescription", ())), None)


def exiftool_xmp_description(tags: Tags) -> str | None:
    return next(iter(tags.get("XMP-dc:Description", ())), None)


def exiv2_xmp_description(path: Path) -> str:
    command = ["exiv2", "-q", "-K", "Xmp.dc.description", "-P", "v", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def exiftool_others(tags: Tags, *more: str) -> Tags:
    """All but the description in EXIF, and the tags named."""
    ours = ("IFD0:ImageDescription", "warnings", *more)
    return {tag: values for tag, values in tags.items() if tag not in ours}


def new_complaints(old: Tags, new: Tags) -> set[str]:
    """What exiftool did not complain of before; that a new block has no resolution is meant so."""
    return {text for text in set(new["warnings"]) - set(old["warnings"]) if "Missing required" not in text}


def png_parts(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """(type, payload) of each chunk, whose CRC is checked, and the bytes behind IEND."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    chunks: list[tuple[bytes, bytes]] = []
    while not chunks or chunks[-1][0] != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        kind, payload = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert int.from_bytes(data[at + 8 + length : at + 12 + length], "big") == zlib.crc32(kind + payload)
        chunks.append((kind, payload))
        at += 12 + length
    return chunks, data[at:]


def webp_parts(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """(FourCC, payload) of each chunk and the bytes behind the RIFF file."""
    assert data[:4] == b"RIFF"
    assert data[8:12] == b"WEBP"
    end, at, chunks = 8 + int.from_bytes(data[4:8], "little"), 12, []
    assert end % 2 == 0
    while at < end:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    assert at == end <= len(data)
    return chunks, data[end:]
