"""What XMP packets say, in whatever encoding and form: read only, to see whether a person wrote something.

A packet is parsed if it can be, and searched if it cannot, so that a damaged one still shows its texts.  One
that mentions a text and shows none gives None: it counts as a person's words that cannot be read.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from html import escape, unescape
from typing import NamedTuple
from xml.parsers import expat

from .policy import ALT_TEXT, CAPTION, HIERARCHY, KEYWORDS, LISTS, TAGS, TITLE


class _Name(NamedTuple):
    """A property that says one of the texts; `namespace` is how such namespaces begin."""

    namespace: str
    prefix: str  # the usual one
    local: str
    field: str


_NAMES = (
    _Name("http://purl.org/dc/", "dc", "description", CAPTION),
    _Name("http://ns.adobe.com/tiff/1.0", "tiff", "ImageDescription", CAPTION),
    _Name("http://purl.org/dc/", "dc", "title", TITLE),
    _Name("http://ns.adobe.com/photoshop/1.0", "photoshop", "Headline", TITLE),
    _Name("http://iptc.org/std/Iptc4xmpCore/1.0", "Iptc4xmpCore", "AltTextAccessibility", ALT_TEXT),
    _Name("http://purl.org/dc/", "dc", "subject", KEYWORDS),
    _Name("http://www.digikam.org/ns/1.0", "digiKam", "TagsList", TAGS),
    _Name("http://ns.adobe.com/lightroom/1.0", "lr", "hierarchicalSubject", HIERARCHY),
)
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ITEM, _VALUE = f"{_RDF} li", f"{_RDF} value"
_PROVENANCE = re.compile(r"http://purl\.org/dc/(?:terms/|elements/1\.\d/) provenance")
_RESOURCE = f"{_RDF} resource"
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)

_LONGEST = 1 << 22  # characters that are parsed; what is longer is searched
_MOST_SAID = 64
_MOST_LISTED = 10_000
_MOST_PREFIXES = 8

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

_PREFIX = re.compile(r"xmlns:([\w.-]+)\s*=\s*[\"'](http://[\w./-]{1,80})[\"']")
_TAG = re.compile(r"<[^<>]*>")
_LISTED = re.compile(r"<(?:[\w.-]+:)?li(?=[\s>])[^<>]*>(.*?)(?=</?(?:[\w.-]+:)?li[\s>/]|\Z)", re.DOTALL)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)


def in_xmp(packet: bytes) -> Iterator[str | None]:
    """What dc:description and tiff:ImageDescription say, in each language; None: something unreadable."""
    return (text for field, text in texts_in_xmp(packet) if field == CAPTION)


def texts_in_xmp(packet: bytes) -> Iterator[tuple[str, str | None]]:
    """All its texts, each with its field; each entry of a list by itself.  None: something unreadable."""
    if not packet.strip(b"\0 \t\r\n"):
        return
    text = _decoded(packet)
    words = _Words()
    if len(text) <= _LONGEST and words.read(text):
        yield from words.said
        return
    said = list(_searched(text))
    yield from said
    shown = {field for field, _ in said} | LISTS
    plain = packet.replace(b"\0", b"")  # for encodings that `_decoded` does not know
    for name in _NAMES:
        mention = f":{name.local}" if name.local.islower() else name.local
        if name.field not in shown and (_is_mentioned(mention, text) or mention.encode() in plain):
            shown.add(name.field)
            yield name.field, None


def names_remote_credentials(packet: bytes) -> bool:
    """Does it say where the picture's Content Credentials are (C2PA 2.1, 11.4: dcterms:provenance)?"""
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
        self.said: list[tuple[str, str | None]] = []
        self.provenance: list[str] = []
        self._inside: list[str] = []  # the names of the elements from the property on
        self._pieces: list[str] = []
        self._value: str | None = None  # what rdf:value says in it, beside qualifiers
        self._has_items = False

    def read(self, text: str) -> bool:
        """Read it; True if all of it is sound XML, so that it says no more than was found."""
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
        if not self._inside and not (_field_of(name) or _PROVENANCE.fullmatch(name)):
            return
        if not self._inside:
            self._has_items, self._value = False, None
            if _RESOURCE in attributes:
                self._keep(name, attributes[_RESOURCE])
        elif name == _ITEM:
            self._value = attributes.get(_RESOURCE)
        if _VALUE in attributes:
            self._value = attributes[_VALUE]
        self._inside.append(name)
        self._pieces.clear()

    def _end(self, name: str) -> None:
        if not self._inside:
            self._pieces.clear()
            return
        self._inside.pop()
        if name == _VALUE:
            self._value = "".join(self._pieces)
        elif name == _ITEM and self._inside:
            self._has_items = True
            self._keep(self._inside[0], self._text())
        elif not self._inside and not self._has_items:
            self._keep(name, self._text())
        if name in (_ITEM, _VALUE) or not self._inside:
            self._pieces.clear()

    def _text(self) -> str:
        value, self._value = self._value, None
        return "".join(self._pieces) if value is None else value

    def _keep(self, name: str, value: str) -> None:
        field = _field_of(name)
        if field in LISTS:
            if value.strip() and len(self.said) < _MOST_LISTED:
                self.said.append((field, value.strip()))
        elif field and sum(one == field for one, _ in self.said) < _MOST_SAID:
            self.said.append((field, value.strip()))
        elif _PROVENANCE.fullmatch(name) and len(self.provenance) < _MOST_SAID:
            self.provenance.append(value)


class _Doctype(Exception):
    """The packet declares a document type."""


def _refuse(*_: object) -> None:
    raise _Doctype


def _field_of(name: str) -> str | None:
    """The field of a property, by its name in the parser; None for properties that hold none of our texts."""
    space, _, local = name.rpartition(" ")
    return next((one.field for one in _NAMES if one.local == local and space.startswith(one.namespace)), None)


def _is_mentioned(mention: str, text: str) -> bool:
    return re.search(rf"{re.escape(mention)}\b", text) is not None


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


def _searched(text: str) -> Iterator[tuple[str, str]]:
    """What elements and attributes of these names seem to say in unsound XML."""
    declared = [(found[1], found[2]) for found in _PREFIX.finditer(text)]
    for one in _NAMES:
        named = [prefix for prefix, namespace in declared if namespace.startswith(one.namespace)]
        for prefix in list(dict.fromkeys([one.prefix, *named]))[:_MOST_PREFIXES]:
            for words in _searched_for(f"{prefix}:{one.local}", text, is_list=one.field in LISTS):
                yield one.field, words


def _searched_for(name: str, text: str, *, is_list: bool) -> Iterator[str]:
    start = re.search(rf"<{re.escape(name)}(?=[\s>/])[^<>]*>", text)
    if start and not start[0].endswith("/>"):
        end = text.find(f"</{name}", start.end())
        inner = text[start.end() : end if end >= 0 else start.end() + _LONGEST]
        inner = _CDATA.sub(lambda cdata: escape(cdata[1]), inner)
        listed = [found[1] for found in _LISTED.finditer(inner)] if is_list else []
        for one in listed[:_MOST_LISTED] or [inner]:
            words = _plain(_TAG.sub(" ", one))
            if words or (end >= 0 and not is_list):
                yield words
    attribute = re.search(rf"\s{re.escape(name)}\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", text)
    if attribute:
        yield _plain(attribute[1] or attribute[2] or "")


def _plain(text: str) -> str:
    try:
        return unescape(text).strip()
    except ValueError:  # a character with a number of more than 4,300 digits
        return text.strip()
