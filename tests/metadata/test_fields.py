"""Alt text, title and keywords: where each is written, who else reads it there, and whose words stay."""

from __future__ import annotations

import io
import shutil
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captiond.exiftool import Exiftool
from captiond.metadata import beside, seen
from captiond.metadata.refusal import Refused
from captiond.metadata.xmp_plain import HEADLINE, Plain
from captiond.records import Described, Notes, Texts

from .fields import ALL, ALT_TEXT, SAYS, TAGS, TITLE, carriers_of
from .independent import exiftool_tags, needs_exiftool, needs_exiv2, pixels
from .judging import copied, counted, judged
from .making import (
    CAPTION,
    XMP,
    block,
    exif_segment,
    jpeg_segment,
    jpegs,
    saved,
    with_segments,
    xmp_saying,
)
from .test_heif import saved as saved_heif
from .test_keywords import actions, described, iptc, listed, packet
from .test_real_files import each_kind, originals, report, tags_of

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif"}
SETTINGS: dict[str, dict[str, Any]] = {
    "auto": {},
    "headline": {"title_as": "headline"},
    "both": {"title_as": "both", "blocks": ("exif", "xmp", "iptc")},
    "xmp alone": {"blocks": ("xmp",)},
    "windows": {"windows": True, "blocks": ("exif",)},
}
JPEGS = {"plain": saved("JPEG"), "IPTC": with_segments(saved("JPEG"), iptc()), **jpegs()}


def without_slug(data: bytes) -> bytes:
    """IPTC's title is nobody's here, so that ours takes its place."""
    return data.replace(b"\x1c\x02\x05\x00\x06A slug", b"\x1c\x02\x05\x00\x06null  ").replace(
        b"\x1c\x02\x05\x00\x05Title", b"\x1c\x02\x05\x00\x05null "
    )


@needs_exiftool
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("format", EXTENSIONS)
def test_exiftool_reads_each_text_where_it_was_written(format: str, name: str, tmp_path: Path) -> None:
    """All that `written` claims is there, nothing else has come, and no pixel has changed."""
    data = without_slug(with_segments(saved(format), iptc())) if format == "JPEG" else saved(format)
    made = described(data, ALL, format=format, **SETTINGS[name])
    tags = exiftool_tags(copied(tmp_path, "files", {"old.jpg": data, "new.jpg": made.data}))
    wrote = {one.target for one in made.written if one.action == "wrote"}
    assert {one.action for one in made.written} <= {"wrote", "skipped"}
    for target, (tag, text) in TAGS.items():
        if target in wrote:
            assert tags["new.jpg"][tag] == [text], target
        else:
            assert tags["new.jpg"].get(tag) == tags["old.jpg"].get(tag), target
    assert pixels(made.data) == pixels(data)
    assert described(made.data, ALL, format=format, **SETTINGS[name]).data is made.data
    assert b"NO DOGS" not in made.data


@needs_exiv2
@pytest.mark.parametrize("format", EXTENSIONS)
def test_exiv2_reads_each_text(format: str, tmp_path: Path) -> None:
    """A reader of another family sees the same, in the types that it knows these properties to have."""
    made = described(saved(format), ALL, format=format, title_as="both")
    path = tmp_path / f"a.{EXTENSIONS[format]}"
    path.write_bytes(made.data)
    out = subprocess.run(["exiv2", "-q", "-PXkt", str(path)], capture_output=True, text=True, check=False)
    told = dict(line.split(None, 1) for line in out.stdout.splitlines())
    assert told["Xmp.dc.title"].strip() == f'lang="x-default" {TITLE}'
    assert told["Xmp.photoshop.Headline"].strip() == TITLE
    assert told["Xmp.dc.subject"].strip() == "Hund, Strand"
    assert told["Xmp.digiKam.TagsList"].strip() == "Tier/Hund, Strand"
    assert told["Xmp.lr.hierarchicalSubject"].strip() == "Tier|Hund, Strand"
    assert ALT_TEXT in told["Xmp.iptc.AltTextAccessibility"]


@pytest.mark.parametrize("format", EXTENSIONS)
def test_pillow_reads_the_packet(format: str) -> None:
    """The packet is where Pillow finds packets, and is sound XML that says each text once."""
    made = described(saved(format), ALL, format=format)
    with Image.open(io.BytesIO(made.data)) as image:
        told = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or image.tag_v2.get(700)  # type: ignore[attr-defined]
        xml = told if isinstance(told, bytes) else str(told).encode()
    for text in (b"Zwei Hunde am Strand", b"&amp; das Meer", b"Tier/Hund", b"Tier|Hund"):
        assert xml.count(text) == 1


@needs_exiftool
@pytest.mark.parametrize(
    "texts",
    [ALL, replace(ALL, title=None, keywords=(), keyword_paths=()), replace(ALL, alt_text=None, title=None)],
    ids=["all", "alt text", "keywords"],
)
def test_no_jpeg_of_any_kind_is_harmed(texts: Texts, tmp_path: Path) -> None:
    """Every other tag, segment and pixel stays; exiftool complains of nothing new."""
    made = {name: described(data, texts, title_as="both") for name, data in JPEGS.items()}
    carriers = {name: carriers_of(one) for name, one in made.items()}
    old = exiftool_tags(copied(tmp_path, "old", JPEGS))
    new = {name: one.data for name, one in made.items()}
    verdicts = judged(JPEGS, old, copied(tmp_path, "new", new), carriers, SAYS)
    assert set(verdicts.values()) == {"clean"}


@needs_exiftool
@each_kind
def test_no_real_file_is_harmed_by_all_texts(formats: tuple[str, ...], tmp_path: Path) -> None:
    """Over real files each text is written or refused for itself, the caption no less often than alone."""
    old = originals(*formats)
    made = {name: described(data, ALL, format=formats[0], replaces=True) for name, data in old.items()}
    alone = {
        name: described(data, Texts(CAPTION), format=formats[0], replaces=True) for name, data in old.items()
    }
    carriers = {name: carriers_of(one) for name, one in made.items()}
    new = {name: one.data for name, one in made.items()}
    verdicts = judged(old, tags_of(formats), copied(tmp_path, "new", new), carriers, SAYS)
    report("ours", verdicts)
    assert set(counted(verdicts)) <= {"clean", "refused"}
    for name, one in made.items():
        assert not any("unexpected" in (it.reason or "") for it in one.written)
        captions = {target for target in wrote(alone[name]) if "sidecar" not in target}
        assert captions <= wrote(one)
        again = described(one.data, ALL, format=formats[0], replaces=True)
        assert again.data is one.data
        places = {"xmp:AltTextAccessibility", "xmp-sidecar:AltTextAccessibility"}
        assert places & wrote(one), "an alt text stands nowhere"


def test_a_caption_alone_is_written_as_before() -> None:
    """Where no other text is wanted, no packet is made and no other target is told of."""
    made = described(saved("JPEG"), Texts(CAPTION, visible_text="NO DOGS"))
    assert actions(made) == {"exif:ImageDescription": "wrote"}
    assert b"xpacket" not in made.data


@pytest.mark.parametrize("format", ["GIF", "HEIF", "AVIF", "BMP"])
def test_what_holds_no_xmp_gets_it_beside(format: str, tmp_path: Path) -> None:
    """The .xmp says all texts where the picture cannot."""
    data = saved(format) if format in ("GIF", "BMP") else saved_heif(format)
    made = described(data, ALL, format=format)
    assert made.data is data
    assert made.xmp is not None
    assert actions(made)["xmp-sidecar:AltTextAccessibility"] == "wrote"
    assert actions(made)["xmp-sidecar:dc:subject"] == "wrote"
    if shutil.which("exiftool"):
        tags = exiftool_tags(copied(tmp_path, "files", {"a.xmp": made.xmp}))["a.xmp"]
        for target in ("xmp:AltTextAccessibility", "xmp:dc:title", "xmp:dc:subject", "xmp:digiKam:TagsList"):
            tag, text = TAGS[target]
            assert tags[tag] == [text]


@needs_exiftool
def test_heic_has_the_caption_and_the_xmp_the_rest() -> None:
    """Where EXIF can be put into a HEIC, other texts have no home in it all the same."""
    with closing(Exiftool()) as tool:
        made = described(saved_heif("HEIF"), ALL, format="HEIF", place=tool.place, windows=True)
        assert actions(made)["exif:ImageDescription"] == "wrote"
        assert actions(made)["xmp-sidecar:dc:title"] == "wrote"
        assert described(saved_heif("HEIF"), Texts(CAPTION), format="HEIF", place=tool.place).xmp is None


def test_a_persons_title_and_alt_text_stay_each_for_itself() -> None:
    """A title anywhere keeps titles away, in every place; it hinders no other text."""
    theirs = {
        "xmp:dc:title": _languages("dc:title", "Our summer"),
        "xmp:photoshop:Headline": "<photoshop:Headline>Our summer</photoshop:Headline>",
        "xmp:AltTextAccessibility": _languages("Iptc4xmpCore:AltTextAccessibility", "Our dogs"),
    }
    for target, xml in theirs.items():
        made = described(_with_xmp(xml), ALL, title_as="both")
        kept = {one.target for one in made.written if one.action == "kept"}
        titles = {"xmp:dc:title", "xmp:photoshop:Headline"}
        assert kept == (titles if target in titles else {target})
        assert (f">{'Our dogs' if 'Alt' in target else 'Our summer'}<").encode() in made.data
        replaced = described(_with_xmp(xml), ALL, title_as="both", replaces=True)
        assert "Our" in (replaced.previous_description or "")
        assert not [one for one in replaced.written if one.action != "wrote"]
        assert b"Our summer" not in replaced.data
        assert b"Our dogs" not in replaced.data


def test_a_title_beside_the_picture_counts() -> None:
    """What an .xmp or IPTC says as the title is a person's like any other."""
    notes = Notes(xmp=packet(_languages("dc:title", "Our summer")))
    made = described(saved("JPEG"), ALL, notes=notes, xmp="always")
    assert actions(made)["xmp:dc:title"] == "kept"
    assert actions(made)["xmp-sidecar:dc:title"] == "kept"
    made = described(with_segments(saved("JPEG"), iptc()), ALL)
    assert actions(made)["xmp:dc:title"] == "kept"
    assert actions(made)["iptc:ObjectName"] == "kept"
    assert described(saved("PNG"), ALL, format="PNG").data == described(saved("PNG"), ALL, format="PNG").data


def test_the_name_of_the_file_is_no_title() -> None:
    """Programs put it there; ours takes its place."""
    data = _with_xmp(_languages("dc:title", "beach.jpg"))
    assert actions(described(data, ALL, notes=Notes(name="a/beach.jpg")))["xmp:dc:title"] == "wrote"


def test_new_texts_make_way_for_edited_ones() -> None:
    """What we said before is replaced wherever it stands, and a text that is wanted no more goes."""
    data = without_slug(with_segments(saved("JPEG"), iptc()))
    first = described(data, ALL, title_as="both")
    new = Texts("Dogs.", alt_text="Two dogs at sea", title="Dogs")
    edited = described(first.data, new, own=ALL, title_as="both")
    assert {one.action for one in edited.written} == {"wrote"}
    told = {(one.place, one.text) for one in seen.look(edited.data, "JPEG").said}
    assert told == {
        *(("exif", "Dogs."), ("xmp", "Dogs."), ("iptc", "Dogs.")),
        *(("xmp", "Dogs"), ("xmp", "Two dogs at sea"), ("iptc", "Dogs")),
    }
    none = described(edited.data, Texts("Dogs."), own=new, title_as="both")
    for gone in (b"AltText", b"dc:title", b"Headline", b"Two dogs at sea"):
        assert gone not in none.data
    assert described(first.data, new, title_as="both").data is first.data  # a person's, if nobody says else


def test_a_long_title_is_shortened_at_a_word_for_iptc_alone() -> None:
    """64 bytes hold fewer words; XMP has them all, and no other edit is kept away by that."""
    title = "Zwei Hunde rennen über den Strand von Sankt Peter-Ording, am Abend"
    data = without_slug(with_segments(saved("JPEG"), iptc()))
    made = described(data, Texts(CAPTION, title=title))
    short = "Zwei Hunde rennen über den Strand von Sankt Peter-Ording, am"
    assert b"\x1c\x02\x05" + len(short.encode()).to_bytes(2, "big") + short.encode() + b"\x1c" in made.data
    assert title.encode() in made.data
    edited = described(made.data, Texts(CAPTION, title="Dogs"), own=Texts(CAPTION, title=title))
    assert actions(edited)["iptc:ObjectName"] == "wrote"
    endless = described(data, Texts(CAPTION, title="é" * 70))
    assert b"\x1c\x02\x05\x00\x40" + "é".encode() * 32 in endless.data


HEADLINES = {
    "an attribute": XMP.replace(b'rdf:about=""', b'rdf:about="" photoshop:Headline="SONY DSC"') % b">",
    "in other quotes": XMP.replace(b'rdf:about=""', b"photoshop:Headline = 'SONY'\n rdf:about=\"\"") % b">",
    "an element": XMP % b"><photoshop:Headline>SONY DSC</photoshop:Headline>",
    "an empty element": XMP % b"><photoshop:Headline/>",
    "none": XMP % b">",
}  # fmt: skip
NAMED = b'rdf:RDF xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:q="acme:"'


@pytest.mark.parametrize("name", HEADLINES)
@pytest.mark.parametrize("text", ["Dogs", "a \"b\" <c> & 'd'", CAPTION])
def test_a_headline_stands_in_every_form(name: str, text: str) -> None:
    """It is set where it stands, and taken away again, with nothing else changed."""
    xmp = HEADLINES[name].replace(b"rdf:RDF", NAMED, 1)
    new = Plain.read(xmp, HEADLINE).changed(text)
    assert Plain.read(new, HEADLINE).text() == text
    assert Plain.read(new, HEADLINE).changed(text) == new
    gone = Plain.read(new, HEADLINE).changed("")
    assert Plain.read(gone, HEADLINE).text() is None


@pytest.mark.parametrize(
    "inner",
    [
        '<photoshop:Headline q:a="b">x</photoshop:Headline>',
        "<photoshop:Headline><rdf:Alt/></photoshop:Headline>",
        "<photoshop:Headline>x</photoshop:Headline><photoshop:Headline>y</photoshop:Headline>",
        '<q:of><rdf:Description photoshop:Headline="x"/></q:of>',
    ],
)
def test_a_headline_that_is_not_understood_is_refused(inner: str) -> None:
    """It is left alone, and so is the packet around it."""
    with pytest.raises(Refused):
        Plain.read((XMP % f">{inner}".encode()).replace(b"rdf:RDF", NAMED, 1), HEADLINE)


def test_windows_keywords_are_a_union_too() -> None:
    """A person's tags of Explorer reach the other lists, and theirs reach Explorer's."""
    wide = "Meer;Hund".encode("utf-16-le") + b"\0\0"
    data = with_segments(saved("JPEG"), exif_segment(block("<", [(0x9C9E, 1, len(wide), wide)])))
    data = with_segments(
        data, jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet(listed("dc:subject", "Anna")))
    )
    made = described(data, Texts(CAPTION, keywords=("Hund", "Strand")), windows=True)
    assert "Meer;Hund; Anna; Strand".encode("utf-16-le") in made.data
    assert b"<rdf:li>Anna</rdf:li>" in made.data
    assert b">Meer</rdf:li>" in made.data


def immich_tags(tags: dict[str, list[str]]) -> tuple[str | None, list[str]]:
    """The description and the tags that Immich takes of exiftool's merged tags."""
    merged = {name.partition(":")[2]: values for name, values in tags.items()}
    description = next(iter(merged.get("ImageDescription") or merged.get("Description") or []), None)
    for name in ("TagsList", "HierarchicalSubject", "Keywords"):
        if values := merged.get(name):
            words = values[0].strip("[]").split(", ") if values[0].startswith("[") else values
            return description, [word.strip("'").replace("|", "/") for word in words]
    return description, []


@needs_exiftool
@pytest.mark.parametrize("theirs", ["dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList", "iptc"])
def test_immich_shows_a_persons_words_and_ours(theirs: str, tmp_path: Path) -> None:
    """Whichever list a person used: Immich, which takes one of them, shows theirs and ours."""
    if theirs == "iptc":
        data = with_segments(saved("JPEG"), iptc("Anna", "Rome"))
    else:
        xmp = packet(listed(theirs, "Anna", "Rome"))
        data = with_segments(saved("JPEG"), jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))
    made = described(data, ALL)
    tags = exiftool_tags(copied(tmp_path, "files", {"a.jpg": made.data}))["a.jpg"]
    assert immich_tags(tags) == (CAPTION, ["Anna", "Rome", "Tier/Hund", "Strand"])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("caption", f"{CAPTION}\n"),
        (True, f"{CAPTION}\n"),
        ("keywords", "Hund, Strand\n"),
        ("lines", f"{CAPTION}\nZwei Hunde am Strand\n{TITLE}\n"),
    ],
)
def test_the_text_beside_says_what_trainers_want(kind: bool | str, said: str) -> None:
    """The caption, the keywords, or caption, alt text and title on a line each; an edit changes it."""
    made = described(saved("JPEG"), ALL, text=kind)
    assert made.text == said.encode()
    new = Texts("Dogs.", title="D", keywords=("cat",))
    edited = described(made.data, new, own=ALL, notes=Notes(text=made.text), text=kind)
    wanted = {"keywords": b"cat\n", "lines": b"Dogs.\nD\n"}.get(str(kind), b"Dogs.\n")
    assert edited.text == wanted
    theirs = described(made.data, new, own=ALL, notes=Notes(text=b"Our dogs"), text=kind)
    assert theirs.text is None
    assert described(saved("JPEG"), ALL, text=False).text is None


def test_without_keywords_there_is_no_text_of_them() -> None:
    """A list of nothing is not written, and `written` says why."""
    made = described(saved("JPEG"), Texts(CAPTION), text="keywords")
    assert (made.text, made.written[-1].reason) == (None, "there are no keywords")


def _languages(name: str, text: str) -> str:
    return f'<{name}><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></{name}>'


def _with_xmp(xml: str) -> bytes:
    spaces = (
        ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        ' xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"'
    )
    xmp = XMP % f"{spaces}>{xml}".encode()
    return with_segments(saved("JPEG"), jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))


def test_an_xmp_with_a_persons_caption_gets_the_other_texts() -> None:
    """Of an .xmp that came along the description stays, and each other text is merged in."""
    made = described(saved("JPEG"), ALL, notes=Notes(xmp=xmp_saying("Our dogs")), xmp="always")
    assert {one.text for one in beside.descriptions(made.xmp)} == {"Our dogs"}
    told = actions(made)
    assert told["xmp-sidecar:dc:description"] == "kept"
    assert told["xmp-sidecar:AltTextAccessibility"] == "wrote"
    assert told["exif:ImageDescription"] == "kept"
    assert told["xmp:AltTextAccessibility"] == "wrote"


def wrote(made: Described) -> set[str]:
    return {one.target for one in made.written if one.action == "wrote"}


def test_an_unwritable_packet_leads_to_an_xmp_beside() -> None:
    """Texts that find no place inside stand beside the picture; the caption goes into EXIF all the same."""
    head = jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta>")
    made = described(with_segments(saved("JPEG"), head), ALL)
    assert "exif:ImageDescription" in wrote(made)
    assert actions(made)["xmp:dc:subject"] == "refused"
    assert "xmp-sidecar:dc:subject" in wrote(made)
    assert described(with_segments(saved("JPEG"), head), Texts(CAPTION)).xmp is None
