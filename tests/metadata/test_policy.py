"""What counts as a person's description, and how a caption is cleaned."""

from __future__ import annotations

import time
import tomllib
import unicodedata
from datetime import date
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond import metadata
from captiond.metadata import iptc_words, policy, xmp_words
from captiond.metadata.policy import Decision, Said

from . import making
from .asking import kept
from .making import saved

JUNK = [
    "OLYMPUS DIGITAL CAMERA", "Konica Minolta Digital Camera", "DIGITAL CAMERA",
    "ACME DIGITAL STILL CAMERA",
    "olympus digital camera          ", "SONY DSC", "MINOLTA DSC", "EPSON DSC picture", "KODAK Action Cam",
    "DCF 1.0", "Exif JPEG", "Exif_JPEG_PICTURE", "SAMSUNG", "SAMSUNG CAMERA PICTURES", "<Digimax i50 MP3>",
    "<KENOX S630  / Samsung S630>", r"DCIM\100MEDIA\DJI_0012.JPG", "DSC00019", "12345", "null", "default",
    "_cuva", "smart", "hdr", "bsh", "hdr_cuva", "oznor", "HELLOMOTO", "My beautiful picture", "iClarified",
    "DVC 10.1 HDMI", "Exif_JPEG_420", "CameraID=52.FrameCount=1234.Brightness=7", "oplus_2097152",
    "filter: 0; fileterIntensity: 0.000000; filterMask: 0; captureOrientation: 90;",
    "filter: 0; jpegRotation: 270; fileterIntensity: 0.0; filterMask: 0; module:31facing:1; "
    + "aec_lux: 0.0; " * 30,
    "MOULTRIE DIGITAL GAME CAMERA", "AppleMark", "AppleMark\n", "LEAD Technologies Inc. V1.01", "-", ".",
    "---",
    "IMG_1234.JPG", "IMG_1234", "GOPR0482", "DJI_0001", "DJI_20230101120000_0001_D.JPG", "P1010001",
    "_MG_0001",
    "DSCF0001.RAF", "DSC_0001", "dscn0001.jpg", "100_1234", "GX010001", "PXL_20230101_120000123",
    "PXL_20230101_120000123.PORTRAIT-01.jpg", "IMG_20230101_120000", "IMG-20230101-WA0001.jpg",
    "20230101_120000",
    "Screenshot_20230101-120000_Chrome.jpg", "Screenshot 2023-01-01 at 12.00.00 PM.png", "Screenshot",
    "Screenshot from 2023-01-01 12-00-00", "IMG_E1234", "WhatsApp Image 2023-01-01 at 12.00.00.jpeg",
    "ABCD0001.JPG", "ABCD0001.X3F", "SDIM0001", "DSC-0001", "IMG_1234 copy.jpg", "IMG-20230101-WA0001(1).jpg",
    "WIN_20230101_12_00_00_Pro.jpg", "P_20180101_123456_vHDR_Auto.jpg", "C360_2014-01-01-12-00-00-123.jpg",
    "00000IMG_00000_BURST20180101123456789_COVER.jpg", "photo_2023-01-01 12.00.00.jpeg",
    "Exif JPEG picture", 'charset="Ascii"', "charset=Unicode",
    "Scanner", "charset=Ascii", "binary comment", "Created by Imlib", "Created with GIMP",
    "Created with The GIMP", "rhdr", "oznorWO", "sdr_HDRB", "mde_soft", "btf",
    "", "   ", "\0\0\0", "\0   \0", "\t\n", "\x01\x7f",
]  # fmt: skip

PERSONS = [
    "Oma in Köln", "Me with my digital camera", "The first photo of our new digital camera",
    "Samsung phones",
    "DSC00019 is my favourite", r"DCIM\100MEDIA is where photos lie", "Scanner in the office", "2012, Rome",
    "A monk", "default settings", "burst pipe", "Created with love", "SONY DSC-W7 test", "12:30",
    "x" * 200 + " DIGITAL CAMERA", "Smart people at the table", "HDR of the bridge", "hdr bridge",
    "-5 degrees",
    "My beautiful picture of Rome", "IMG_1234 is my favourite", "Screenshot of the error page",
    "Room 101_1234 b",
    "Screenshot 2 of our game", "AppleMark Street", "Mon amour", "oplus", "None of us",
    "The filter: 0; is broken",
    "WIN_ the race", "P_2018 party", "IMG_1234 copy of the deed", "charset",
    "GoPro at the beach", "DJI_0001 over Rome", "beach.jpg, 2012", "❤", "Our dog.jpg",
    "My camera: fileterIntensity",
]  # fmt: skip


@pytest.mark.parametrize("text", JUNK)
def test_what_cameras_write_is_junk(text: str) -> None:
    """Firmware names, paths, mode words and blanks make way for a caption."""
    assert not policy.is_by_person(text)
    assert not policy.is_by_person(text.lower())
    assert policy.decide([Said("exif", text), Said("xmp", text)], replace=False) is Decision.WRITE


@pytest.mark.parametrize(
    ("text", "name", "is_person"),
    [
        ("photo.jpg", "photo.jpg", False),
        ("PHOTO.JPG", "a/b/photo.jpg", False),
        ("rom-2012", "rom-2012.jpg", False),
        ("Grandma in the garden.jpg", "Grandma in the garden.jpg", False),
        ("Grandma in the garden", "Grandma in the garden.jpg", True),
        ("rom-2012", "rom-2013.jpg", True),
        ("Rome", "", True),
        ("photo of us", "photo.jpg", True),
    ],
)
def test_the_files_own_name_is_nobodys_word(text: str, name: str, is_person: bool) -> None:
    """What only repeats the name of the file says nothing; a caption that the file was named after does."""
    assert policy.is_by_person(text, name) is is_person


def test_the_list_is_dated_and_each_entry_has_a_source() -> None:
    """Whoever reads the list can tell how old it is, and where each entry is known from."""
    told = tomllib.loads(files(metadata).joinpath("firmware.toml").read_text(encoding="utf-8"))
    assert isinstance(told["date"], date)
    for entry in (*told["entry"], *told["file_name"]):
        assert len(entry["source"]) > 10
        assert entry.get("texts") or entry.get("patterns")


@given(st.text(alphabet="DCIMGP0123456789_-. ()filter:;=") | st.text())
def test_no_description_takes_long_to_judge(text: str) -> None:
    """Each pattern ends quickly, however the text is made."""
    start = time.perf_counter()
    policy.is_by_person(text * 50)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("text", PERSONS)
def test_what_persons_write_is_kept(text: str) -> None:
    """A sentence is a person's, even if it has a camera's words in it."""
    assert policy.is_by_person(text)
    assert policy.decide([Said("exif", text)], replace=False) is Decision.KEEP
    assert policy.decide([Said("xmp", text)], replace=False) is Decision.KEEP
    assert policy.decide([Said("exif", text)], replace=True) is Decision.WRITE


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0" encoding="UTF-8"?><!-- Warning: ... --><OME xmlns="http://example.org">',
        "<ome:OME>", "ImageJ=1.53k\nimages=12\nslices=12\n", '{"shape": [3, 32, 48]}', "Aperio Image Library",
    ],
)  # fmt: skip
def test_what_programs_read_is_never_replaced(text: str) -> None:
    """Microscopes and their programs keep their descriptions, even where a person asks to replace."""
    data = saved("TIFF", tiffinfo={270: text})
    assert kept(data, "TIFF", replace=True) == Decision.KEEP_FOR_PROGRAMS.value


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
    assert list(xmp_words.in_xmp(packet)) == found


def test_iptc_tells_its_caption() -> None:
    """Caption/Abstract is found in UTF-8 and Latin-1, behind other resources, and in an extended dataset."""
    assert list(iptc_words.in_photoshop(making.photoshop_saying(b"K\xf6ln"))) == ["Köln"]
    assert list(iptc_words.in_photoshop(making.photoshop_saying("Köln".encode()))) == ["Köln"]
    assert list(iptc_words.in_photoshop(making.photoshop_saying(None))) == []
    assert list(iptc_words.in_iptc(b"\x1c\x02\x78\x80\x04\0\0\0\x04Rome")) == ["Rome"]


@given(st.binary())
def test_no_block_makes_the_search_fail(data: bytes) -> None:
    """Whatever stands in XMP and IPTC, looking for a description ends without an error."""
    list(xmp_words.in_xmp(b"<dc:description" + data))
    list(iptc_words.in_photoshop(b"8BIM\x04\x04" + data))
    list(iptc_words.in_iptc(b"\x1c\x02\x78" + data))
