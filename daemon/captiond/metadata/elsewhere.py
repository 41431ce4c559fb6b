"""The descriptions that XMP and IPTC blocks hold: read only, to see whether a person wrote one.

Searched rather than parsed, so that a damaged packet still shows what a person wrote in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

# ISO 16684-1, 8.3: dc:description, as an element with language alternatives or as an attribute.
_DUBLIN_CORE = re.compile(rb"xmlns:([\w.-]+)\s*=\s*[\"']http://purl\.org/dc/elements/1\.1/[\"']")
_TAG = re.compile(r"<[^<>]*>")

_IMAGE_RESOURCE = b"8BIM"  # Adobe Photoshop File Formats Specification, "Image Resource Blocks"
_IPTC = b"\x04\x04"
_CAPTION = (2, 120)  # IPTC-IIM 4.2, dataset 2:120 Caption/Abstract


def in_xmp(packet: bytes) -> Iterator[str]:
    """What dc:description says in an XMP packet."""
    found = _DUBLIN_CORE.search(packet)
    name = (found[1] if found else b"dc") + b":description"
    start = packet.find(b"<" + name)
    end = packet.find(b"</" + name, start) if start >= 0 else -1
    if end >= 0:
        inner = packet[packet.find(b">", start) + 1 : end]
        yield _plain(_TAG.sub(" ", inner.decode(errors="replace")))
    attribute = re.search(rb"\s" + re.escape(name) + rb"\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", packet)
    if attribute:
        yield _plain((attribute[1] or attribute[2] or b"").decode(errors="replace"))


def _plain(text: str) -> str:
    try:
        return unescape(text).strip()
    except ValueError:  # a character with a number of more than 4,300 digits
        return text.strip()


def in_photoshop(resources: bytes) -> Iterator[str]:
    """What Caption/Abstract says in the IPTC block among Photoshop's image resources."""
    at = 0
    while resources[at : at + 4] == _IMAGE_RESOURCE and at + 12 <= len(resources):
        name = at + 6
        size_at = name + 1 + resources[name]
        size_at += (size_at - name) % 2
        size = int.from_bytes(resources[size_at : size_at + 4], "big")
        start = size_at + 4
        if resources[at + 4 : at + 6] == _IPTC:
            yield from in_iptc(resources[start : start + size])
        at = start + size + size % 2


def in_iptc(block: bytes) -> Iterator[str]:
    """What Caption/Abstract says in a block of datasets (IIM 4.2, 1.5: marker, record, dataset, length)."""
    at = 0
    while at + 5 <= len(block) and block[at] == 0x1C:
        size = int.from_bytes(block[at + 3 : at + 5], "big")
        start = at + 5
        if size & 0x8000:  # an extended dataset, whose length has this many bytes
            width = size & 0x7FFF
            size = int.from_bytes(block[start : start + width], "big")
            start += width
        if (block[at + 1], block[at + 2]) == _CAPTION:
            text = block[start : start + size]
            try:
                yield text.decode()
            except UnicodeDecodeError:
                yield text.decode("latin-1")
        at = start + size
