"""One text in an XMP packet, in the default language: laid in at one place, and proved to be the only change.

Lists of keywords are in `xmp_lists`, plain values in `xmp_plain`; what they share is in `xmp_frame`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from xml.sax.saxutils import escape

from .refusal import Refused
from .xmp_frame import ITEM, LANGUAGE, RDF, Change, Frame, Property, about, packet_of

_ALT = f"{RDF} Alt"
_DEFAULT = "x-default"  # ISO 16684-1, 8.2.2.4

DC_DESCRIPTION = Property("dc", "http://purl.org/dc/elements/1.1/", "description")
# What EXIF's tag 270 is in XMP (XMP Specification, part 2, 3.1); some readers take it first.
TIFF_DESCRIPTION = Property("tiff", "http://ns.adobe.com/tiff/1.0/", "ImageDescription")
DC_TITLE = Property("dc", "http://purl.org/dc/elements/1.1/", "title", "title")
# IPTC Photo Metadata Standard 2021.1, "Alt Text (Accessibility)".
ALT_TEXT = Property(
    "Iptc4xmpCore", "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", "AltTextAccessibility", "alt text"
)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet with the property at most once, as a list of one text in several languages."""

    frame: Frame
    property: Property
    alt: int | None  # the start of the property's rdf:Alt
    items: tuple[int, ...]  # the start of each of its rdf:li

    @classmethod
    def read(cls, data: bytes, property: Property = DC_DESCRIPTION) -> Self:
        frame = Frame.read(data)
        alt = _only(property, frame)
        return cls(frame, property, alt, _items(frame, property, alt))

    def description(self) -> str | None:
        """Its text in the default language, or else in the first one; None if there is none."""
        if self.alt is None:
            return None
        item = next(iter(self._defaults() or self.items), None)
        return self.frame.document.text(item) if item is not None else ""

    def change(self, text: str) -> Change:
        """Where and how it would say `text`: in the entry that is there, a new entry, or a new element."""
        if self.alt is None:
            return self.frame.insertion(self.property, _languages(text))
        defaults = self._defaults()
        if defaults:
            return Change(defaults[0] + 1, self.frame.document.end(defaults[0]), escape(text))
        inside = self.alt + 1  # the default comes first: ISO 16684-1, 8.2.2.4
        return Change(inside, inside, _item(text, f' xmlns:rdf="{RDF}"'))

    def describe(self, text: str) -> bytes:
        """The packet saying `text`, of the same length if it has padding to spare."""
        return self.frame.with_changes([self.change(text)])

    def without(self) -> tuple[bytes, list[Change]]:
        """The packet without its text in the default language, or else in the first one; and the changes."""
        item = next(iter(self._defaults() or self.items), None)
        if self.alt is None or item is None:
            return self.frame.data, []
        element = self.alt - 1
        while self.frame.document.events[element].kind != "start":
            element -= 1
        gone = [self.frame.removal(element if len(self.items) == 1 else item)]
        return self.frame.with_changes(gone), gone

    def _defaults(self) -> list[int]:
        events = self.frame.document.events
        return [item for item in self.items if events[item].attributes[LANGUAGE].lower() == _DEFAULT]


def fresh(text: str, *, is_writable: bool) -> bytes:
    """A packet that holds the description and nothing else."""
    return packet_of(about_in_languages(text, (DC_DESCRIPTION,)), is_writable=is_writable)


def about_in_languages(text: str, properties: Sequence[Property]) -> str:
    """A description of the image in which all these properties say the text."""
    return about([(property, _languages(text)) for property in properties])


def prove(old: Packet | None, data: bytes, text: str, property: Property = DC_DESCRIPTION) -> None:
    """Refuse `data` unless it says all that the old packet said, and differs only in the property."""
    if Packet.read(data, property).description() != text:
        raise Refused(f"the {_called(property)} does not read back from its XMP")
    if old is not None:
        old.frame.prove(data, [old.change(text)])


def _called(property: Property) -> str:
    return "caption" if property.what == DC_DESCRIPTION.what else property.what


def _languages(text: str) -> str:
    return f"<rdf:Alt>{_item(text)}</rdf:Alt>"


def _item(text: str, names: str = "") -> str:
    return f'<rdf:li{names} xml:lang="{_DEFAULT}">{escape(text)}</rdf:li>'


def _only(property: Property, frame: Frame) -> int | None:
    """The rdf:Alt in the one element of that name, if there is one (ISO 16684-1, 8.3)."""
    events = frame.document.events
    if frame.is_attribute(property):
        raise Refused(f"the {property.what} in its XMP has no languages")
    element = frame.element(property)
    if element is None:
        return None
    inner = list(frame.document.children(element))
    if events[element].attributes or [events[index].name for index in inner] != [_ALT]:
        raise Refused(f"the {property.what} in its XMP has no languages")
    return inner[0]


def _items(frame: Frame, property: Property, alt: int | None) -> tuple[int, ...]:
    """The entries of the property, each a text in one language."""
    document = frame.document
    items = tuple(document.children(alt)) if alt is not None else ()
    for item in items:
        event = document.events[item]
        if event.name != ITEM or event.attributes.keys() != {LANGUAGE} or any(document.children(item)):
            raise Refused(f"the {property.what} in its XMP has no languages")
    languages = [document.events[item].attributes[LANGUAGE].lower() for item in items]
    if languages.count(_DEFAULT) > 1:
        raise Refused(f"the {property.what} in its XMP has two defaults")
    return items
