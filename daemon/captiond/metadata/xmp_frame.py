"""Changes to an XMP packet: where a property stands, the change, and the proof of it.

A packet is RDF that many programs share (ISO 16684-1, 7), so it is never written anew: a few bytes are put
in or taken out, and both versions are then read by an XML parser that must agree on everything else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Self
from xml.sax.saxutils import quoteattr

from . import xml_events
from .refusal import Refused
from .xml_events import Document, Event

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DESCRIPTION = f"{RDF} Description"
ITEM = f"{RDF} li"
LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
_ROOTS = frozenset({"adobe:ns:meta/ xmpmeta", "adobe:ns:meta/ xapmeta"})  # the latter is the older one

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


class Shape(Enum):
    """The form of a property's value (ISO 16684-1, 7.5 to 7.8), by the name of the element with its items."""

    LANGUAGES = "Alt"  # one text, in several languages
    BAG = "Bag"
    SEQ = "Seq"
    PLAIN = ""


class Property(NamedTuple):
    """One property of XMP, with the prefix that we give it if the packet has none."""

    prefix: str
    namespace: str
    name: str
    what: str = "description"  # as refusals call it
    shape: Shape = Shape.LANGUAGES

    @property
    def key(self) -> str:
        """Its name in the parser's events."""
        return f"{self.namespace} {self.name}"

    @property
    def qualified(self) -> str:
        return f"{self.prefix}:{self.name}"


class Change(NamedTuple):
    """What takes the place of the events from `first` to before `last`, as XML."""

    first: int
    last: int
    xml: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet that is sound RDF about one resource."""

    data: bytes
    document: Document
    rdf: int  # the start of rdf:RDF
    about: str

    @classmethod
    def read(cls, data: bytes) -> Self:
        if _SIGNATURE in data:
            raise Refused("a signature covers its XMP")
        if _EXTENDED in data:
            raise Refused("its XMP is extended by another one")
        document = xml_events.read(data.rstrip(b"\0"))
        rdf = _only_rdf(document)
        return cls(data, document, rdf, _only_about(document, rdf))

    def element(self, property: Property) -> int | None:
        """The start of the one element of that name, which says something about the image itself."""
        events, depths = self.document.events, self.document.depths
        places = [i for i, event in enumerate(events) if (event.kind, event.name) == ("start", property.key)]
        if not places:
            return None
        if len(places) > 1 or depths[places[0]] != depths[self.rdf] + 2:
            raise Refused(f"its XMP has {property.what}s of more than the image")
        return places[0]

    def is_attribute(self, property: Property) -> bool:
        return any(property.key in event.attributes for event in self.document.events)

    def insertion(self, property: Property, inner: str) -> Change:
        """A description of its own, at the end, in which the property says `inner`, which is XML."""
        end = self.document.end(self.rdf)
        return Change(end, end, about([(property, inner)], self.about))

    def removal(self, element: int) -> Change:
        return Change(element, self.document.end(element) + 1, "")

    def with_changes(self, changes: Collection[Change]) -> bytes:
        """The packet after these changes, which must not overlap; of the same length if it has padding."""
        new = self.data
        for change in sorted(changes, reverse=True):
            new = self._changed(new, change)
        return self.padded(new)

    def padded(self, new: bytes) -> bytes:
        """`new` of the same length as the packet, if its padding can make up for it."""
        longer = len(new) - len(self.data)
        padding = _PADDING.search(new)
        if padding is None or longer > len(padding[1]):
            return new
        kept = padding[1][longer:] if longer >= 0 else b" " * -longer + padding[1]
        return new[: padding.start()] + kept + padding[2]

    def prove(self, data: bytes, changes: Collection[Change]) -> None:
        """Refuse `data` unless it is this packet after these changes, and nothing else."""
        expected: Sequence[Event] = self.document.events
        for change in sorted(changes, reverse=True):
            inserted = xml_events.parsed(b"<_>%s</_>" % change.xml.encode()).events[1:-1]
            expected = [*expected[: change.first], *inserted, *expected[change.last :]]
        self.prove_events(data, expected)

    def prove_events(self, data: bytes, expected: Sequence[Event]) -> None:
        if Frame.read(data).document.events != list(_joined(expected)):
            raise Refused("the XMP that was there would change")

    def _changed(self, new: bytes, change: Change) -> bytes:
        places = self.document.places
        start, end, xml = places[change.first], places[change.last], change.xml.encode()
        before = self.document.events[change.first - 1]
        if before.kind == "start" and xml and self.data[start - 2 : start] == b"/>":
            name = _NAME.match(self.data, places[change.first - 1])
            start, xml = start - 2, b">%s</%s>" % (xml, name[1] if name else b"")
        return new[:start] + xml + new[end:]


def packet_of(xml: str, *, is_writable: bool) -> bytes:
    """A packet that holds these descriptions and nothing else."""
    return (_PACKET % (_WHOLE % xml, "w" if is_writable else "r")).encode()


def file_of(xml: str) -> bytes:
    """The content of an .xmp file, which needs no packet around it (XMP Specification, part 3, 2)."""
    return (_FILE % (_WHOLE % xml)).encode()


def about(said: Sequence[tuple[Property, str]], resource: str = "") -> str:
    """A description of a resource in which each property says its XML, whatever prefixes mean around it."""
    names = "".join(f' xmlns:{property.prefix}="{property.namespace}"' for property, _ in said)
    inner = "".join(f"<{property.qualified}>{xml}</{property.qualified}>" for property, xml in said)
    return (
        f'<rdf:Description xmlns:rdf="{RDF}"{names} rdf:about={quoteattr(resource)}>{inner}</rdf:Description>'
    )


def _joined(events: Sequence[Event]) -> Iterator[Event]:
    """The events as a parser gives them: texts are one if what stood between them was taken out."""
    pieces: list[str] = []
    for event in events:
        if event.kind == "text":
            pieces.append(event.name)
            continue
        if pieces:
            yield Event("text", "".join(pieces), {})
            pieces.clear()
        yield event


def _only_rdf(document: Document) -> int:
    """rdf:RDF is the root, or the one element of the root (ISO 16684-1, 7.3.3)."""
    root = next(index for index, event in enumerate(document.events) if event.kind == "start")
    inner = list(document.children(root)) if document.events[root].name in _ROOTS else [root]
    if [document.events[index].name for index in inner] != [f"{RDF} RDF"]:
        raise Refused("its XMP is not one rdf:RDF")
    return inner[0]


def _only_about(document: Document, rdf: int) -> str:
    """The one resource that all descriptions are about (ISO 16684-1, 7.4); refused if there are several."""
    resources = [document.events[index] for index in document.children(rdf)]
    if any(resource.name != DESCRIPTION for resource in resources):
        raise Refused("its XMP holds something other than descriptions of resources")
    about = {r.attributes.get(f"{RDF} about", r.attributes.get("about", "")) for r in resources}
    if len(about) > 1:
        raise Refused("its XMP is about several things")
    return next(iter(about), "")
