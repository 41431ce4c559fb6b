"""Files under a picture's name that are something else: told by their first bytes, at once."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.inbox.whole import find_fault
from captiond.inbox.whole.foreign import name_of
from inbox.making import encoded, picture


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    data = major + bytes(4) + b"".join(compatible)
    return (
        struct.pack(">I4s", 8 + len(data), b"ftyp")
        + data
        + struct.pack(">I4s", 8 + 5000, b"mdat")
        + bytes(5000)
    )


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


FOREIGN = {
    "MP4": (ftyp(b"isom", b"isom", b"iso2", b"avc1", b"mp41"), "an MP4 film"),
    "MP4 of a phone": (ftyp(b"mp42", b"isom", b"mp42"), "an MP4 film"),
    "MP4, cut": (ftyp(b"mp42", b"isom", b"mp42")[:60], "an MP4 film"),
    "MP4, a few bytes": (ftyp(b"mp42", b"isom")[:16], "an MP4 film"),
    "QuickTime": (ftyp(b"qt  ", b"qt  "), "a QuickTime film"),
    "old QuickTime": (b"\0\0\x10\0moov" + bytes(100), "a QuickTime film"),
    "old QuickTime with room": (b"\0\0\0\x08free\0\0\x10\0mdat" + bytes(100), "a QuickTime film"),
    "Nikon's film": (ftyp(b"niko", b"niko", b"mp42"), "an MP4 film"),
    "Canon's film": (ftyp(b"CAEP", b"isom", b"CAEP"), "an MP4 film"),
    "3GPP": (ftyp(b"3gp5", b"3gp5", b"isom"), "a 3GPP film"),
    "M4A": (ftyp(b"M4A ", b"M4A ", b"mp42"), "an MP4 sound recording"),
    "WebM": (b"\x1aE\xdf\xa3" + bytes(50), "a Matroska or WebM film"),
    "AVI": (b"RIFF\0\x10\0\0AVI LIST", "an AVI film"),
    "WAV": (b"RIFF\0\x10\0\0WAVEfmt ", "a WAVE recording"),
    "HTML": (b"<html>404</html>\n", "an HTML page"),
    "HTML 5": (b"\n<!DOCTYPE html>\n<html lang=de><head>", "an HTML page"),
    "HTML with a comment": (
        b"\xef\xbb\xbf<!-- saved from url=(0)about:blank -->\n<HTML>",
        "an HTML page",
    ),
    "HTML in Latin-1": ("<html><title>Fotos für Ömi</title>".encode("latin-1"), "an HTML page"),
    "HTML in UTF-16": ("<html><body>".encode("utf-16"), "an HTML page"),
    "XHTML": (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML">\n<html>', "an HTML page"),
    "SVG": (b'<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing"),
    "XML": (b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code>', "an XML document"),
    "JSON": (b'{"error": "not found"}', "a JSON document"),
    "text": (b"nope\n", "a text"),
    "a long text": ("Grüße. ".encode() * 900, "a text"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
    "ZIP": (zipped(), "a ZIP archive or an Office document"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a pointer of Git LFS"),
    "AppleDouble": (b"\0\x05\x16\x07\0\x02\0\0" + bytes(50), "a companion file of macOS (AppleDouble)"),
    "program": (b"\x7fELF\x02\x01\x01" + bytes(50), "a program"),
}

PICTURES = {
    **{form: encoded(form) for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF", "AVIF", "DIB")},
    "PPM": encoded("PPM"),
    "PPM as text": b"P3\n1 1\n255\n1 2 3\n",
    "XBM": b"#define im_width 8\n#define im_height 1\nstatic char im_bits[] = {0x00};",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + ftyp(b"jxl ", b"jxl "),
    "JPEG XL, bare": b"\xff\x0a\xfa\x1f\x41\x91\x08\x06\x01\x00\x4b\x00",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + ftyp(b"jp2 ", b"jp2 "),
    "Canon's RAW": ftyp(b"crx ", b"crx ", b"isom"),
    "HEIF of unknown brand": ftyp(b"abcd", b"mif1", b"heic"),
    "HEIF of unknown brand, also a film": ftyp(b"abcd", b"isom", b"mif1"),
    "HEIF sequence": ftyp(b"msf1", b"msf1", b"hevc", b"isom"),
    "unknown brand": ftyp(b"abcd", b"efgh"),
    "unknown": b"\x93\x11\x88" * 100,
    "zeros": bytes(5000),
    "nothing": b"",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PSD": b"8BPS\0\x01" + bytes(50),
}


def fault_of(data: bytes) -> str | None:
    descriptor = os.memfd_create("image")
    try:
        os.write(descriptor, data)
        fault = find_fault(descriptor, len(data))
    finally:
        os.close(descriptor)
    assert fault is None or (fault.kind == "unreadable" and fault.advice)
    return fault.message if fault else None


@pytest.mark.parametrize("name", FOREIGN)
def test_it_is_said_what_it_is(name: str) -> None:
    """Films, pages, texts, archives under a picture's name are called by what they are."""
    data, told = FOREIGN[name]
    message = fault_of(data)
    assert message is not None
    assert message.startswith(f"it is {told}") and message.endswith(", not a picture")


@pytest.mark.parametrize("name", PICTURES)
def test_what_may_be_a_picture_is_left_to_the_decoder(name: str) -> None:
    """Pictures of all kinds, served or not, and what nobody here knows are no foreign files."""
    assert fault_of(PICTURES[name]) is None


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF", "AVIF"])
def test_the_beginning_of_a_picture_is_nothing_else(form: str) -> None:
    """However little of a picture has arrived, it is never taken for something else."""
    data = encoded(form, picture(16, 16))
    for length in range(3, 120):
        assert fault_of(data[:length]) is None, length


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(head: bytes) -> None:
    """Whatever a file begins with, there is an answer."""
    assert name_of(head) is None or name_of(head)
