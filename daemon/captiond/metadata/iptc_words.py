"""The texts that IPTC blocks hold: read only, to see whether a person wrote one.

Searched rather than parsed, so that a damaged block still shows what a person wrote in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from .policy import CAPTION, KEYWORDS, TITLE

_IMAGE_RESOURCE = b"8BIM"  # Adobe Photoshop File Formats Specification, "Image Resource Blocks"
_IPTC = b"\x04\x04"
# IPTC-IIM 4.2: Object Name, Keywords, Headline, Caption/Abstract
_FIELDS = {(2, 5): TITLE, (2, 25): KEYWORDS, (2, 105): TITLE, (2, 120): CAPTION}


def in_photoshop(resources: bytes) -> Iterator[str]:
    """What Caption/Abstract says in the IPTC block among Photoshop's image resources."""
    return (text for field, text in texts_in_photoshop(resources) if field == CAPTION)


def in_iptc(block: bytes) -> Iterator[str]:
    """What Caption/Abstract says in a block of datasets."""
    return (text for field, text in texts_in_iptc(block) if field == CAPTION)


def texts_in_photoshop(resources: bytes) -> Iterator[tuple[str, str]]:
    """All texts in the IPTC block among Photoshop's image resources, each with its field."""
    at = 0
    while resources[at : at + 4] == _IMAGE_RESOURCE and at + 12 <= len(resources):
        name = at + 6
        size_at = name + 1 + resources[name]
        size_at += (size_at - name) % 2
        size = int.from_bytes(resources[size_at : size_at + 4], "big")
        start = size_at + 4
        if resources[at + 4 : at + 6] == _IPTC:
            yield from texts_in_iptc(resources[start : start + size])
        at = start + size + size % 2


def texts_in_iptc(block: bytes) -> Iterator[tuple[str, str]]:
    """All texts in a block of datasets (IIM 4.2, 1.5: marker, record, dataset, length)."""
    at = 0
    while at + 5 <= len(block) and block[at] == 0x1C:
        size = int.from_bytes(block[at + 3 : at + 5], "big")
        start = at + 5
        if size & 0x8000:  # an extended dataset, whose length has this many bytes
            width = size & 0x7FFF
            size = int.from_bytes(block[start : start + width], "big")
            start += width
        field = _FIELDS.get((block[at + 1], block[at + 2]))
        if field is not None:
            text = block[start : start + size]
            try:
                yield field, text.decode()
            except UnicodeDecodeError:
                yield field, text.decode("latin-1")
        at = start + size
