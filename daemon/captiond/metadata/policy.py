"""What is written, and over what: cleaning a caption, telling a person's words from a camera's.  Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import Enum

from captiond import characters

from . import firmware

clean = characters.line  # a caption, and what is compared with one

SWITCHED_OFF = "switched off"  # the reason for a block that nobody asked for

# Programs find the layout of a stack, its channels or its scale in these, whatever a person asks for.
_READ_BY_PROGRAMS = re.compile(r"\s*(?:ImageJ=|SI\.|Aperio |\{\"shape\"|<MetaData>)")
_OME = re.compile(r"<(?:\w+:)?OME[\s>]")


class Decision(Enum):
    """What to do with the description that an image has."""

    WRITE = "write"
    KEEP = "kept existing description"
    KEEP_FOR_PROGRAMS = "kept existing description, which programs read"


def encode(caption: str) -> bytes:
    """The value of the ASCII tag 270: UTF-8 and a NUL, as the Metadata Working Group guides (2.0)."""
    return caption.encode() + b"\0"


def decode(value: bytes) -> str:
    """What readers show of a description: up to a NUL; UTF-8 by the guideline, else Latin-1, as of old."""
    shown = value.partition(b"\0")[0]
    try:
        return shown.decode().strip()
    except UnicodeDecodeError:
        return shown.decode("latin-1").strip()


def is_by_person(text: str | None, name: str = "") -> bool:
    """Did somebody write this about the picture `name`, rather than a camera's firmware or nobody?"""
    return not firmware.is_nobodys(clean(text or ""), name)


def decide(
    existing: str | None, elsewhere: Iterable[str], *, replace: bool, own: Collection[str] = ()
) -> Decision:
    """May a caption take the place of `existing`, given what is said elsewhere?  `own` are our words."""
    if existing and (_READ_BY_PROGRAMS.match(existing) or _OME.search(existing)):
        return Decision.KEEP_FOR_PROGRAMS
    if replace:
        return Decision.WRITE
    said = (existing or "", *elsewhere)
    is_taken = any(is_by_person(one) and clean(one) not in own for one in said)
    return Decision.KEEP if is_taken else Decision.WRITE


def together(*descriptions: str | None) -> str | None:
    """What descriptions that made way said, each once."""
    return "\n".join(dict.fromkeys(filter(None, descriptions))) or None
