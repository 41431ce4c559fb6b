"""What a picture's format is: its name, its endings, how its bytes begin, what decodes it and writes into it.

One table, which the inbox, the decoders and the metadata read.  A format that is added here is noticed in the
inbox and decoded; captions are written into it if `metadata` has a reader of that name.  Those of `BY_EXTRA`
are noticed and decoded if their extra is installed, and reported as unserved if it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from captiond.formats import extras, raw


@dataclass(frozen=True, slots=True)
class Format:
    name: str  # as Pillow and our records name it
    shown: str  # as people name it
    endings: tuple[str, ...]  # in lower case, without the dot; a picture is decoded whatever its ending
    begins: Callable[[bytes], bool]  # whether the first bytes of a file (32 or more) are this format's
    tells_its_end: bool  # whether `inbox.whole` can tell a file that is cut short
    decoder: str  # pillow | pillow_heif | rawpy | pylibjxl
    written_by: str | None = None  # who writes a caption into it: captiond | exiftool | None
    extra: str | None = None  # the extra of the package that it needs


def _any(*starts: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(starts, at)


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _branded(*brands: bytes) -> Callable[[bytes], bool]:
    """By the brands of pictures, since films begin alike.  `mif1` and `msf1` may be HEIC or AVIF."""
    return lambda head: head[4:8] == b"ftyp" and head[8:12] in (*brands, b"mif1", b"msf1")


_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")


def _is_dib(head: bytes) -> bool:
    """A BMP without its file header: the header's own length, one plane, so many bits."""
    length, planes, bits = head[:4], head[12:14], int.from_bytes(head[14:16], "little")
    lengths = tuple(size.to_bytes(4, "little") for size in (40, 108, 124))
    return length in lengths and planes == b"\1\0" and bits in (1, 4, 8, 16, 24, 32)


def _is_tga(head: bytes) -> bool:
    """By a plausible header, as far as Pillow reads the format: a TGA has no mark."""
    has_palette, kind, bits = head[1:2], head[2:3], head[16:17]
    width, height = head[12:14], head[14:16]
    return (
        (has_palette, kind) in _TGA_KINDS
        and bits in (b"\x01", b"\x08", b"\x10", b"\x18", b"\x20")
        and b"\0\0" not in (width, height)
    )


_TGA_KINDS = {
    (b"\1", b"\1"), (b"\1", b"\x09"),
    (b"\0", b"\2"), (b"\0", b"\x0a"),
    (b"\0", b"\3"), (b"\0", b"\x0b"),
}  # fmt: skip

# A file is tried in this order: the format with the surest mark first.
FORMATS = (
    Format(
        "JPEG", "JPEG", ("jpg", "jpeg", "jpe", "jfif", "jif", "jps", "insp", "mpo"), _any(b"\xff\xd8\xff"),
        tells_its_end=True, decoder="pillow", written_by="captiond",
    ),
    Format(
        "PNG", "PNG", ("png", "apng"), _any(b"\x89PNG\r\n\x1a\n"),
        tells_its_end=True, decoder="pillow", written_by="captiond",
    ),
    Format(
        "WEBP", "WebP", ("webp",), _is_webp,
        tells_its_end=True, decoder="pillow", written_by="captiond",
    ),
    Format(
        "TIFF", "TIFF", ("tif", "tiff"), _any(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        tells_its_end=True, decoder="pillow", written_by="captiond",
    ),
    Format(
        "GIF", "GIF", ("gif",), _any(b"GIF87a", b"GIF89a"),
        tells_its_end=True, decoder="pillow",
    ),
    Format(
        "AVIF", "AVIF", ("avif", "avifs"), _branded(b"avif", b"avis"),
        tells_its_end=True, decoder="pillow", written_by="exiftool",
    ),
    Format(
        "HEIF", "HEIC", ("heic", "heif", "heics", "hif"), _branded(*_HEIF_BRANDS),
        tells_its_end=True, decoder="pillow_heif", written_by="exiftool",
    ),
    Format(
        "JPEG2000", "JPEG 2000", ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
        _any(b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
        tells_its_end=False, decoder="pillow",
    ),
    Format(
        "PSD", "PSD", ("psd",), _any(b"8BPS"),
        tells_its_end=False, decoder="pillow",
    ),
    Format(
        "BMP", "BMP", ("bmp",), _any(b"BM"),
        tells_its_end=True, decoder="pillow",
    ),
    Format(
        "DIB", "DIB", ("dib",), _is_dib,
        tells_its_end=True, decoder="pillow",
    ),
    Format(
        "ICO", "ICO", ("ico",), _any(b"\0\0\1\0"),
        tells_its_end=False, decoder="pillow",
    ),
    Format(
        "TGA", "TGA", ("tga",), _is_tga,
        tells_its_end=False, decoder="pillow",
    ),
)  # fmt: skip

# Most RAW files have the first bytes of a TIFF: `kind_of` looks further.
BY_EXTRA = (
    Format(
        "RAW", "RAW", raw.ENDINGS, lambda head: raw.kind_in(head) is not None,
        tells_its_end=False, decoder="rawpy", extra="raw",
    ),
    Format(
        "JXL", "JPEG XL", ("jxl",), _any(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
        tells_its_end=False, decoder="pylibjxl", extra="jxl",
    ),
)  # fmt: skip

ENDINGS = frozenset(ending for one in FORMATS for ending in one.endings)
HEAD_BYTES = 32  # from the beginning of a file; enough to tell its format


def formats_of(head: bytes) -> tuple[Format, ...]:
    """The formats that a file with these first bytes may have, the likeliest first; empty if none fits."""
    return tuple(one for one in FORMATS if one.begins(head))


def kind_of(read: raw.Read) -> Format | None:
    """The format of a file by its content, not its name; None if it has no mark of a picture.

    A RAW file does not count as a TIFF.  A format without a sure mark (TGA) is not recognized here.
    """
    if raw.kind_of(read) is not None:
        return RAW
    head = read(0, HEAD_BYTES)
    sure = (one for one in (*FORMATS, *BY_EXTRA) if one.name not in _WITHOUT_A_MARK and one.begins(head))
    return next(sure, None)


RAW, JXL = BY_EXTRA
_WITHOUT_A_MARK = {"TGA", "DIB", "ICO", "BMP"}  # two letters or a few small numbers, which many files have


def is_served(one: Format) -> bool:
    return one.extra is None or extras.why_not(one.extra) is None


@cache
def served_endings() -> frozenset[str]:
    """The endings of all formats that are served here, in lower case and without the dot."""
    return frozenset(ending for one in (*FORMATS, *BY_EXTRA) if is_served(one) for ending in one.endings)


def endings_that_take(name: str) -> tuple[str, ...]:
    """The endings of pictures that may take a file of this name along; no RAW takes another along."""
    return _taking(raw.has_ending(name))


@cache
def _taking(is_raw: bool) -> tuple[str, ...]:
    taking = (*FORMATS, JXL) if is_raw else (*FORMATS, JXL, RAW)
    return tuple(ending for one in taking if is_served(one) for ending in one.endings)


def listed(conjunction: str) -> str:
    """All of them as people list them: "JPEG, PNG ... or TGA"."""
    names = [one.shown for one in FORMATS]
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}"
