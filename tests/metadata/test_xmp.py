"""The description in an XMP packet: what changes, what never does, and what is refused."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.metadata import policy, xmp
from captiond.metadata.refusal import Refused

from .making import CAPTION, PLAIN_XMP, xmp_saying
from .test_mutations import mutated

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"
TIFF_DESCRIPTION = "{http://ns.adobe.com/tiff/1.0/}ImageDescription"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
EMPTY_RDF = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
PADDING = (b" " * 99 + b"\n") * 20

ODD = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<!-- a comment --><x:xapmeta xmlns:x='adobe:ns:meta/' x:xmptk='ACME &lt;1&gt;'>\n"
    b"<R:RDF xmlns:R='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>\n"
    b"<R:Description about='uuid:a&amp;\"b' xmlns:d='http://purl.org/dc/elements/1.1/'>\n"
    b"<d:title><R:Alt><R:li xml:lang='x-default'>Title</R:li></R:Alt></d:title>\n"
    b"<d:description><R:Alt>\n<R:li xml:lang='x-default'><![CDATA[SONY]]> DSC</R:li>\n"
    b"<R:li xml:lang='de-DE'>SONY DSC</R:li></R:Alt></d:description></R:Description>\n"
    b"<R:Description R:about='uuid:a&amp;\"b' xmlns:a='http://acme.example/' a:b='c'/><?odd one?>\n"
    b"</R:RDF></x:xapmeta>\n"
)
ALT, ITEM = b"<rdf:Alt>", b'<rdf:li xml:lang="x-default"></rdf:li>'
PACKETS = {
    "plain": PLAIN_XMP,
    "a description": xmp_saying("SONY DSC"),
    "a blank one": xmp_saying(" "),
    "an empty one": xmp_saying(""),
    "an empty tag": xmp_saying("").replace(b'"x-default"></rdf:li>', b'"x-default"/>'),
    "an empty list": xmp_saying("").replace(ALT + ITEM + b"</rdf:Alt>", b"<rdf:Alt />"),
    "no default": xmp_saying("SONY DSC").replace(b"x-default", b"en-US"),
    "two languages": xmp_saying("").replace(ALT, ALT + b'<rdf:li xml:lang="fr"/>'),
    "padding": PLAIN_XMP + PADDING + b"<?xpacket end='w'?>",
    "a description and padding": xmp_saying("x" * 300) + PADDING + b'<?xpacket end="w"?>\n',
    "little padding": PLAIN_XMP + b"  \n" + b'<?xpacket end="w"?>',
    "not writable": PLAIN_XMP + PADDING + b'<?xpacket end="r"?>',
    "NULs at the end": PLAIN_XMP + bytes(7),
    "odd": ODD,
    "a byte order mark": b"\xef\xbb\xbf" + ODD,
    "empty RDF": EMPTY_RDF,
    "a foreign prefix": PLAIN_XMP.replace(b"dc", b"x2").replace(b"rdf:about", b"xmlns:dc='acme:' rdf:about"),
}  # fmt: skip
each_packet = pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())


def described(packet: bytes, text: str = CAPTION) -> bytes:
    old = xmp.Packet.read(packet)
    new = old.describe(text)
    xmp.prove(old, new, text)
    return new


def defaults(packet: bytes) -> list[str]:
    """What the description says in its default language, by an independent parser."""
    root = ElementTree.fromstring(packet.rstrip(b"\0"))
    items = (item for one in root.iter(DESCRIPTION) for item in one.iter(f"{RDF}li"))
    return ["".join(item.itertext()) for item in items if item.get(LANGUAGE, "").lower() == "x-default"]


def others(packet: bytes) -> list[tuple[str, Any, Any]]:
    """All that an independent parser finds but the default description and what holds it alone."""
    root = ElementTree.fromstring(packet.rstrip(b"\0"))
    parents = {child: parent for parent in root.iter() for child in parent}
    for one in (*root.iter(DESCRIPTION), *root.iter(TIFF_DESCRIPTION)):
        for item in one.iter(f"{RDF}li"):
            if item.get(LANGUAGE, "").lower() == "x-default":
                parents[item].remove(item)
        if not any(True for _ in one.iter(f"{RDF}li")):
            parents[one].remove(one)
    for resource in list(root.iter(f"{RDF}Description")):
        is_empty = not len(resource) and not (resource.text or "").strip()
        if is_empty and set(resource.attrib) <= {f"{RDF}about", "about"}:
            parents[resource].remove(resource)
    return [(one.tag, one.attrib, (one.text or "").strip()) for one in root.iter()]


@each_packet
def test_only_the_description_changes(packet: bytes) -> None:
    """An independent parser finds the caption, and all else as it was; a second time changes nothing."""
    new = described(packet)
    assert defaults(new) == [CAPTION]
    assert others(new) == others(packet)
    assert xmp.Packet.read(new).describe(CAPTION) == new


def common(one: bytes, other: bytes) -> int:
    """How many bytes are the same from the beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


@pytest.mark.parametrize("name", [name for name in PACKETS if name != "a description and padding"])
def test_what_is_there_keeps_its_bytes(name: str) -> None:
    """The packet is changed in one place, and is the same bytes before it and behind it."""
    old, new = PACKETS[name], described(PACKETS[name])
    before, behind = common(old, new), common(old[::-1], new[::-1])
    replaced = b"<![CDATA[SONY]]> DSC" if b"CDATA" in old else b"SONY DSC" + b" " * 3
    padding = len(old) - len(PLAIN_XMP) if name == "padding" else 0
    assert before + behind >= len(old) - len(replaced) - padding


@pytest.mark.parametrize("name", ["padding", "a description and padding"])
@pytest.mark.parametrize("text", ["A dog.", CAPTION, "x" * 900])
def test_padding_is_used_up(name: str, text: str) -> None:
    """A packet with white space to spare keeps its length, so that nothing behind it moves."""
    assert len(described(PACKETS[name], text)) == len(PACKETS[name])


@pytest.mark.parametrize("name", ["little padding", "not writable"])
def test_other_padding_stays(name: str) -> None:
    """White space that does not suffice, or that is not to be touched, is left as it is."""
    packet = PACKETS[name]
    end = packet[packet.index(b"</x:xmpmeta>") :]
    assert described(packet).endswith(end)


@pytest.mark.parametrize("is_writable", [True, False])
def test_a_new_packet_holds_the_caption_alone(is_writable: bool) -> None:
    """It is whole, says whether it may be changed in place, and describes like one that was there."""
    packet = xmp.fresh(CAPTION, is_writable=is_writable)
    xmp.prove(None, packet, CAPTION)
    assert defaults(packet) == [CAPTION]
    assert [tag for tag, _, _ in others(packet)] == ["{adobe:ns:meta/}xmpmeta", f"{RDF}RDF"]
    assert packet.endswith(b'<?xpacket end="w"?>' if is_writable else b'<?xpacket end="r"?>')


@given(st.text().map(policy.clean))
def test_any_text_reads_back(text: str) -> None:
    """Whatever a caption says is no markup; what XML cannot say is refused."""
    try:
        new = described(ODD, text)
    except Refused:
        assert any(character in text for character in "\ufffe\uffff")
        return
    assert defaults(new) == [text]


REFUSED = {
    "nothing": b"",
    "no XML": b"something",
    "cut off": PLAIN_XMP[:-5],
    "other XML": b"<svg/>",
    "two RDF": PLAIN_XMP.replace(b"</x:", EMPTY_RDF + b"</x:"),
    "UTF-16": PLAIN_XMP.decode().encode("utf-16"),
    "Latin-1": xmp_saying("K\xf6ln").decode().encode("latin-1"),
    "declared Latin-1": b"<?xml version='1.0' encoding='iso-8859-1'?>" + PLAIN_XMP[54:],
    "declared ASCII": ODD.replace(b"UTF-8", b"us-ascii"),
    "a document type": ODD.replace(b"<!-- a comment -->", b"<!DOCTYPE x>"),
    "entities": ODD.replace(b"<!-- a comment -->", b'<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>'),
    "extended": PLAIN_XMP.replace(b"dc:format", b"dc:HasExtendedXMP"),
    "signed": PLAIN_XMP.replace(b"http://purl.org/dc/elements/1.1/", b"http://www.w3.org/2000/09/xmldsig#"),
    "about two things": ODD.replace(b"R:about='uuid", b"R:about='other"),
    "a typed node": PLAIN_XMP.replace(b"rdf:Description", b"rdf:Bag"),
    "an attribute": PLAIN_XMP.replace(b"rdf:about", b"dc:description='a' rdf:about"),
    "no languages": PLAIN_XMP.replace(b"dc:format", b"dc:description"),
    "two descriptions": ODD.replace(b"d:title", b"d:description"),
    "two defaults": ODD.replace(b"de-DE", b"x-default"),
    "a structure": xmp_saying("<rdf:value>SONY DSC</rdf:value>"),
    "endless": b"<a>" * 200_000,
    "huge": PLAIN_XMP + b" " * (1 << 22),
}  # fmt: skip


@pytest.mark.parametrize("packet", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_understood_is_refused(packet: bytes) -> None:
    """A packet that may mean something else to others is not touched."""
    with pytest.raises(Refused):
        described(packet)


@given(mutated(list(PACKETS.values())))
def test_mutated_packets(packet: bytes) -> None:
    """A damaged packet is refused, or says to an independent parser all that it said."""
    try:
        before, new = others(packet), described(packet)
    except (Refused, ElementTree.ParseError):  # ElementTree cannot read a "}" in the name of a namespace
        return
    assert CAPTION in defaults(new)
    assert others(new) == before


@given(mutated([described(PACKETS["odd"]), described(PACKETS["padding"])]))
def test_the_proof_sees_changes(packet: bytes) -> None:
    """A packet that says anything else than the old one and the caption is refused."""
    for name in ("odd", "padding"):
        old = xmp.Packet.read(PACKETS[name])
        try:
            xmp.prove(old, packet, CAPTION)
            after = others(packet)
        except (Refused, ElementTree.ParseError):
            continue
        assert defaults(packet) == [CAPTION]
        assert after == others(PACKETS[name])
