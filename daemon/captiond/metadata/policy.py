"""What is written, and over what: cleaning a caption, telling a person's words from a camera's.  Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import Enum

from captiond.characters import line as clean

SWITCHED_OFF = "switched off"  # the reason for a block that nobody asked for

# A maker's name before "DIGITAL CAMERA" is short and no part of a sentence; "me with my digital camera" is.
_SENTENCE = (
    r"(?!.*\b(?:an?|and|at|by|for|from|her|his|in|is|my|new|of|old|on|our|the|their|this|to|with|your)\b)"
)
_HUAWEI = (
    "rhdr hdrpl oznorWO oznor frontbhdp fbt rbt ptr fbthdr btr mon nor dav mde mde_soft edf btfmdn btf"
    " btfhdr frem rpt burst sdr_HDRB cof qrf fshbty"
)
_JUNK = re.compile(
    "|".join(
        (
            _SENTENCE + r"(?:\S+\s+){0,5}DIGITAL (?:STILL )?CAMERA",
            r"(?:SONY|MINOLTA) DSC",
            r"EPSON DSC picture",
            r"KODAK Action Cam",
            r"DCF 1\.0",
            r"Exif[ _]JPEG(?:_PICTURE)?",
            r"SAMSUNG(?: CAMERA PICTURES)?",
            r"<(?:Digimax|KENOX)[^>]*>",
            r"DCIM\\\S*",
            r"DSC\d+",
            r"\d+",
            r"null|default|Scanner|charset=Ascii|binary comment",
            r"Created (?:by Imlib|with (?:The )?GIMP)",
            *map(re.escape, _HUAWEI.split()),
        )
    ),
    re.IGNORECASE | re.DOTALL,
)

# Programs find the layout of a stack, its channels or its scale in these, whatever a person asks for.
_READ_BY_PROGRAMS = re.compile(r"\s*(?:ImageJ=|SI\.|Aperio |\{\"shape\"|<MetaData>)")
_OME = re.compile(r"<(?:\w+:)?OME[\s>]")

_LONGEST_JUNK = 128  # characters


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


def is_by_person(text: str | None) -> bool:
    """Did somebody write this, rather than a camera's firmware or nobody?"""
    line = clean(text or "")
    return bool(line) and (len(line) > _LONGEST_JUNK or _JUNK.fullmatch(line) is None)


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
