"""All that a picture says about itself, in whatever place, and whether its bytes are signed from elsewhere.

Read only, and leniently: a file that may not be written into, since something in it is damaged or signed,
holds a person's words like any other.  Each walk goes as far as the file can be followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from . import jpeg, png, tiff, webp
from .heif import exif_block
from .heif_boxes import Meta, boxes
from .iptc_words import texts_in_iptc, texts_in_photoshop
from .policy import CAPTION, KEYWORDS, TITLE, Said, decode, decode_wide
from .refusal import MISTAKES, Refused
from .tiff_file import IPTC as TIFF_IPTC
from .tiff_file import PHOTOSHOP as TIFF_PHOTOSHOP
from .xmp_words import names_remote_credentials, texts_in_xmp

XP_TITLE, XP_COMMENT, XP_KEYWORDS = 0x9C9B, 0x9C9C, 0x9C9E  # Windows' own, in UTF-16
_EXIF_WORDS = frozenset({tiff.IMAGE_DESCRIPTION, XP_TITLE, XP_COMMENT, XP_KEYWORDS})
_TIFF_BLOCKS = frozenset({tiff.XMP, TIFF_IPTC, TIFF_PHOTOSHOP})

_STARTS = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "TIFF"),
    (re.compile(rb"....ftyp", re.DOTALL), "HEIF"),
)

_EXIF_HEADER = b"Exif\0\0"
_LONGEST_INFLATED = 1 << 24  # bytes that all compressed texts of a picture may grow to, together
_LONGEST_WORDS = 1 << 20
_MOST_TEXTS = 1000

# XMP Specification, part 3, 2: in an unknown format, packets are found by how they begin.
_PACKETS = ((b"<?xpacket begin", b"<?xpacket end"), (b"<x:xmpmeta", b"</x:xmpmeta>"))
_MOST_PACKETS = 16
# EXIF begins behind the name of a box or an item, and in either case perhaps behind JPEG's header.
_EXIF_START = re.compile(rb"Exif\0\0(?:\0\0(?:Exif\0\0)?)?(?=II\*\0|MM\0\*)")
_LONGEST_PACKET = 1 << 24

Part = tuple[
    str, bytes | None
]  # what a block is (exif, xmp, iptc, photoshop, png, png-title); None: unreadable


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture says, and whether the bytes are under a signature that does not lie in them."""

    said: tuple[Said, ...] = ()
    is_signed_remotely: bool = False


def look(data: bytes, format: str) -> Seen:
    """All that `data` says; `format` is Pillow's name.  Never raises."""
    said: list[Said] = []
    is_signed = False
    try:
        for kind, block in _PARTS.get(format, _by_signature)(data):
            said += _said(kind, block)
            is_signed = is_signed or (kind == "xmp" and names_remote_credentials(block or b""))
    except (Refused, *MISTAKES):  # as far as it could be followed
        pass
    return Seen(tuple(said), is_signed)


def exif_blocks(data: bytes) -> Iterator[bytes]:
    """The EXIF blocks of a file, whose format its first bytes tell, as far as it can be followed."""
    parts = next((_PARTS[name] for start, name in _STARTS if start.match(data)), _by_signature)
    yield from (block for kind, block in parts(data) if kind == "exif" and block is not None)


def _said(kind: str, block: bytes | None) -> Iterator[Said]:
    if block is None:
        yield Said("png", None, TITLE) if kind == "png-title" else Said(kind, None)
        return
    match kind:
        case "xmp":
            yield from (Said("xmp", text, field) for field, text in texts_in_xmp(block))
        case "iptc":
            yield from (Said("iptc", text, field) for field, text in texts_in_iptc(block))
        case "photoshop":
            yield from (Said("iptc", text, field) for field, text in texts_in_photoshop(block))
        case "png":
            yield Said("png", decode(block))
        case "png-title":
            yield Said("png", decode(block), TITLE)
        case _:
            yield from _in_exif(block)


def _in_exif(block: bytes) -> Iterator[Said]:
    for tag, value in tiff.glimpse(block, _EXIF_WORDS):
        if tag == tiff.IMAGE_DESCRIPTION:
            yield Said("exif", decode(value))
        elif tag == XP_KEYWORDS:
            words = decode_wide(value).split(";")
            yield from (Said("windows", word.strip(), KEYWORDS) for word in words if word.strip())
        else:
            yield Said("windows", decode_wide(value), TITLE if tag == XP_TITLE else CAPTION)


def _of_jpeg(data: bytes) -> Iterator[Part]:
    extended: dict[bytes, dict[int, bytes]] = {}
    resources = []
    with suppress(Refused):
        for _, marker, start, end in jpeg.read_segments(data):
            payload = data[start:end]
            if marker == jpeg.APP1 and payload[:6].lower() == _EXIF_HEADER.lower():
                yield "exif", payload[6:]
            elif marker == jpeg.APP1 and payload.startswith(jpeg.XMP):
                yield "xmp", payload[len(jpeg.XMP) :]
            elif marker == jpeg.APP1 and payload.startswith(jpeg.EXTENDED_XMP):
                guid, place = _place_in_extended(payload)
                extended.setdefault(guid, {})[place] = payload[jpeg.EXTENDED_XMP_HEADER :]
            elif marker == jpeg.APP13 and payload.startswith(jpeg.PHOTOSHOP):
                resources.append(payload[len(jpeg.PHOTOSHOP) :])
    for portions in extended.values():
        yield "xmp", b"".join(portions[place] for place in sorted(portions))
    yield "photoshop", b"".join(resources)


def _place_in_extended(payload: bytes) -> tuple[bytes, int]:
    """The packet's GUID and the portion's offset (XMP Specification, part 3, 1.1.3.1): they may be mixed."""
    at = len(jpeg.EXTENDED_XMP)
    return payload[at : at + 32], int.from_bytes(payload[at + 36 : at + 40], "big")


def _of_png(data: bytes) -> Iterator[Part]:
    left, texts = _LONGEST_INFLATED, 0
    with suppress(Refused):
        for chunk in png.read_chunks(data):
            payload = png.payload_of(data, chunk)
            if chunk.type == png.EXIF:
                yield "exif", payload.removeprefix(_EXIF_HEADER)
            if chunk.type not in png.TEXTS or texts == _MOST_TEXTS:
                continue
            texts += 1
            keyword, text, used = png.text_of(chunk.type, payload, left, _is_of_interest)
            left -= used
            if keyword:
                yield from _of_png_text(keyword, text)


def _is_of_interest(keyword: bytes) -> bool:
    lower = keyword.lower()
    return lower in (b"description", b"title") or keyword == png.XMP or lower.startswith(b"raw profile type ")


def _of_png_text(keyword: bytes, text: bytes | None) -> Iterator[Part]:
    if keyword.lower() == b"description":
        yield "png", text if text is None else text[:_LONGEST_WORDS]
    elif keyword.lower() == b"title":
        yield "png-title", text if text is None else text[:_LONGEST_WORDS]
    elif keyword == png.XMP:
        yield "xmp", text
    elif text is not None:
        profile = png.raw_profile(text)
        if profile.startswith(_EXIF_HEADER):
            yield "exif", profile[len(_EXIF_HEADER) :]
        elif profile.startswith(jpeg.XMP):
            yield "xmp", profile[len(jpeg.XMP) :]
        elif keyword.lower().endswith(b" xmp"):
            yield "xmp", profile
        elif keyword.lower().endswith(b" iptc"):
            yield ("photoshop" if profile.startswith(b"8BIM") else "iptc"), profile


def _of_webp(data: bytes) -> Iterator[Part]:
    with suppress(Refused):
        for chunk in webp.read_chunks(data):
            payload = webp.payload_of(data, chunk)
            if chunk.type == webp.EXIF:
                yield "exif", payload.removeprefix(_EXIF_HEADER)
            elif chunk.type == webp.XMP:
                yield "xmp", payload


def _of_tiff(data: bytes) -> Iterator[Part]:
    kinds = {tiff.XMP: "xmp", TIFF_IPTC: "iptc", TIFF_PHOTOSHOP: "photoshop"}
    yield "exif", data
    for tag, value in tiff.glimpse(data, _TIFF_BLOCKS):
        yield kinds[tag], value


def _of_heif(data: bytes) -> Iterator[Part]:
    found = 0
    with suppress(Refused, *MISTAKES):
        for kind, start, end in boxes(data, 0, len(data)):
            if kind != b"meta":
                continue
            for item in Meta.read(data, start, end).items.values():
                if item.kind in (b"Exif", b"mime") and item.size <= _LONGEST_PACKET:
                    found += 1
                    block = item.bytes_in(data)
                    yield ("exif", exif_block(block)) if item.kind == b"Exif" else ("xmp", block)
    if not found:
        yield from _by_signature(data)


def _of_raw(data: bytes) -> Iterator[Part]:
    is_tiff = data[:4] in (b"II*\0", b"MM\0*")
    yield from _of_tiff(data) if is_tiff else _by_signature(data)


def _by_signature(data: bytes) -> Iterator[Part]:
    """EXIF and XMP in a file of whatever kind, by how they begin."""
    for found in islice(_EXIF_START.finditer(data), _MOST_PACKETS):
        yield "exif", data[found.end() : found.end() + _LONGEST_PACKET]
    yield from _packets(data)


def _packets(data: bytes) -> Iterator[Part]:
    at = 0
    for _ in range(_MOST_PACKETS):
        starts = [(place, end) for begin, end in _PACKETS if (place := data.find(begin, at)) >= 0]
        if not starts:
            return
        start, ending = min(starts)
        end = data.find(ending, start)
        end = len(data) if end < 0 else end + len(ending)
        yield "xmp", data[start : min(end, start + _LONGEST_PACKET)].partition(b"<?xpacket end")[0]
        at = end


_PARTS: Mapping[str, Callable[[bytes], Iterator[Part]]] = {
    "JPEG": _of_jpeg,
    "MPO": _of_jpeg,
    "PNG": _of_png,
    "WEBP": _of_webp,
    "TIFF": _of_tiff,
    "RAW": _of_raw,
    "HEIF": _of_heif,
    "AVIF": _of_heif,
}
