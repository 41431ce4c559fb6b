"""The table of places inside a picture that hold a text: which text each holds, and how it is found there.

A new text, or a new place for one, is a row here.  One writer for each block (`blocks`) gets the row, writes
and proves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from captiond.records import Texts

from . import iptc, tiff
from .keywords import Kind
from .policy import ALT_TEXT, CAPTION, KEYWORDS, TITLE, Said
from .seen import XP_COMMENT, XP_KEYWORDS, XP_TITLE
from .xmp import ALT_TEXT as XMP_ALT_TEXT
from .xmp import DC_DESCRIPTION, DC_TITLE
from .xmp_frame import Property
from .xmp_lists import DC_SUBJECT, HIERARCHICAL_SUBJECT, TAGS_LIST
from .xmp_plain import HEADLINE

AUTO = "auto"
EXIF, XMP, IPTC, WINDOWS = "exif", "xmp", "iptc", "windows"
BOTH = "both"  # the title as `title` and as `headline`


@dataclass(frozen=True, slots=True)
class Target:
    """One place of one text: where it is, and which text it holds."""

    name: str  # as `written` calls it
    block: str
    at: int | Property  # the tag of EXIF, the property of XMP, the dataset of IPTC's record 2
    text: Callable[[Texts], str]
    field: str = CAPTION  # whose place it is
    fields: tuple[str, ...] = (CAPTION,)  # if a person said one of these, the place stays as it is
    is_always_told: bool = False  # `written` tells of it even if there is no text for it
    kind: Kind | None = None  # of a list of keywords
    titled: str | None = None  # written only if `title_as` is this or `both`


def _caption(texts: Texts) -> str:
    return texts.caption


def _alt_text(texts: Texts) -> str:
    return texts.alt_text or ""


def _title(texts: Texts) -> str:
    return texts.title or ""


def _short_title(texts: Texts) -> str:
    return iptc.shortened_title(_title(texts))


def _title_or_caption(texts: Texts) -> str:
    """The title, else the caption: without one Explorer shows tag 270 as the title, taken for ASCII."""
    return texts.title or texts.caption


def _keywords(texts: Texts) -> str:
    return "; ".join((*texts.keywords, *texts.keyword_paths))


def _listed(name: str, block: str, at: int | Property, kind: Kind) -> Target:
    """A row of keywords: ours stand beside a person's, and are never refused because of these."""
    return Target(name, block, at, _keywords, KEYWORDS, (), kind=kind)


EXIF_DESCRIPTION = Target(
    "exif:ImageDescription", EXIF, tiff.IMAGE_DESCRIPTION, _caption, is_always_told=True
)
XMP_DESCRIPTION = Target("xmp:dc:description", XMP, DC_DESCRIPTION, _caption, is_always_told=True)
IPTC_CAPTION = Target("iptc:Caption-Abstract", IPTC, iptc.CAPTION, _caption, is_always_told=True)

TABLE = (
    EXIF_DESCRIPTION,
    Target("exif:XPTitle", WINDOWS, XP_TITLE, _title_or_caption, fields=(TITLE, CAPTION)),
    Target("exif:XPComment", WINDOWS, XP_COMMENT, _caption),
    _listed("exif:XPKeywords", WINDOWS, XP_KEYWORDS, Kind.WINDOWS),
    XMP_DESCRIPTION,
    Target("xmp:AltTextAccessibility", XMP, XMP_ALT_TEXT, _alt_text, ALT_TEXT, (ALT_TEXT,)),
    Target("xmp:dc:title", XMP, DC_TITLE, _title, TITLE, (TITLE,), titled="title"),
    Target("xmp:photoshop:Headline", XMP, HEADLINE, _title, TITLE, (TITLE,), titled="headline"),
    _listed("xmp:dc:subject", XMP, DC_SUBJECT, Kind.FLAT),
    _listed("xmp:digiKam:TagsList", XMP, TAGS_LIST, Kind.TREE_BY_SLASH),
    _listed("xmp:lr:hierarchicalSubject", XMP, HIERARCHICAL_SUBJECT, Kind.TREE_BY_BAR),
    IPTC_CAPTION,
    Target("iptc:ObjectName", IPTC, iptc.TITLE, _short_title, TITLE, (TITLE,)),
    _listed("iptc:Keywords", IPTC, iptc.KEYWORDS, Kind.IPTC),
)


def chosen(
    blocks: str | Collection[str],
    *,
    windows: bool,
    said: Collection[Said],
    has_iptc: bool,
    has_more: bool = False,
    title_as: str = "title",
) -> Iterator[Target]:
    """The rows that are wanted for a picture that says these things.

    `auto`: EXIF; XMP if the picture already says its description there, or if there are more texts than a
    caption (`has_more`), which have no other place; IPTC if the picture has it.  Windows' tags are in EXIF
    and are wanted with it.
    """
    wanted = set(blocks)
    if blocks == AUTO:
        wanted = {EXIF}
        wanted |= {XMP} if has_more or any(map(_is_described_in_xmp, said)) else set()
        wanted |= {IPTC} if has_iptc else set()
    if windows and EXIF in wanted:
        wanted.add(WINDOWS)
    return (target for target in titled(TABLE, title_as) if target.block in wanted)


def titled(table: Collection[Target], title_as: str) -> Iterator[Target]:
    """The rows without those that say the title in another way."""
    return (one for one in table if one.titled is None or title_as in (one.titled, BOTH))


def says(target: Target, texts: Texts, own: Texts | None) -> bool:
    """Is there a text for it, or a former text of ours to remove?"""
    return bool(target.text(texts) or (own is not None and target.field != CAPTION and target.text(own)))


def _is_described_in_xmp(said: Said) -> bool:
    return said.place == XMP and said.field == CAPTION and not said.is_blank()
