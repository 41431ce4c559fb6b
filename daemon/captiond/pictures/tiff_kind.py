"""What kind of TIFF it is, in words for a person whose sound TIFF captiond does not decode.  Pure.

TIFF is a family: floats, 12 bits, five colours, codecs of instrument makers.  Such a file is not damaged, and
must not be called so.
"""

from __future__ import annotations

import mmap
import struct

_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of the numbers that matter here
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _EXTRA, _SAMPLE_FORMAT = 277, 284, 338, 339
_WANTED = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA, _SAMPLE_FORMAT,
}  # fmt: skip
_MOST_ENTRIES = 4096
_MOST_VALUES = 64

_COLOURS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab",
    10: "ITULab", 32803: "colour filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
_CODECS = {
    1: "", 2: "CCITT", 3: "CCITT G3", 4: "CCITT G4", 5: "LZW", 6: "old-style JPEG", 7: "JPEG", 8: "Deflate",
    32773: "PackBits", 32809: "ThunderScan", 32946: "Deflate", 34676: "SGI Log", 34677: "SGI Log 24",
    34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP",
    50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_USUAL_CODECS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
_USUAL_SAMPLES = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # by the kind of colours
_NUMBERS = {1: "", 2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex floating-point "}


def kind_of(data: bytes | mmap.mmap, *, is_opened: bool) -> str | None:
    """For example `32-bit floating-point RGB, LZW`; None if its kind is decoded, so that it is damaged.

    `is_opened`: whether Pillow knew what to do with it, and only its data could not be read.
    """
    try:
        tags = _first_directory(data)
    except struct.error:
        return None
    if not tags.get(_WIDTH) or not tags.get(_HEIGHT):
        return None
    if tags.get(_COMPRESSION, (1,))[0] in _USUAL_CODECS and (is_opened or _is_ordinary(tags)):
        return None
    return _told(tags)


def _told(tags: dict[int, tuple[int, ...]]) -> str:
    bits = sorted(set(tags.get(_BITS, (1,))))
    number = _NUMBERS.get(tags.get(_SAMPLE_FORMAT, (1,))[0], "")
    photometric = tags.get(_PHOTOMETRIC, (0,))[0]
    colour = _COLOURS.get(photometric, f"colours of kind {photometric}")
    alpha = " with alpha" if _EXTRA in tags else ""
    codec = tags.get(_COMPRESSION, (1,))[0]
    packed = _CODECS.get(codec, f"compression {codec}")
    planes = "in planes" if tags.get(_PLANAR, (1,))[0] == 2 else ""
    depth = "/".join(map(str, bits))
    return ", ".join(filter(None, (f"{depth}-bit {number}{colour}{alpha}", packed, planes)))


def misread_kind_of(data: bytes | mmap.mmap) -> str | None:
    """The kind of a TIFF that Pillow silently misreads: 16-bit colours in planes, uncompressed; else None.

    Pillow 11 and 12 take every second byte of the first half of each plane.
    """
    try:
        tags = _first_directory(data)
    except struct.error:
        return None
    is_in_planes = tags.get(_PLANAR, (1,))[0] == 2 and tags.get(_SAMPLES, (1,))[0] > 1
    if not is_in_planes or max(tags.get(_BITS, (1,))) != 16 or tags.get(_COMPRESSION, (1,))[0] != 1:
        return None
    return _told(tags)


def _is_ordinary(tags: dict[int, tuple[int, ...]]) -> bool:
    """Whether every TIFF reader decodes such pixels if they are sound."""
    photometric = tags.get(_PHOTOMETRIC, (0,))[0]
    samples = tags.get(_SAMPLES, (1,))[0]
    return (
        set(tags.get(_BITS, (1,))) <= {1, 8}
        and set(tags.get(_SAMPLE_FORMAT, (1,))) <= {1}
        and samples == _USUAL_SAMPLES.get(photometric)
        and tags.get(_PLANAR, (1,))[0] == 1
    )


def _first_directory(data: bytes | mmap.mmap) -> dict[int, tuple[int, ...]]:
    """The numbers of the wanted tags.  Raises: struct.error, if the directory leaves the file."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = struct.unpack_from(order + "H", data, 2) == (43,)
    word, counter, entry = (order + "Q", order + "Q", 20) if is_big else (order + "I", order + "H", 12)
    (at,) = struct.unpack_from(word, data, 8 if is_big else 4)
    (count,) = struct.unpack_from(counter, data, at)
    at += struct.calcsize(counter)
    tags = {}
    for position in range(at, at + min(count, _MOST_ENTRIES) * entry, entry):
        tag, kind = struct.unpack_from(order + "HH", data, position)
        if tag in _WANTED and kind in _TYPES:
            tags[tag] = _values(data, position + 4, order, word, kind)
    return tags


def _values(data: bytes | mmap.mmap, at: int, order: str, word: str, kind: int) -> tuple[int, ...]:
    (count,) = struct.unpack_from(word, data, at)
    layout = f"{order}{min(count, _MOST_VALUES)}{_TYPES[kind]}"
    at += struct.calcsize(word)
    if struct.calcsize(layout) > struct.calcsize(word):
        (at,) = struct.unpack_from(word, data, at)
    return struct.unpack_from(layout, data, at) or (0,)
