"""What is written, and over what: cleaning a caption, telling a person's words from a camera's.  Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from captiond import characters

from . import firmware

clean = characters.line  # a caption, and what is compared with one

CAPTION, TITLE, ALT_TEXT = "caption", "title", "alt_text"  # as `Texts` calls them
# Keywords, by the list they stand in: words, digiKam's paths with "/", Lightroom's with "|".
KEYWORDS, TAGS, HIERARCHY = "keywords", "tags", "hierarchy"
LISTS = frozenset({KEYWORDS, TAGS, HIERARCHY})

SWITCHED_OFF = "switched off"  # the reason for a block that the settings do not ask for

# Programs find a stack's layout, channels or scale in these: they stay, whatever the settings say.
_READ_BY_PROGRAMS = re.compile(r"\s*(?:ImageJ=|SI\.|Aperio |\{\"shape\"|<MetaData>)")
_OME = re.compile(r"<(?:\w+:)?OME[\s>]")


# Letters with a NUL before or behind each.
_WIDE = re.compile(rb"(?:(?:\0[ -~])+|(?:[ -~]\0){2,})\0*", re.DOTALL)


class Decision(Enum):
    """What to do with the description that an image has."""

    WRITE = "write"
    KEEP = "kept existing description"
    KEEP_FOR_PROGRAMS = "kept existing description, which programs read"


def encode(caption: str) -> bytes:
    """The value of the ASCII tag 270: UTF-8 and a NUL, as the Metadata Working Group guides (2.0)."""
    return caption.encode() + b"\0"


def decode(value: bytes) -> str:
    """What readers show of a description: up to a NUL; UTF-8 by the guideline, else Latin-1, as of old.

    ASCII in UTF-16, of which readers show a letter or nothing, still counts as a text.
    """
    if _WIDE.fullmatch(value):
        return value.replace(b"\0", b"").decode("ascii").strip()
    shown = value.partition(b"\0")[0]
    try:
        return shown.decode().strip()
    except UnicodeDecodeError:
        return shown.decode("latin-1").strip()


def encode_wide(text: str) -> bytes:
    """The value of Windows' own tags: UTF-16, little-endian in every block, and a NUL."""
    return text.encode("utf-16-le") + b"\0\0"


def decode_wide(value: bytes) -> str:
    return value.decode("utf-16-le", "replace").partition("\0")[0].strip()


def is_by_person(text: str | None, name: str = "") -> bool:
    """Did a person write this about the picture `name`, rather than a camera's firmware or a program?"""
    return not firmware.is_nobodys(clean(text or ""), name)


@dataclass(frozen=True, slots=True)
class Said:
    """What one place says about the picture; None: a person's words that cannot be read."""

    place: str  # exif, xmp, iptc, png, windows, xmp-sidecar, takeout
    text: str | None
    field: str = CAPTION  # which of our texts it corresponds to

    def is_by_person(self, name: str, own: Collection[str]) -> bool:
        return self.text is None or (is_by_person(self.text, name) and clean(self.text) not in own)

    def is_blank(self) -> bool:
        return self.text is not None and not clean(self.text)


def decide(said: Iterable[Said], *, replace: bool, own: Collection[str] = (), name: str = "") -> Decision:
    """One decision for all places of a text of the picture `name`, given all that they say for it.

    `own`: our words, which count as ours wherever they stand.
    """
    if replace:
        return Decision.WRITE
    is_taken = any(one.is_by_person(name, own) for one in said)
    return Decision.KEEP if is_taken else Decision.WRITE


def is_read_by_programs(text: str) -> bool:
    """Is it text that microscopes' programs need?  It stays, whatever the settings say."""
    return _READ_BY_PROGRAMS.match(text) is not None or _OME.search(text) is not None


def together(*descriptions: str | None) -> str | None:
    """The replaced descriptions as one text, each once."""
    return "\n".join(dict.fromkeys(filter(None, descriptions))) or None
