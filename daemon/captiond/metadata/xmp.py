"""One text in an XMP packet, in the default language: laid in at one place, and proved to be the only change.

A packet is RDF that many programs share (ISO 16684-1, 7), so it is never written anew: a few bytes are put
in, and both versions are then read by an XML parser that must agree on everything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self
from xml.sax.saxutils import escape, quoteattr

from . import xml_events
from .refusal import Refused
from .xml_events import Document

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ALT, _LI = f"{_RDF} Alt", f"{_RDF} li"
_LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
_ROOTS = frozenset({"adobe:ns:meta/ xmpmeta", "adobe:ns:meta/ xapmeta"})  # the latter is the older one
_DEFAULT = "x-default"  # ISO 16684-1, 8.2.2.4

_SIGNATURE = b"http://www.w3.org/2000/09/xmldsig#"
_EXTENDED = b"HasExtendedXMP"  # XMP Specification, part 3, 1.1.3.1
# ISO 16684-1, 7.3.2: white space before a trailer that says "w" is there to be used up.
_PADDING = re.compile(rb"(?<=>)([ \t\r\n]*)(<\?xpacket end=[\"']w[\"']\?>\s*)\Z")
_NAME = re.compile(rb"<([^\s/>]+)")

_WHOLE = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  %s
 </rdf:RDF>
</x:xmpmeta>
"""
_PACKET = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n%s<?xpacket end="%s"?>'
_FILE = '<?xml version="1.0" encoding="UTF-8"?>\n%s'


class Property(NamedTuple):
    """A list of one text in several languages (ISO 16684-1, 8.2.2.4)."""

    prefix: str
    namespace: str
    name: str

    @property
    def key(self) -> str:
        """As the parser calls it."""
        return f"{self.namespace} {self.name}"


DC_DESCRIPTION = Property("dc", "http://purl.org/dc/elements/1.1/", "description")
# What EXIF's tag 270 is in XMP (XMP Specification, part 2, 3.1); some readers take it first.
TIFF_DESCRIPTION = Property("tiff", "http://ns.adobe.com/tiff/1.0/", "ImageDescription")


class _Change(NamedTuple):
    """What takes the place of the events from `first` to before `last`, as XML."""

    first: int
    last: int
    xml: str


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that is sound RDF about one thing, with the property at most once."""

    data: bytes
    property: Property
    document: Document
    rdf: int  # the start of rdf:RDF
    about: str
    alt: int | None  # the start of the description's rdf:Alt
    items: tuple[int, ...]  # the start of each of its rdf:li

    @classmethod
    def read(cls, data: bytes, property: Property = DC_DESCRIPTION) -> Self:
        if _SIGNATURE in data:
            raise Refused("a signature covers its XMP")
        if _EXTENDED in data:
            raise Refused("its XMP is extended by another one")
        document = xml_events.read(data.rstrip(b"\0"))
        rdf = _only_rdf(document)
        about = _only_about(document, rdf)
        alt = _only(property, document, rdf)
        return cls(data, property, document, rdf, about, alt, _items(document, alt))

    def description(self) -> str | None:
        """What it says in the default language, or else in the first one; None where there is none."""
        if self.alt is None:
            return None
        item = next(iter(self._defaults() or self.items), None)
        return self.document.text(item) if item is not None else ""

    def change(self, text: str) -> _Change:
        """Where and how it would say `text`: in the entry that is there, a new entry, or a new element."""
        if self.alt is None:
            end = self.document.end(self.rdf)
            return _Change(end, end, _about([(self.property, text)], self.about))
        defaults = self._defaults()
        if defaults:
            return _Change(defaults[0] + 1, self.document.end(defaults[0]), escape(text))
        inside = self.alt + 1  # the default comes first: ISO 16684-1, 8.2.2.4
        return _Change(inside, inside, _item(text, f' xmlns:rdf="{_RDF}"'))

    def describe(self, text: str) -> bytes:
        """The packet saying `text`, of the same length if it has padding to spare."""
        change, places = self.change(text), self.document.places
        start, end, xml = places[change.first], places[change.last], change.xml.encode()
        if self.document.events[change.first - 1].kind == "start" and self.data[start - 2 : start] == b"/>":
            name = _NAME.match(self.data, places[change.first - 1])
            start, xml = start - 2, b">%s</%s>" % (xml, name[1] if name else b"")
        new = self.data[:start] + xml + self.data[end:]
        longer = len(new) - len(self.data)
        padding = _PADDING.search(new)
        if padding is None or longer > len(padding[1]):
            return new
        kept = padding[1][longer:] if longer >= 0 else b" " * -longer + padding[1]
        return new[: padding.start()] + kept + padding[2]

    def _defaults(self) -> list[int]:
        events = self.document.events
        return [item for item in self.items if events[item].attributes[_LANGUAGE].lower() == _DEFAULT]


def fresh(text: str, *, is_writable: bool) -> bytes:
    """A packet that holds the description and nothing else."""
    return (_PACKET % (_WHOLE % _about([(DC_DESCRIPTION, text)]), "w" if is_writable else "r")).encode()


def fresh_file(text: str, properties: Sequence[Property]) -> bytes:
    """What stands in a file of its own, which needs no packet around it (XMP Specification, part 3, 2)."""
    return (_FILE % (_WHOLE % _about([(property, text) for property in properties]))).encode()


def prove(old: Packet | None, data: bytes, text: str, property: Property = DC_DESCRIPTION) -> None:
    """Refuse `data` unless it says all that the old packet said, and differs only in the property."""
    new = Packet.read(data, property)
    if new.description() != text:
        raise Refused("the caption does not read back from its XMP")
    if old is None:
        return
    change, before, after = old.change(text), old.document.events, new.document.events
    inserted = xml_events.read(b"<_>%s</_>" % change.xml.encode()).events[1:-1]
    if after != [*before[: change.first], *inserted, *before[change.last :]]:
        raise Refused("the XMP that was there would change")


def _about(texts: Sequence[tuple[Property, str]], about: str = "") -> str:
    """A description of a resource, whatever its prefixes mean around it."""
    names = "".join(f' xmlns:{property.prefix}="{property.namespace}"' for property, _ in texts)
    inner = "".join(_element(property, text) for property, text in texts)
    return (
        f'<rdf:Description xmlns:rdf="{_RDF}"{names} rdf:about={quoteattr(about)}>{inner}</rdf:Description>'
    )


def _element(property: Property, text: str) -> str:
    name = f"{property.prefix}:{property.name}"
    return f"<{name}><rdf:Alt>{_item(text)}</rdf:Alt></{name}>"


def _item(text: str, names: str = "") -> str:
    return f'<rdf:li{names} xml:lang="{_DEFAULT}">{escape(text)}</rdf:li>'


def _only_rdf(document: Document) -> int:
    """rdf:RDF is the root, or the one element of the root (ISO 16684-1, 7.3.3)."""
    root = next(index for index, event in enumerate(document.events) if event.kind == "start")
    inner = list(document.children(root)) if document.events[root].name in _ROOTS else [root]
    if [document.events[index].name for index in inner] != [f"{_RDF} RDF"]:
        raise Refused("its XMP is not one rdf:RDF")
    return inner[0]


def _only_about(document: Document, rdf: int) -> str:
    """What all descriptions of resources are about: one thing (ISO 16684-1, 7.4)."""
    resources = [document.events[index] for index in document.children(rdf)]
    if any(resource.name != f"{_RDF} Description" for resource in resources):
        raise Refused("its XMP holds something other than descriptions of resources")
    about = {r.attributes.get(f"{_RDF} about", r.attributes.get("about", "")) for r in resources}
    if len(about) > 1:
        raise Refused("its XMP is about several things")
    return next(iter(about), "")


def _only(property: Property, document: Document, rdf: int) -> int | None:
    """The rdf:Alt in the one element of that name, if there is one (ISO 16684-1, 8.3)."""
    events = document.events
    if any(property.key in event.attributes for event in events):
        raise Refused("the description in its XMP has no languages")
    places = [i for i, event in enumerate(events) if (event.kind, event.name) == ("start", property.key)]
    if not places:
        return None
    if len(places) > 1 or document.depths[places[0]] != document.depths[rdf] + 2:
        raise Refused("its XMP has descriptions of more than the image")
    inner = list(document.children(places[0]))
    if events[places[0]].attributes or [events[index].name for index in inner] != [_ALT]:
        raise Refused("the description in its XMP has no languages")
    return inner[0]


def _items(document: Document, alt: int | None) -> tuple[int, ...]:
    """The entries of the description, each a text in one language."""
    items = tuple(document.children(alt)) if alt is not None else ()
    for item in items:
        event = document.events[item]
        if event.name != _LI or event.attributes.keys() != {_LANGUAGE} or any(document.children(item)):
            raise Refused("the description in its XMP has no languages")
    languages = [document.events[item].attributes[_LANGUAGE].lower() for item in items]
    if languages.count(_DEFAULT) > 1:
        raise Refused("the description in its XMP has two defaults")
    return items
