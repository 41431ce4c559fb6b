"""What counts as a person's description, and how a caption is cleaned."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.metadata import elsewhere, policy
from captiond.metadata.policy import Decision

from . import making

JUNK = [
    "OLYMPUS DIGITAL CAMERA", "Konica Minolta Digital Camera", "DIGITAL CAMERA", "ACME DIGITAL STILL CAMERA",
    "olympus digital camera          ", "SONY DSC", "MINOLTA DSC", "EPSON DSC picture", "KODAK Action Cam",
    "DCF 1.0", "Exif JPEG", "Exif_JPEG_PICTURE", "SAMSUNG", "SAMSUNG CAMERA PICTURES", "<Digimax i50 MP3>",
    "<KENOX S630  / Samsung S630>", r"DCIM\100MEDIA\DJI_0012.JPG", "DSC00019", "12345", "null", "default",
    "Scanner", "charset=Ascii", "binary comment", "Created by Imlib", "Created with GIMP",
    "Created with The GIMP", "rhdr", "oznorWO", "sdr_HDRB", "mde_soft", "btf",
    "", "   ", "\0\0\0", "\0   \0", "\t\n", "\x01\x7f",
]  # fmt: skip

PERSONS = [
    "Oma in Köln", "Me with my digital camera", "The first photo of our new digital camera", "Samsung phones",
    "DSC00019 is my favourite", r"DCIM\100MEDIA is where photos lie", "Scanner in the office", "2012, Rome",
    "A monk", "default settings", "burst pipe", "Created with love", "SONY DSC-W7 test", "12:30",
    "x" * 200 + " DIGITAL CAMERA",
]  # fmt: skip


@pytest.mark.parametrize("text", JUNK)
def test_what_cameras_write_is_junk(text: str) -> None:
    """Firmware names, paths, mode words and blanks make way for a caption."""
    assert not policy.is_by_person(text)
    assert not policy.is_by_person(text.lower())
    assert policy.decide(text, [text], replace=False) is Decision.WRITE


@pytest.mark.parametrize("text", PERSONS)
def test_what_persons_write_is_kept(text: str) -> None:
    """A sentence is a person's, even if it has a camera's words in it."""
    assert policy.is_by_person(text)
    assert policy.decide(text, [], replace=False) is Decision.KEEP
    assert policy.decide(None, [text], replace=False) is Decision.KEEP
    assert policy.decide(text, [text], replace=True) is Decision.WRITE


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0" encoding="UTF-8"?><!-- Warning: ... --><OME xmlns="http://example.org">',
        "<ome:OME>", "ImageJ=1.53k\nimages=12\nslices=12\n", '{"shape": [3, 32, 48]}', "Aperio Image Library",
    ],
)  # fmt: skip
def test_what_programs_read_is_never_replaced(text: str) -> None:
    """Microscopes and their programs keep their descriptions, even where a person asks to replace."""
    assert policy.decide(text, [], replace=True) is Decision.KEEP_FOR_PROGRAMS


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("Two dogs\nrun.", "Two dogs run."), ("  Two\t\r\n dogs \x00 run.\x7f ", "Two dogs run."),
        ("Cafe\u0301", "Café"), ("a\u2028b\u2029c\x85d", "a b c d"), ("«\u00a0oui\u00a0»",) * 2,
        ("👨‍👩‍👧", "👨‍👩‍👧"), ("\ud800x", "\ufffdx"), ("\n\t ", ""),
    ],
)  # fmt: skip
def test_captions_become_one_clean_line(caption: str, cleaned: str) -> None:
    """Line breaks and control characters become blanks; letters are composed; joined emoji stay joined."""
    assert policy.clean(caption) == cleaned


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_cleaning_is_for_all_text(caption: str) -> None:
    """Whatever a model says becomes NFC without control characters; cleaning it again changes nothing."""
    cleaned = policy.clean(caption)
    assert policy.clean(cleaned) == cleaned == unicodedata.normalize("NFC", cleaned)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in cleaned)
    assert policy.decode(policy.encode(cleaned)) == cleaned


def test_old_descriptions_may_be_latin_1() -> None:
    """What is not UTF-8 was written by older programs, in Latin-1."""
    assert policy.decode(b"K\xf6ln\0\0") == "Köln"


def test_what_follows_a_nul_is_not_shown() -> None:
    """Some cameras leave rubbish behind the end of the text, which no reader shows."""
    assert policy.decode(b"SONY DSC\0\xff\xfe rubbish") == "SONY DSC"


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (making.xmp_saying("Grandma &amp; I"), ["Grandma & I"]),
        (making.xmp_saying("Grandma").replace(b"dc:", b"x:").replace(b":dc=", b":x="), ["Grandma"]),
        (making.XMP % b" dc:description='Grandma'>", ["Grandma"]),
        (making.xmp_saying("Grandma")[:-40], ["Grandma"]),
        (making.xmp_saying(""), [""]),
        (making.PLAIN_XMP, []),
        (b"", []),
    ],
)
def test_xmp_tells_its_description(packet: bytes, found: list[str]) -> None:
    """dc:description is found as an element or an attribute, with any prefix, also in a damaged packet."""
    assert list(elsewhere.in_xmp(packet)) == found


def test_iptc_tells_its_caption() -> None:
    """Caption/Abstract is found in UTF-8 and Latin-1, behind other resources, and in an extended dataset."""
    assert list(elsewhere.in_photoshop(making.photoshop_saying(b"K\xf6ln"))) == ["Köln"]
    assert list(elsewhere.in_photoshop(making.photoshop_saying("Köln".encode()))) == ["Köln"]
    assert list(elsewhere.in_photoshop(making.photoshop_saying(None))) == []
    assert list(elsewhere.in_iptc(b"\x1c\x02\x78\x80\x04\0\0\0\x04Rome")) == ["Rome"]


@given(st.binary())
def test_no_block_makes_the_search_fail(data: bytes) -> None:
    """Whatever stands in XMP and IPTC, looking for a description ends without an error."""
    list(elsewhere.in_xmp(b"<dc:description" + data))
    list(elsewhere.in_photoshop(b"8BIM\x04\x04" + data))
    list(elsewhere.in_iptc(b"\x1c\x02\x78" + data))
