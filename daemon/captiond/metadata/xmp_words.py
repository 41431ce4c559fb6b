"""What XMP packets say, in whatever encoding and form: read only, to see whether a person wrote something.

A packet is parsed if it can be, and searched if it cannot, so that a damaged one still shows what stands in
it.  What mentions a description and shows none is told as None: it is somebody's, and not understood.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from html import escape, unescape
from xml.parsers import expat

_DC = "http://purl.org/dc/"
_TIFF = "http://ns.adobe.com/tiff/1.0"
_ITEM = "http://www.w3.org/1999/02/22-rdf-syntax-ns# li"
_PROVENANCE = re.compile(r"http://purl\.org/dc/(?:terms/|elements/1\.\d/) provenance")
_RESOURCE = "http://www.w3.org/1999/02/22-rdf-syntax-ns# resource"
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)

_LONGEST = 1 << 22  # characters that are parsed; what is longer is searched
_MOST_SAID = 64

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# XML 1.0, appendix F: how the first character, "<", lies in each.
_STARTS = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.-]{1,40})[\"']")
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]{0,300}\?>")
_CHARACTER_SETS = re.compile(r"(?:iso8859|cp\d|mac|koi8|shift_jis|euc|gb|big5|ascii|utf|tis|viscii)[\w-]*")

_PREFIX = re.compile(
    r"xmlns:([\w.-]+)\s*=\s*[\"']http://(purl\.org/dc/elements|ns\.adobe\.com/tiff)/1\.\d/?[\"']"
)
_MENTIONED = re.compile(r":description\b|ImageDescription\b")
_TAG = re.compile(r"<[^<>]*>")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)


def in_xmp(packet: bytes) -> Iterator[str | None]:
    """What dc:description and tiff:ImageDescription say, in each language; None: something unreadable."""
    if not packet.strip(b"\0 \t\r\n"):
        return
    text = _decoded(packet)
    words = _Words()
    if len(text) <= _LONGEST and words.read(text):
        yield from words.said
        return
    said = list(_searched(text))
    yield from said
    if not said and (_MENTIONED.search(text) or _is_mentioned_raw(packet)):
        yield None


def names_remote_credentials(packet: bytes) -> bool:
    """Does it say where Content Credentials of the picture lie (C2PA 2.1, 11.4: dcterms:provenance)?"""
    if b"provenance" not in packet.replace(b"\0", b""):
        return False
    text = _decoded(packet)
    words = _Words()
    if len(text) <= _LONGEST and words.read(text):
        return any(_ADDRESS.match(one) for one in words.provenance)
    return (
        re.search(r":provenance\b.{0,40}?[a-z][a-z0-9+.-]*://", text, re.IGNORECASE | re.DOTALL) is not None
    )


class _Words:
    """What a parser finds: the descriptions, and where the credentials are said to lie."""

    def __init__(self) -> None:
        self.said: list[str | None] = []
        self.provenance: list[str] = []
        self._inside: list[str] = []  # the names of the elements from the property on
        self._pieces: list[str] = []
        self._has_items = False

    def read(self, text: str) -> bool:
        """Whether the whole of it is XML that can be trusted to say no more."""
        parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._pieces.append
        parser.StartDoctypeDeclHandler = _refuse  # entities could say anything
        try:
            parser.Parse(_DECLARATION.sub("", text).encode(errors="replace"), True)
        except (expat.ExpatError, _Doctype):
            return False
        return True

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        for attribute, value in attributes.items():
            self._keep(attribute, value)
        if not self._inside and not (_is_description(name) or _PROVENANCE.fullmatch(name)):
            return
        if not self._inside:
            self._has_items = False
            if _RESOURCE in attributes:
                self._keep(name, attributes[_RESOURCE])
        self._inside.append(name)
        self._pieces.clear()

    def _end(self, name: str) -> None:
        if not self._inside:
            self._pieces.clear()
            return
        self._inside.pop()
        if name == _ITEM and self._inside:
            self._has_items = True
            self._keep(self._inside[0], "".join(self._pieces))
        elif not self._inside and not self._has_items:
            self._keep(name, "".join(self._pieces))
        if name == _ITEM or not self._inside:
            self._pieces.clear()

    def _keep(self, name: str, value: str) -> None:
        if _is_description(name) and len(self.said) < _MOST_SAID:
            self.said.append(value.strip())
        elif _PROVENANCE.fullmatch(name) and len(self.provenance) < _MOST_SAID:
            self.provenance.append(value)


class _Doctype(Exception):
    """The packet declares a document type."""


def _refuse(*_: object) -> None:
    raise _Doctype


def _is_description(name: str) -> bool:
    return (name.startswith(_DC) and name.endswith(" description")) or (
        name.startswith(_TIFF) and name.endswith(" ImageDescription")
    )


def _decoded(packet: bytes) -> str:
    """The text, by its byte order mark, by how it begins, or by what it declares; else it is UTF-8."""
    for bom, encoding in _BOMS:
        if packet.startswith(bom):
            return packet[len(bom) :].decode(encoding, "replace").rstrip("\0")
    start = packet.lstrip(b"\t\r\n ")
    for first, encoding in _STARTS:
        if start.startswith(first):
            return packet.decode(encoding, "replace").rstrip("\0")
    declared = _DECLARED.search(packet[:512])
    encoding = "utf-8"
    if declared:
        try:
            name = codecs.lookup(declared[1].decode()).name
            encoding = name if _CHARACTER_SETS.fullmatch(name) else encoding
        except LookupError:
            pass
    return packet.decode(encoding, "replace").rstrip("\0")


def _searched(text: str) -> Iterator[str]:
    """What elements and attributes of that name seem to say in what is no sound XML."""
    prefixes = {"dc": "description", "tiff": "ImageDescription"}
    for found in _PREFIX.finditer(text):
        prefixes[found[1]] = "description" if found[2].startswith("purl") else "ImageDescription"
    for prefix, local in list(prefixes.items())[:8]:
        name = re.escape(f"{prefix}:{local}")
        start = re.search(rf"<{name}(?=[\s>/])[^<>]*>", text)
        if start and not start[0].endswith("/>"):
            end = text.find(f"</{prefix}:{local}", start.end())
            inner = text[start.end() : end if end >= 0 else start.end() + _LONGEST]
            words = _plain(_TAG.sub(" ", _CDATA.sub(lambda cdata: escape(cdata[1]), inner)))
            if end >= 0 or words:
                yield words
        attribute = re.search(rf"\s{name}\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", text)
        if attribute:
            yield _plain(attribute[1] or attribute[2] or "")


def _plain(text: str) -> str:
    try:
        return unescape(text).strip()
    except ValueError:  # a character with a number of more than 4,300 digits
        return text.strip()


def _is_mentioned_raw(packet: bytes) -> bool:
    """Does it name a description in an encoding that nobody here knows?"""
    plain = packet.replace(b"\0", b"")
    return b":description" in plain or b"ImageDescription" in plain
