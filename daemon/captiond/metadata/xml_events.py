"""An XML document as the flat list of a parser's events, and where each of them begins.

Two documents say the same if their events are equal.  A document type or entities, which could make a parser
read other files or grow without bounds, are refused, as is any encoding but UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from xml.parsers import expat

from .refusal import Refused

_LONGEST = 1 << 22  # bytes
_MOST_EVENTS = 100_000


class Event(NamedTuple):
    """A start or an end of an element, a text, a comment or an instruction; names are "namespace name"."""

    kind: str
    name: str
    attributes: dict[str, str]


@dataclass(slots=True)
class Document:
    """The events of a document, where each begins in its bytes, and in how many elements it stands."""

    events: list[Event] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)

    def children(self, parent: int) -> Iterator[int]:
        """The elements in the one that starts at `parent`."""
        depth = self.depths[parent] + 1
        for index in range(parent + 1, self.end(parent)):
            if self.depths[index] == depth and self.events[index].kind == "start":
                yield index

    def end(self, start: int) -> int:
        """The end of the element that starts at `start`."""
        return self.depths.index(self.depths[start], start + 1)

    def text(self, start: int) -> str:
        """The text of an element that holds nothing else."""
        inner = self.events[start + 1 : self.end(start)]
        return "".join(event.name for event in inner if event.kind == "text")


@lru_cache(maxsize=4)  # the proof of one text reads the packet that the next text is laid into
def read(data: bytes) -> Document:
    """The document, which callers must not change: several may get the same one."""
    return parsed(data)


def parsed(data: bytes) -> Document:
    """Raises: Refused, if it is too long, not in UTF-8, not well-formed, or declares entities."""
    _must_be_utf8(data)
    parser = expat.ParserCreate("utf-8", " ")
    document = Document()
    depth = 0

    def put(kind: str, name: str, attributes: dict[str, str] | None = None) -> None:
        events = document.events
        if len(events) == _MOST_EVENTS:
            raise Refused("its XMP has too many parts")
        if kind == "text" and events and events[-1].kind == "text":
            texts.append(name)
            return
        settle()
        events.append(Event(kind, name, attributes or {}))
        document.places.append(parser.CurrentByteIndex)
        document.depths.append(depth)
        if kind == "text":
            texts.append(name)

    texts: list[str] = []  # the pieces that the last event is put together from

    def settle() -> None:
        if texts:
            document.events[-1] = Event("text", "".join(texts), {})
            texts.clear()

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        put("start", name, attributes)
        depth += 1

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        put("end", name)

    def declared(version: str, encoding: str | None, standalone: int) -> None:
        if encoding and encoding.lower() != "utf-8":
            raise Refused("its XMP says that it is not in UTF-8")
        put("declaration", f"{version} {encoding} {standalone}")

    def refuse(*_: object) -> None:
        raise Refused("its XMP declares a document type or entities")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda text: put("text", text)
    parser.CommentHandler = lambda text: put("comment", text)
    parser.ProcessingInstructionHandler = lambda target, text: put("instruction", f"{target} {text}")
    parser.StartCdataSectionHandler = lambda: put("cdata", "")
    parser.XmlDeclHandler = declared
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Refused(f"its XMP is not well-formed XML: {error}") from None
    settle()
    return document


def _must_be_utf8(data: bytes) -> None:
    if len(data) > _LONGEST:
        raise Refused("its XMP is too long")
    try:
        is_text = "\0" not in data.decode()
    except UnicodeDecodeError:
        is_text = False
    if not is_text:  # UTF-16 is allowed in a packet without a wrapper, but no program writes it
        raise Refused("its XMP is not in UTF-8")
