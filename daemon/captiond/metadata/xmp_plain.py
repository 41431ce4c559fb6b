"""A plain value in an XMP packet, as an element or as an attribute: set, and proved to be the only change.

ISO 16684-1, 7.5 and 7.9.2.2: both forms say the same, and Adobe's programs write the second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from xml.sax.saxutils import escape, quoteattr

from .refusal import Refused
from .xml_events import Event
from .xmp_frame import DESCRIPTION, LANGUAGE, Change, Frame, Property, Shape

HEADLINE = Property("photoshop", "http://ns.adobe.com/photoshop/1.0/", "Headline", "headline", Shape.PLAIN)
_ATTRIBUTE = re.compile(rb"\s+([^\s=<>/\"']+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")


@dataclass(frozen=True, slots=True)
class Plain:
    """A packet with the property at most once, as one text."""

    frame: Frame
    property: Property
    element: int | None
    holder: int | None  # the description that says it as an attribute

    @classmethod
    def read(cls, data: bytes, property: Property) -> Self:
        frame = Frame.read(data)
        document = frame.document
        element = frame.element(property)
        holders = [i for i, event in enumerate(document.events) if property.key in event.attributes]
        resources = list(document.children(frame.rdf))
        if len(holders) + (element is not None) > 1 or any(one not in resources for one in holders):
            raise Refused(f"its XMP has {property.what}s of more than the image")
        if element is not None:
            attributes = document.events[element].attributes.keys()
            if attributes - {LANGUAGE} or any(document.children(element)):
                raise Refused(f"the {property.what} in its XMP is more than words")
        if holders and document.events[holders[0]].name != DESCRIPTION:
            raise Refused(f"the {property.what} in its XMP is more than words")
        return cls(frame, property, element, holders[0] if holders else None)

    def text(self) -> str | None:
        if self.holder is not None:
            return self.frame.document.events[self.holder].attributes[self.property.key]
        return None if self.element is None else self.frame.document.text(self.element)

    def changed(self, text: str) -> bytes:
        """The packet that says `text`, or nothing if that is empty, proved to differ in nothing else."""
        if self.holder is not None:
            data = self._with_attribute(self.holder, text)
        else:
            changes = self._changes(text)
            data = self.frame.with_changes(changes)
            self.frame.prove(data, changes)
        if (Plain.read(data, self.property).text() or "") != text:
            raise Refused(f"the {self.property.what} does not read back from its XMP")
        return data

    def _changes(self, text: str) -> list[Change]:
        if self.element is None:
            return [self.frame.insertion(self.property, escape(text))] if text else []
        if not text:
            return [self.frame.removal(self.element)]
        return [Change(self.element + 1, self.frame.document.end(self.element), escape(text))]

    def _with_attribute(self, holder: int, text: str) -> bytes:
        """Change the value between its quotes; the proof shows that it was the right one."""
        document, old = self.frame.document, self.frame.data
        start, end = document.places[holder], document.places[holder + 1]
        local = self.property.name.encode()
        found = [one for one in _ATTRIBUTE.finditer(old, start, end) if one[1].rpartition(b":")[2] == local]
        if len(found) != 1:
            raise Refused(f"its XMP has several {self.property.what}s")
        new = b" %s=%s" % (found[0][1], quoteattr(text).encode()) if text else b""
        data = self.frame.padded(old[: found[0].start()] + new + old[found[0].end() :])
        event = document.events[holder]
        attributes = {
            key: value for key, value in event.attributes.items() if key != self.property.key or text
        }
        if text:
            attributes[self.property.key] = text
        expected = [*document.events]
        expected[holder] = Event(event.kind, event.name, attributes)
        self.frame.prove_events(data, expected)
        return data
