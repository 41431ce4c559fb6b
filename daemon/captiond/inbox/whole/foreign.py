"""From the first bytes of a file to what it is, if that is certainly no picture: pure.

Only what can be nothing else is named.  Content that nobody here knows, and pictures of kinds that are not
served, are left to the decoder.
"""

from __future__ import annotations

import re

# Brands of ISO media files that hold still pictures, or may: HEIF, AVIF, JPEG 2000, JPEG XL, Canon's RAW.
_PICTURE_BRANDS = frozenset(
    {
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1",
        b"miaf", b"avif", b"avis", b"avci", b"avcs", b"jpeg", b"jpgs", b"crx ", b"jp2 ", b"jpx ", b"jpm ",
        b"jxl ", b"j2ki", b"j2is", b"vvic", b"evbi", b"unif", b"mif3",
    }
)  # fmt: skip
_FILM = "an MP4 film"
_FILM_BRANDS = (
    (re.compile(rb"qt  "), "a QuickTime film"),
    (re.compile(rb"M4A |M4B |M4P |F4A "), "an MP4 sound recording"),
    (re.compile(rb"3g[eghprst2]|3gp|3g2|mmp4|kddi"), "a 3GPP film"),
    (re.compile(rb"iso[0-9a-m]|mp4[0-9 ]|mp4v|avc1|hvc1|M4V|MSNV|dash|XAVC|f4v |F4V |ndsc|dby1|cmf"), _FILM),
)

# The first bytes, and what they begin.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1aE\xdf\xa3", "a Matroska or WebM film"),
    (b"FLV\x01", "a Flash film"),
    (b"\0\0\x01\xba", "an MPEG film"),
    (b"\0\0\x01\xb3", "an MPEG film"),
    (b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel", "a Windows Media film"),
    (b"OggS", "an Ogg recording"),
    (b"ID3", "an MP3 recording"),
    (b"fLaC", "a FLAC recording"),
    (b"%PDF-", "a PDF document"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"bplist00", "a property list of macOS"),
    (b"\0\x05\x16\x07", "a companion file of macOS (AppleDouble)"),
    (b"\0\x05\x16\0", "a companion file of macOS (AppleSingle)"),
    (b"L\0\0\0\x01\x14\x02\0", "a shortcut of Windows"),
    (
        b"version https://git-lfs.github.com/",
        "a pointer of Git LFS; `git lfs pull` fetches what it stands for",
    ),
)
_RIFF = {b"AVI ": "an AVI film", b"WAVE": "a WAVE recording"}

_HTML = frozenset(
    {"html", "head", "body", "title", "meta", "link", "script", "style", "div", "p", "h1", "table", "center"}
)
_JSON = re.compile(rb"[\[{]\s*[\"\[{\]}\d-]")
_DOCTYPE = re.compile(rb"<!doctype\s+html", re.IGNORECASE)
_ELEMENT = re.compile(rb"<([A-Za-z_][A-Za-z0-9_.:-]*)[\s/>]")
# What may stand before the first element, and how it ends.
_BEFORE_ELEMENT = ((b"<!--", b"-->"), (b"<?", b"?>"), (b"<!", b">"))
# Pictures that are written as text, or begin with a line of it.
_TEXT_PICTURES = re.compile(rb"P[1-7f]\s|%!PS|#define\s|/\* XPM|#\?R|SIMPLE\s|id=ImageMagick|ply\s", re.I)
# Other pictures begin with what can be letters, and have a byte that cannot be one soon behind it.
_PICTURES_BEGIN = (b"GIF8", b"BM", b"II*", b"MM", b"RIFF", b"8BPS")
_TELLS = 26  # bytes
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def name_of(head: bytes) -> str | None:
    """What the file is that begins with `head`; None if that may be a picture, or is not known."""
    if head[4:8] == b"ftyp":
        return _film(head)
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot") and head[:1] == b"\0":
        return "a QuickTime film"
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    for begins, name in _MAGIC:
        if head.startswith(begins):
            return name
    return _text(head)


def _film(head: bytes) -> str | None:
    length = int.from_bytes(head[:4], "big")
    major, compatible = head[8:12], head[16 : min(max(length, 16), 1024)]
    brands = {major, *(compatible[at : at + 4] for at in range(0, len(compatible), 4))}
    if brands & _PICTURE_BRANDS:
        return None
    told = (major, *sorted(brands))  # cameras have brands of their own, and name the common ones behind
    return next((name for one in told for brand, name in _FILM_BRANDS if brand.match(one)), None)


def _text(head: bytes) -> str | None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "ignore").encode("utf-8", "ignore")
    if not head or _TEXT_PICTURES.match(head) or _NO_TEXT.search(head) or _may_become_a_picture(head):
        return None
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _JSON.match(text):
        return "a JSON document"
    return _markup(text) or ("a text" if _is_utf_8(head) else None)


def _may_become_a_picture(head: bytes) -> bool:
    """Whether these few letters may be the first that arrived of a picture."""
    return len(head) < _TELLS and any(
        head.startswith(begins) or begins.startswith(head) for begins in _PICTURES_BEGIN
    )


def _markup(text: bytes) -> str | None:
    """What kind of page or drawing the text is, by its first element."""
    is_xml = text.startswith(b"<?xml")
    while True:
        if _DOCTYPE.match(text):
            return "an HTML page"
        ends = next((end for begins, end in _BEFORE_ELEMENT if text.startswith(begins)), None)
        if ends is None:
            break
        text = text.partition(ends)[2].lstrip()
    found = _ELEMENT.match(text)
    name = found[1].decode("ascii").lower() if found else ""
    if name in _HTML:
        return "an HTML page"
    if name == "svg" or name.endswith(":svg"):
        return "an SVG drawing"
    return "an XML document" if is_xml or name else None


def _is_utf_8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"  # the head ends within a letter
    return True
