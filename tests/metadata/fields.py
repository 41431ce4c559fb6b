"""All texts at once, and where exiftool reads each of them."""

from __future__ import annotations

from captiond.records import Described, Texts

from .independent import Tags, is_exif, is_photoshop, is_xmp
from .judging import IsCarrier
from .making import CAPTION

TITLE = "Zwei Hunde & das Meer <1>"
ALT_TEXT = "Zwei Hunde am Strand"
ALL = Texts(
    CAPTION,
    alt_text=ALT_TEXT,
    title=TITLE,
    keywords=("Hund", "Strand"),
    keyword_paths=("Tier|Hund",),
    visible_text="NO DOGS",
)
TAGS = {
    "exif:ImageDescription": ("IFD0:ImageDescription", CAPTION),
    "xmp:dc:description": ("XMP-dc:Description", CAPTION),
    "xmp:AltTextAccessibility": ("XMP-iptcCore:AltTextAccessibility", ALT_TEXT),
    "xmp:dc:title": ("XMP-dc:Title", TITLE),
    "xmp:photoshop:Headline": ("XMP-photoshop:Headline", TITLE),
    "xmp:dc:subject": ("XMP-dc:Subject", "['Hund', 'Strand']"),
    "xmp:digiKam:TagsList": ("XMP-digiKam:TagsList", "['Tier/Hund', 'Strand']"),
    "xmp:lr:hierarchicalSubject": ("XMP-lr:HierarchicalSubject", "['Tier|Hund', 'Strand']"),
    "iptc:Caption-Abstract": ("IPTC:Caption-Abstract", CAPTION),
    "iptc:ObjectName": ("IPTC:ObjectName", TITLE),
    "iptc:Keywords": ("IPTC:Keywords", "['Hund', 'Strand']"),
}
TWICE = "XMP-tiff:ImageDescription"
SAYS = {tag: text or "" for tag, text in TAGS.values()}


def carriers_of(made: Described, were: Tags | None = None) -> dict[str, IsCarrier]:
    """The tags that were written, and in which segments of a JPEG they stand.

    An XMP that said the description as `tiff:ImageDescription` too says the caption there as well: `were` is
    what exiftool saw before.
    """
    kinds = {"exif": is_exif, "xmp": is_xmp, "iptc": is_photoshop}
    wrote = {one.target for one in made.written if one.action == "wrote"}
    carriers: dict[str, IsCarrier] = {
        TAGS[one][0]: kinds[one.partition(":")[0]] for one in wrote if one in TAGS
    }
    if "XMP-dc:Description" in carriers and TWICE in (were or {}):
        carriers[TWICE] = is_xmp
    return carriers
