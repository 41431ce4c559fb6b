"""A list of keywords in an XMP packet: new ones go to its end, and nothing else in it changes.

ISO 16684-1, 7.7: an array is an rdf:Bag, an rdf:Seq or an rdf:Alt of rdf:li.  The first two count as equal,
as they do for readers; any other form is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self
from xml.sax.saxutils import escape

from .refusal import Refused
from .xmp_frame import ITEM, LANGUAGE, RDF, Change, Frame, Property, Shape

_KEYWORDS = "list of keywords"
DC_SUBJECT = Property("dc", "http://purl.org/dc/elements/1.1/", "subject", _KEYWORDS, Shape.BAG)
TAGS_LIST = Property("digiKam", "http://www.digikam.org/ns/1.0/", "TagsList", _KEYWORDS, Shape.SEQ)
HIERARCHICAL_SUBJECT = Property(
    "lr", "http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject", _KEYWORDS, Shape.BAG
)
_CONTAINERS = frozenset({f"{RDF} Bag", f"{RDF} Seq"})


@dataclass(frozen=True, slots=True)
class Listed:
    """A packet with the property at most once, as a list of plain texts."""

    frame: Frame
    property: Property
    element: int | None
    container: int | None
    items: tuple[int, ...]

    @classmethod
    def read(cls, data: bytes, property: Property) -> Self:
        frame = Frame.read(data)
        if frame.is_attribute(property):
            raise Refused("its XMP has keywords that are no list")
        element = frame.element(property)
        if element is None:
            return cls(frame, property, None, None, ())
        container = _container(frame, element)
        items = tuple(frame.document.children(container))
        for item in items:
            event = frame.document.events[item]
            if (
                event.name != ITEM
                or event.attributes.keys() - {LANGUAGE}
                or any(frame.document.children(item))
            ):
                raise Refused("its XMP has keywords that are more than words")
        _refuse_words_between(frame, element, items)
        return cls(frame, property, element, container, items)

    def texts(self) -> list[str]:
        return [self.frame.document.text(item) for item in self.items]

    def changes(self, removed: Collection[int], added: Sequence[str]) -> list[Change]:
        """The changes that remove the items at these places and add these texts behind the last."""
        if self.element is None or self.container is None:
            return [self.frame.insertion(self.property, self.holding(self.property, added))] if added else []
        if not added and removed and len(set(removed)) == len(self.items):
            return [self.frame.removal(self.element)]
        end = self.frame.document.end(self.container)
        new = [Change(end, end, "".join(_item(text, f' xmlns:rdf="{RDF}"') for text in added))]
        return [self.frame.removal(self.items[place]) for place in removed] + (new if added else [])

    def changed(self, removed: Collection[int], added: Sequence[str]) -> bytes:
        """The packet after these `changes`, proved to differ in nothing else."""
        changes = self.changes(removed, added)
        data = self.frame.with_changes(changes) if changes else self.frame.data
        self.frame.prove(data, changes)
        kept = [text for place, text in enumerate(self.texts()) if place not in removed]
        if Listed.read(data, self.property).texts() != [*kept, *added]:
            raise Refused("the keywords do not read back from its XMP")
        return data

    @staticmethod
    def holding(property: Property, texts: Sequence[str]) -> str:
        """A list of these texts, in XML."""
        kind = property.shape.value
        return f"<rdf:{kind}>{''.join(map(_item, texts))}</rdf:{kind}>"


def _item(text: str, names: str = "") -> str:
    return f"<rdf:li{names}>{escape(text)}</rdf:li>"


def _container(frame: Frame, element: int) -> int:
    events = frame.document.events
    inner = list(frame.document.children(element))
    if events[element].attributes or len(inner) != 1 or events[inner[0]].name not in _CONTAINERS:
        raise Refused("its XMP has keywords that are no list")
    if events[inner[0]].attributes:
        raise Refused("its XMP has a list of keywords that somebody named")
    return inner[0]


def _refuse_words_between(frame: Frame, element: int, items: Collection[int]) -> None:
    """Refuse text that stands in the list but in none of its items: its author and meaning are unknown."""
    document = frame.document
    inside = {place for item in items for place in range(item, document.end(item))}
    for place in range(element, document.end(element)):
        event = document.events[place]
        if place not in inside and event.kind == "text" and event.name.strip():
            raise Refused("its XMP has keywords that are no list")
