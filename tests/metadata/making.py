"""Small images and TIFF blocks made for the tests."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageCms, ImageDraw

CAPTION = "Zwei Hunde rennen bei Sonnenuntergang über den Strand – 夕日 🐕"

XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/"%s</rdf:Description></rdf:RDF></x:xmpmeta>'
)
PLAIN_XMP = XMP % b"><dc:format>image/jpeg</dc:format>"


def xmp_saying(text: str) -> bytes:
    """An XMP packet whose dc:description says `text`, which is XML."""
    inner = f'<rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt>'
    return XMP % f"><dc:description>{inner}</dc:description>".encode()


def photoshop_saying(text: bytes | None) -> bytes:
    """Photoshop's image resources: a resolution and IPTC, with a Caption/Abstract if there is `text`."""
    iptc = b"\x1c\x02\x05\x00\x05Title"
    if text is not None:
        iptc += b"\x1c\x02\x78" + struct.pack(">H", len(text)) + text
    resolution = struct.pack(">4sHxxI", b"8BIM", 0x03ED, 16) + bytes(16)
    return resolution + struct.pack(">4sHxxI", b"8BIM", 0x0404, len(iptc)) + iptc + bytes(len(iptc) % 2)


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A drawn picture with edges and a slope, so that no two rows are equal."""
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.rectangle((5, 5, 20, 18), fill=(200, 40, 30))
    draw.line((0, 31, 47, 0), fill=(10, 90, 220), width=3)
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    return image.convert(mode)


def saved(format: str, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    picture(mode).save(out, format, **options)
    return out.getvalue()


def icc_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def thumbnail() -> bytes:
    out = io.BytesIO()
    picture().resize((16, 12)).save(out, "JPEG", quality=60)
    return out.getvalue()


Tag = tuple[int, int, int, bytes]  # tag, type, count, value


def short(order: str, tag: int, value: int) -> Tag:
    return tag, 3, 1, struct.pack(order + "H", value)


def long(order: str, tag: int, *values: int) -> Tag:
    return tag, 4, len(values), struct.pack(f"{order}{len(values)}I", *values)


def ascii(tag: int, text: bytes) -> Tag:
    return tag, 2, len(text) + 1, text + b"\0"


def directory(order: str, at: int, tags: Sequence[Tag], following: int = 0) -> bytes:
    """An IFD that is to stand at `at`, with its values behind it."""
    values_at = at + 2 + 12 * len(tags) + 4
    parts, values = [struct.pack(order + "H", len(tags))], b""
    for tag, kind, count, value in tags:
        field = (
            value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", values_at + len(values))
        )
        parts += [struct.pack(order + "HHI", tag, kind, count), field]
        if len(value) > 4:
            values += value + bytes(len(value) % 2)
    return b"".join([*parts, struct.pack(order + "I", following), values])


def block(order: str, tags: Sequence[Tag]) -> bytes:
    """A block of one IFD."""
    return header(order) + directory(order, 8, tags)


def header(order: str, first: int = 8) -> bytes:
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", first)


def camera_block(
    order: str, description: bytes | None = None, *, note: bytes = b"", padding: int = 0
) -> bytes:
    """What a camera writes: IFD0, Exif with a MakerNote, Interoperability, GPS, IFD1 with a thumbnail."""
    note = note or b"ACME\0\1" + bytes(range(64))
    rational = struct.pack(order + "6I", 48, 1, 8, 1, 3024, 100)
    first: list[Tag] = [ascii(270, description)] if description is not None else []
    first += [ascii(271, b"ACME"), ascii(272, b"Camera 7"), short(order, 274, 6), (282, 5, 1, rational[:8])]
    small = thumbnail()

    def laid(exif: int, gps: int, interop: int, last: int, small_at: int) -> list[bytes]:
        pointers = [long(order, 34665, exif), long(order, 34853, gps)]
        return [
            header(order) + directory(order, 8, first + pointers, last),
            directory(
                order,
                exif,
                [
                    ascii(36867, b"2024:05:06 07:08:09"),
                    (37500, 7, len(note), note),
                    long(order, 40965, interop),
                ],
            ),
            directory(order, gps, [ascii(1, b"N"), (2, 5, 3, rational)]),
            directory(order, interop, [ascii(1, b"R98")]),
            directory(
                order, last, [short(order, 259, 6), long(order, 513, small_at), long(order, 514, len(small))]
            ),
        ]

    lengths = [len(part) for part in laid(0, 0, 0, 0, 0)]
    exif, gps, interop, last, small_at = (sum(lengths[: place + 1]) for place in range(5))
    return b"".join(laid(exif, gps, interop, last, small_at)) + small + bytes(padding)


def jpeg_segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def exif_segment(tiff: bytes) -> bytes:
    return jpeg_segment(0xE1, b"Exif\0\0" + tiff)


def with_segments(jpeg: bytes, *segments: bytes, behind_app0: bool = True) -> bytes:
    """The JPEG with more segments, behind its APP0 or right behind SOI."""
    at = 2
    if behind_app0 and jpeg[2:4] == b"\xff\xe0":
        at += 2 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:at] + b"".join(segments) + jpeg[at:]


def jpegs() -> Mapping[str, bytes]:
    """JPEG files of many kinds, none with a description, all of which can be written into."""
    plain = saved("JPEG")
    others = [picture().rotate(turn) for turn in (90, 180)]
    bare = plain[:2] + plain[4 + int.from_bytes(plain[4:6], "big") :]
    icc, xmp = icc_profile(), jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PLAIN_XMP)
    iptc = jpeg_segment(0xED, b"Photoshop 3.0\0" + photoshop_saying(None))
    little, big = exif_segment(camera_block("<")), exif_segment(camera_block(">"))
    olympus, blank = (
        exif_segment(camera_block(">", text)) for text in (b"OLYMPUS DIGITAL CAMERA", b" " * 31)
    )
    odd = camera_block("<", padding=1 + len(camera_block("<")) % 2)
    note = camera_block(">", note=bytes(60_000))
    comment = jpeg_segment(0xFE, b"a comment")
    several: dict[str, Any] = {"save_all": True, "append_images": others}
    return {
        "plain": plain,
        "without JFIF": bare,
        "JFIF and its extension": with_segments(plain, jpeg_segment(0xE0, b"JFXX\0\x13\1\1abc")),
        "grey": saved("JPEG", "L"),
        "progressive": saved("JPEG", progressive=True),
        "CMYK with APP14": saved("JPEG", "CMYK"),
        "ICC": saved("JPEG", icc_profile=icc),
        "XMP": with_segments(plain, xmp),
        "Photoshop": with_segments(plain, iptc),
        "camera, little-endian": with_segments(plain, little),
        "camera, big-endian": with_segments(plain, big),
        "camera, EXIF before JFIF": with_segments(plain, big, behind_app0=False),
        "everything": with_segments(saved("JPEG", icc_profile=icc), little, xmp, iptc, comment),
        "EXIF behind XMP": with_segments(plain, xmp, little),
        "orientation": saved("JPEG", exif=_orientation()),
        "empty EXIF": with_segments(plain, exif_segment(block("<", []))),
        "odd block": with_segments(plain, exif_segment(odd)),
        "big MakerNote": with_segments(plain, exif_segment(note)),
        "blank description": with_segments(plain, blank),
        "camera's description": with_segments(plain, olympus),
        "fill bytes": with_segments(plain, b"\xff\xff\xff", little, b"\xff", xmp),
        "bytes behind EOI": plain + b"a trailer of some phone" + bytes(100),
        "camera, bytes behind EOI": with_segments(plain, little) + b"a trailer of some phone" + bytes(100),
        "truncated scan": with_segments(plain, little)[:-200],
        "MPO": saved("MPO", **several),
        "MPO, camera": saved("MPO", **several, exif=b"Exif\0\0" + camera_block(">")),
    }


def _orientation() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 8
    return exif
