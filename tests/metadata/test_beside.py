"""The files beside a picture: what they say, what of a person's stays, and who else can read them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.metadata import TARGET, XMP_TARGET, beside, xmp
from captiond.metadata.jpeg_xmp import JpegXmp
from captiond.metadata.refusal import Refused
from captiond.records import Described, Texts, Written

from .asking import describe
from .independent import exiftool_tags, needs_exiftool, needs_exiv2
from .judging import copied
from .making import CAPTION, PLAIN_XMP, saved, xmp_saying
from .test_mutations import mutated
from .test_real_files import FOLDER
from .test_xmp import PACKETS, REFUSED, defaults, each_packet, others

KEPT = "kept existing description"
NO_PLACE = Described(b"", (Written(TARGET, "skipped", "captions are not written into GIF files"),))
ODD_CAPTIONS = [
    CAPTION,
    "a < b & c > d \"e\" 'f' ]]> &amp; <!-- {x} %s",
    "two\nlines\tand \x00 what\u2028no line may hold",
    "e\u0301 \ud800",
    "x" * 60_000,
]
# What Lightroom, darktable and digiKam leave beside a picture: attributes, a declaration, other languages.
LIGHTROOM = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000"><rdf:RDF'
    b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n <rdf:Description rdf:about=""\n'
    b'    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"\n   crs:Exposure2012="+0.55"/>\n'
    b" </rdf:RDF>\n</x:xmpmeta>\n"
)
DARKTABLE = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dt="http://darktable.sf.net/" xmp:Rating="3">\n'
    b'<dt:history><rdf:Seq><rdf:li dt:num="0" dt:operation="exposure"/></rdf:Seq></dt:history>\n'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)
COMPANIONS = {**PACKETS, "Lightroom": LIGHTROOM, "darktable": DARKTABLE}


def composed(
    existing_xmp: bytes | None = None,
    existing_text: bytes | None = None,
    *,
    caption: str = CAPTION,
    described: Described = NO_PLACE,
    xmp: str = "always",
    text: bool = True,
    replace: bool = False,
    own: tuple[Any, ...] = (),
) -> beside.Beside:
    former = Texts(own[0]) if own else None
    return beside.compose(
        beside.Wish(Texts(caption), former, replace),
        described,
        xmp=xmp,
        text="caption" if text else None,
        existing_xmp=existing_xmp,
        existing_text=existing_text,
    )


def actions(made: beside.Beside) -> dict[str, str]:
    return {one.target: one.action for one in made.written}


@pytest.mark.parametrize("caption", ODD_CAPTIONS, ids=["plain", "markup", "breaks", "surrogate", "long"])
def test_new_files_say_the_caption(caption: str) -> None:
    """Both hold the caption as one line, whatever it says, and stand alone."""
    made = composed(caption=caption)
    assert made.xmp and made.text
    assert made.text.endswith(b"\n") and made.text.count(b"\n") == 1
    line = made.text.decode().removesuffix("\n")
    assert defaults(made.xmp) == [line]
    assert made.written == (Written(beside.XMP_TARGET, "wrote"), Written(beside.TEXT_TARGET, "wrote"))
    again = composed(made.xmp, made.text, caption=caption)
    assert (again.xmp, again.text, again.written) == (made.xmp, made.text, made.written)


@needs_exiftool
def test_exiftool_reads_a_new_file(tmp_path: Path) -> None:
    """What Immich and many others read with finds the caption and nothing to complain of."""
    file = tmp_path / "photo.jpg.xmp"
    file.write_bytes(composed().xmp or b"")
    command = ["exiftool", "-config", "", "-j", "-G1", "-a", "-validate", "-warning", "-error", "-XMP:all"]
    (seen,) = json.loads(subprocess.run([*command, str(file)], capture_output=True, check=True).stdout)
    seen.pop("SourceFile")
    assert seen.pop("ExifTool:Validate") == "OK"
    assert seen == {"XMP-dc:Description": CAPTION, "XMP-tiff:ImageDescription": CAPTION}


@needs_exiv2
def test_exiv2_reads_a_new_file(tmp_path: Path) -> None:
    """What digiKam and darktable read with finds the caption in the default language."""
    file = tmp_path / "photo.xmp"
    file.write_bytes(composed().xmp or b"")
    done = subprocess.run(["exiv2", "-PXkyct", str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=3)[:2] == ["Xmp.dc.description", "LangAlt"]
    assert done.stdout.strip().endswith(f'lang="x-default" {CAPTION}')
    assert not done.stderr


@pytest.mark.parametrize(
    ("format", "blocks", "is_written"),
    [
        ("GIF", ("exif",), True),
        ("GIF", ("xmp",), True),
        ("GIF", (), False),
        ("JPEG", ("exif",), False),
        ("JPEG", ("xmp",), False),
        ("JPEG", ("iptc",), True),  # it has none to write into
        ("JPEG", (), False),
    ],
)
def test_auto_writes_where_the_format_cannot(format: str, blocks: tuple[str, ...], is_written: bool) -> None:
    """A caption that has no place in the picture lies beside it; one that was not wanted there does not."""
    described = describe(saved("JPEG"), format, CAPTION, blocks=blocks)
    made = composed(described=described, xmp="auto", text=False)
    assert (made.xmp is not None) == is_written == bool(made.written)
    assert made.text is None


def test_auto_writes_where_the_writer_refused() -> None:
    """A picture that is left alone for its own good has its caption beside it."""
    described = describe(saved("JPEG")[:30], "JPEG", CAPTION)
    assert described.written[0].action == "refused"
    assert composed(described=described, xmp="auto").xmp


def test_auto_leaves_a_persons_description_alone() -> None:
    """Where a person's words were kept in the picture, none of ours are put beside them."""
    theirs = describe(saved("JPEG"), "JPEG", "Our dog").data
    described = describe(theirs, "JPEG", CAPTION)
    assert described.written[0].action == "kept"
    made = composed(PLAIN_XMP, described=described, xmp="auto")
    assert (made.xmp, made.text) == (None, f"{CAPTION}\n".encode())


@pytest.mark.parametrize("xmp", ["auto", "always", "never"])
def test_what_is_not_wanted_is_not_considered(xmp: str) -> None:
    """`never`, no text, and a caption that says nothing write nothing."""
    nothing = composed(PLAIN_XMP, b"", xmp="never", text=False)
    assert nothing == beside.Beside(None, None, ())
    empty = composed(xmp=xmp, caption=" \n")
    assert (empty.xmp, empty.text) == (None, None)
    assert {(one.action, one.reason) for one in empty.written} == {("skipped", "the caption is empty")}


@pytest.mark.parametrize("existing", COMPANIONS.values(), ids=COMPANIONS.keys())
def test_a_file_that_came_along_is_merged(existing: bytes) -> None:
    """What another program keeps in it stays, by an independent parser, and the caption is added."""
    made = composed(existing, replace=True)
    assert made.xmp
    assert defaults(made.xmp) == [CAPTION]
    assert others(made.xmp) == others(existing)
    assert composed(made.xmp, replace=True).xmp == made.xmp


def made_by_exiftool(file: Path) -> None:
    tags = ["-XMP-dc:Title=Rex", "-XMP-dc:Description-de=SONY DSC", "-XMP:Rating=3", "-XMP-dc:Subject=dog"]
    subprocess.run(["exiftool", "-config", "", "-q", *tags, str(file)], check=True)


def made_by_exiv2(file: Path) -> None:
    """As digiKam and darktable have it made."""
    picture = file.with_suffix(".jpg")
    picture.write_bytes(saved("JPEG"))
    tags = ["set Xmp.dc.title lang=x-default Rex", "set Xmp.xmp.Rating 3", "set Xmp.dc.subject XmpBag dog"]
    commands = [argument for tag in tags for argument in ("-M", tag)]
    subprocess.run(["exiv2", *commands, str(picture)], check=True)
    subprocess.run(["exiv2", "-eX", str(picture)], check=True)


@needs_exiftool
@pytest.mark.parametrize("make", [made_by_exiftool, pytest.param(made_by_exiv2, marks=needs_exiv2)])
def test_files_of_other_programs_are_merged(make: Callable[[Path], None], tmp_path: Path) -> None:
    """exiftool finds all tags that these wrote, and the caption beside them."""
    file = tmp_path / "photo.xmp"
    make(file)
    before = exiftool_tags(tmp_path)[file.name]
    made = composed(file.read_bytes())
    assert made.written[0] == Written(beside.XMP_TARGET, "wrote")
    file.write_bytes(made.xmp or b"")
    after = exiftool_tags(tmp_path)[file.name]
    assert after.pop("XMP-dc:Description") == after.pop("XMP-tiff:ImageDescription") == [CAPTION]
    assert after == before
    assert {"XMP-dc:Title", "XMP-xmp:Rating", "XMP-dc:Subject"} <= before.keys()


@needs_exiftool
def test_real_packets_are_merged(tmp_path: Path) -> None:
    """What cameras and programs wrote as XMP is merged where it lies beside a picture, or left as it was."""
    packets = {}
    for number, path in enumerate(sorted(FOLDER.rglob("*.[jJ][pP][gG]"))):
        with suppress(Refused):
            packet = JpegXmp.read(path.read_bytes()).packet
            if packet:
                packets[f"{number}.xmp"] = packet.rstrip(b"\0")
    if not packets:
        pytest.skip(f"no XMP in {FOLDER}: set CAPTIOND_IMAGES")
    before = exiftool_tags(copied(tmp_path, "old", packets))
    made = {name: composed(packet, replace=True, text=False) for name, packet in packets.items()}
    merged = {name: one.xmp for name, one in made.items() if one.xmp is not None}
    assert len(merged) >= 0.8 * len(packets), [one.written for one in made.values()]
    for name, tags in exiftool_tags(copied(tmp_path, "new", merged)).items():
        for tag in ("XMP-dc:Description", "XMP-tiff:ImageDescription"):
            assert tags.pop(tag) == [CAPTION]
            before[name].pop(tag, None)
        assert tags == before[name]


@each_packet
def test_a_persons_words_in_it_stay(packet: bytes) -> None:
    """With a person's description it is not touched, unless that is asked for; then the JSON can tell it."""
    theirs = packet.replace(b"SONY</", b"Our dog</").replace(b"SONY", b"Our").replace(b"x" * 300, b"Our dog")
    said = " ".join(one.text or "" for one in beside.descriptions(theirs))
    made = composed(theirs)
    assert actions(made)[beside.XMP_TARGET] == ("kept" if "Our" in said else "wrote")
    assert (made.xmp is None) == ("Our" in said)
    if said in ("Our DSC", "Our dog"):
        assert composed(theirs, replace=True).previous_description == said


@pytest.mark.parametrize("existing", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_understood_stays_as_it_was(existing: bytes) -> None:
    """A file that cannot be merged with proof is left alone, with the reason."""
    made = composed(existing, replace=True, text=False)
    assert made.xmp is None
    (one,) = made.written
    assert (one.target, one.action) == (beside.XMP_TARGET, "refused")
    assert one.reason and "unexpected" not in one.reason


def test_a_caption_of_ours_makes_way() -> None:
    """A caption that captiond wrote is replaced when it is edited; other people's words are not."""
    first = composed(DARKTABLE, caption="One dog.")
    own = ("One dog.",)
    edited = composed(first.xmp, first.text, caption="Two dogs.", own=own)
    assert defaults(edited.xmp or b"") == ["Two dogs."]
    assert edited.text == b"Two dogs.\n"
    assert edited.previous_description is None
    kept = composed(xmp_saying("Our dog"), b"Our dog", caption="Two dogs.", own=own)
    assert (kept.xmp, kept.text) == (None, None)


@pytest.mark.parametrize("existing", [b"", b" \r\n", b"\xef\xbb\xbf\n", bytes(9)])
def test_a_blank_text_is_written_over(existing: bytes) -> None:
    """A text file in which nobody wrote anything receives the caption."""
    assert composed(None, existing).text == f"{CAPTION}\n".encode()


@pytest.mark.parametrize(
    ("existing", "unless_replaced", "replaced"),
    [
        (b"1girl, solo\n", "kept", "wrote"),
        (b"\xef\xbb\xbfOur dog", "kept", "wrote"),
        (b"K\xf6ln", "refused", "refused"),
        ("Köln".encode("utf-16"), "refused", "refused"),
        (b"a" * 70_000, "refused", "refused"),
    ],
)
def test_a_persons_text_stays(existing: bytes, unless_replaced: str, replaced: str) -> None:
    """A text stays as it is; where it is to be replaced, the JSON can tell what it said, all of it."""
    kept, made = composed(None, existing), composed(None, existing, replace=True)
    assert kept.text is None
    assert actions(kept)[beside.TEXT_TARGET] == unless_replaced
    assert actions(made)[beside.TEXT_TARGET] == replaced
    if replaced == "wrote":
        assert made.text == f"{CAPTION}\n".encode()
        assert made.previous_description == existing.decode("utf-8-sig").strip()


def test_two_persons_words_that_make_way_are_both_told() -> None:
    """Neither what the .xmp nor what the .txt said is lost."""
    made = composed(xmp_saying("Our dog"), b"Bello at the sea\n", replace=True)
    assert made.previous_description == "Our dog\nBello at the sea"
    assert composed(xmp_saying("Our dog"), b"Our dog\n", replace=True).previous_description == "Our dog"


def test_words_beside_a_picture_count_like_those_inside() -> None:
    """A person's description in a companion keeps the caption out of the picture; boilerplate does not."""
    data, blocks = saved("JPEG"), ("exif", "xmp")
    theirs = beside.descriptions(xmp_saying("Our dog"))
    kept = describe(data, "JPEG", CAPTION, blocks=blocks, beside=theirs)
    assert kept == Described(data, (Written(TARGET, "kept", KEPT), Written(XMP_TARGET, "kept", KEPT)))
    assert describe(data, "JPEG", CAPTION, beside=theirs, replace=True).written[0].action == "wrote"
    for existing in (None, PLAIN_XMP, xmp_saying("SONY DSC"), xmp_saying(CAPTION)):
        said = beside.descriptions(existing)
        written = describe(data, "JPEG", CAPTION, blocks=blocks, beside=said).written
        assert [one.action for one in written] == ["wrote", "wrote"]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_edited_caption_takes_the_place_of_ours_alone(format: str) -> None:
    """In every block the old caption makes way for the new one; a person's words in any of them do not."""
    blocks, old, new = ("exif", "xmp"), "One dog, cafe\u0301.\n", "Two dogs."
    first = describe(saved(format), format, old, blocks=blocks).data
    assert describe(first, format, new, blocks=blocks).data is first
    edited = describe(first, format, new, blocks=blocks, own=[old])
    assert edited.written == (Written(TARGET, "wrote"), Written(XMP_TARGET, "wrote"))
    assert edited.data == describe(edited.data, format, new, blocks=blocks, replace=True).data
    kept = describe(first, format, new, blocks=blocks, own=[old], beside=["Our dog"])
    assert kept.data is first


@given(
    existing=st.none() | st.binary() | mutated([*COMPANIONS.values(), xmp_saying("Our dog")]),
    text=st.none() | st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")),
    caption=st.text(),
    replace=st.booleans(),
)
def test_any_bytes(existing: bytes | None, text: bytes | None, caption: str, replace: bool) -> None:
    """Whatever came along, nothing is raised: it is merged, kept, or refused for a reason of its own."""
    made = composed(existing, text, caption=caption, replace=replace)
    for content, one in zip((made.xmp, made.text), made.written, strict=True):
        assert (content is not None) == (one.action == "wrote")
        assert "unexpected" not in (one.reason or "")
    if made.xmp is not None and made.text is not None:
        assert xmp.Packet.read(made.xmp).description() == made.text.decode().removesuffix("\n")
    if made.xmp is not None and existing and not replace:
        assert not any("Our dog" in (said.text or "") for said in beside.descriptions(existing))
