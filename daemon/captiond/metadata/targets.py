"""The table of places inside a picture that hold a text: which text each holds, and how it is found there.

A new text, or a new place for one, is a row here.  What writes and proves is one writer for each block
(`blocks`), which are told the row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from captiond.records import Texts

from . import tiff
from .policy import CAPTION, TITLE, Said
from .seen import XP_COMMENT, XP_KEYWORDS, XP_TITLE
from .xmp import DC_DESCRIPTION, Property

AUTO = "auto"
EXIF, XMP, IPTC, WINDOWS = "exif", "xmp", "iptc", "windows"


@dataclass(frozen=True, slots=True)
class Target:
    """One place of one text: where it is, and what is to stand in it, if there is such a text."""

    name: str  # as `written` tells of it
    block: str
    at: int | Property  # the tag of EXIF, the property of XMP, the dataset of IPTC's record 2
    text: Callable[[Texts], str]
    fields: tuple[str, ...] = (CAPTION,)  # where a person said one of these, it stays as it is
    is_always_told: bool = False  # also if there is no text for it


def _caption(texts: Texts) -> str:
    return texts.caption


def _title_or_caption(texts: Texts) -> str:
    """Explorer shows tag 270 as the title where there is none, and takes it for ASCII."""
    return texts.title or texts.caption


def _keywords(texts: Texts) -> str:
    return "; ".join(texts.keywords)


EXIF_DESCRIPTION = Target(
    "exif:ImageDescription", EXIF, tiff.IMAGE_DESCRIPTION, _caption, is_always_told=True
)
XMP_DESCRIPTION = Target("xmp:dc:description", XMP, DC_DESCRIPTION, _caption, is_always_told=True)
IPTC_CAPTION = Target("iptc:Caption-Abstract", IPTC, 120, _caption, is_always_told=True)

TABLE = (
    EXIF_DESCRIPTION,
    Target("exif:XPTitle", WINDOWS, XP_TITLE, _title_or_caption, (TITLE, CAPTION)),
    Target("exif:XPComment", WINDOWS, XP_COMMENT, _caption),
    Target("exif:XPKeywords", WINDOWS, XP_KEYWORDS, _keywords, ()),
    XMP_DESCRIPTION,
    IPTC_CAPTION,
)


def chosen(
    blocks: str | Collection[str], *, windows: bool, said: Collection[Said], has_iptc: bool
) -> Iterator[Target]:
    """The rows that are wanted for a picture that says these things.

    `auto`: EXIF; XMP if the picture already says something there; IPTC if the picture has it.  Windows' tags
    stand in EXIF and are wanted with it.
    """
    wanted = set(blocks)
    if blocks == AUTO:
        wanted = {EXIF}
        wanted |= {XMP} if any(one.place == XMP and not one.is_blank() for one in said) else set()
        wanted |= {IPTC} if has_iptc else set()
    if windows and EXIF in wanted:
        wanted.add(WINDOWS)
    return (target for target in TABLE if target.block in wanted)
