"""A person's words are seen wherever they stand, and what is decided holds for all places of a picture."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import piexif
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.exiftool import Exiftool
from captiond.metadata import IPTC_TARGET, TARGET, XMP_TARGET, beside, seen, takeout, xmp_words
from captiond.metadata.describing import Describing
from captiond.metadata.jpeg_xmp import JpegXmp
from captiond.metadata.png import read_chunks
from captiond.metadata.policy import CAPTION as CAPTION_FIELD
from captiond.records import NO_NOTES, Described, Notes, Texts

from .independent import exiftool_tags, needs_exiftool, pillow_description
from .judging import copied
from .making import (
    CAPTION,
    PLAIN_XMP,
    XMP,
    block,
    camera_block,
    exif_segment,
    jpeg_segment,
    photoshop_saying,
    saved,
    with_segments,
    xmp_saying,
)
from .test_heif import saved as saved_heif
from .test_mutations import mutated

WORDS = "Grandma in her garden, 1974"
KEPT = "kept existing description"
PLAIN = saved("JPEG")
EXIF = exif_segment(camera_block("<", WORDS.encode()))
C2PA = jpeg_segment(0xEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumbjumdc2pa")
TIFF_XMP = XMP.replace(b"dc=", b"tiff=").replace(b"purl.org/dc/elements/1.1", b"ns.adobe.com/tiff/1.0")


def xmp_segment(packet: bytes) -> bytes:
    return jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)


def iptc_segment(text: bytes | None) -> bytes:
    return jpeg_segment(0xED, b"Photoshop 3.0\0" + photoshop_saying(text))


def extended(*portions: tuple[int, bytes]) -> list[bytes]:
    length = sum(len(portion) for _, portion in portions)
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">I", length)
    return [jpeg_segment(0xE1, head + struct.pack(">I", at) + portion) for at, portion in portions]


def with_chunk(kind: bytes, payload: bytes, png: bytes | None = None) -> bytes:
    png = png or saved("PNG")
    at = next(chunk.start for chunk in read_chunks(png) if chunk.type == b"IDAT")
    chunk = struct.pack(">I4s", len(payload), kind) + payload + struct.pack(">I", zlib.crc32(kind + payload))
    return png[:at] + chunk + png[at:]


def in_cdata(text: str) -> bytes:
    return xmp_saying(f"<![CDATA[{text}]]>")


def as_attribute(prefix: str, name: str) -> bytes:
    packet = XMP if prefix == "dc" else TIFF_XMP
    return packet % f' {prefix}:{name}="{WORDS}">'.encode()


TIFF_SAYING = (
    xmp_saying(WORDS)
    .replace(b"xmlns:dc=", b"xmlns:tiff=")
    .replace(b"dc:description", b"tiff:ImageDescription")
)
TIFF_SAYING = TIFF_SAYING.replace(b"http://purl.org/dc/elements/1.1/", b"http://ns.adobe.com/tiff/1.0/")
LONG = xmp_saying(WORDS)
HALF = LONG.index(b"Grandma") + 3
RAW = b"\nexif\n    %d\n%s\n"
EXIF_BLOCK = b"Exif\0\0" + camera_block("<", WORDS.encode())


WIDE = WORDS.encode("utf-16-le")


def raw(content: bytes) -> bytes:
    return RAW % (len(content), content.hex().encode())


PACKETS: Mapping[str, bytes] = {
    "UTF-8": xmp_saying(WORDS),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + xmp_saying(WORDS),
    "UTF-16, little": b"\xff\xfe" + xmp_saying(WORDS).decode().encode("utf-16-le"),
    "UTF-16, big": b"\xfe\xff" + xmp_saying(WORDS).decode().encode("utf-16-be"),
    "UTF-16 without a mark": xmp_saying(WORDS).decode().encode("utf-16-be"),
    "UTF-32": xmp_saying(WORDS).decode().encode("utf-32"),
    "UTF-32 without a mark": xmp_saying(WORDS).decode().encode("utf-32-be"),
    "Latin-1, declared": b'<?xml version="1.0" encoding="iso-8859-1"?>'
    + xmp_saying("Köln").decode().encode("latin-1"),
    "CDATA": in_cdata(WORDS),
    "CDATA, damaged": in_cdata(WORDS)[:-40],
    "tiff:ImageDescription": TIFF_SAYING,
    "tiff:ImageDescription, damaged": TIFF_SAYING[:-40],
    "an attribute": as_attribute("dc", "description"),
    "tiff's as an attribute": as_attribute("tiff", "ImageDescription"),
    "another language": xmp_saying(WORDS).replace(b"x-default", b"fr-FR"),
    "no list": XMP % f"><dc:description>{WORDS}</dc:description>".encode(),
    "a document type": b"<!DOCTYPE x>" + xmp_saying(WORDS),
    "cut off in a word": xmp_saying(WORDS)[:HALF],
    "mentioned in no known encoding": b"\x00\x01\x02 dc:description \xff\xfe\xfd",
}
PICTURES: Mapping[str, tuple[str, bytes]] = {
    "EXIF": ("JPEG", with_segments(PLAIN, EXIF)),
    "IPTC": ("JPEG", with_segments(PLAIN, iptc_segment(WORDS.encode()))),
    "IPTC in Latin-1": ("JPEG", with_segments(PLAIN, iptc_segment("Köln".encode("latin-1")))),
    "extended XMP": ("JPEG", with_segments(PLAIN, xmp_segment(PLAIN_XMP), *extended((0, LONG)))),
    "extended XMP in mixed portions": (
        "JPEG",
        with_segments(PLAIN, xmp_segment(PLAIN_XMP), *extended((HALF, LONG[HALF:]), (0, LONG[:HALF]))),
    ),
    "a signed JPEG": ("JPEG", with_segments(PLAIN, EXIF, C2PA)),
    "two EXIF segments": ("JPEG", with_segments(PLAIN, exif_segment(block("<", [])), EXIF)),
    "a damaged block": ("JPEG", with_segments(PLAIN, exif_segment(camera_block("<", WORDS.encode())[:-700]))),
    "two XMP segments": ("JPEG", with_segments(PLAIN, xmp_segment(PLAIN_XMP), xmp_segment(LONG))),
    "tEXt": ("PNG", with_chunk(b"tEXt", b"Description\0" + WORDS.encode())),
    "tEXt in small letters": ("PNG", with_chunk(b"tEXt", b"description\0" + WORDS.encode())),
    "zTXt": ("PNG", with_chunk(b"zTXt", b"Description\0\0" + zlib.compress(WORDS.encode()))),
    "zTXt that is broken": ("PNG", with_chunk(b"zTXt", b"Description\0\0" + b"no stream")),
    "iTXt": ("PNG", with_chunk(b"iTXt", b"Description\0\0\0en\0Beschreibung\0" + WORDS.encode())),
    "iTXt, compressed": (
        "PNG",
        with_chunk(b"iTXt", b"Description\0\1\0\0\0" + zlib.compress(WORDS.encode())),
    ),
    "PNG's XMP, compressed": (
        "PNG",
        with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG)),
    ),
    "ImageMagick's XMP": ("PNG", with_chunk(b"tEXt", b"Raw profile type xmp\0" + raw(LONG))),
    "ImageMagick's EXIF": (
        "PNG",
        with_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw(EXIF_BLOCK))),
    ),
    "ImageMagick's APP1": ("PNG", with_chunk(b"tEXt", b"Raw profile type APP1\0" + raw(EXIF_BLOCK))),
    "ImageMagick's IPTC": (
        "PNG",
        with_chunk(b"tEXt", b"Raw profile type iptc\0" + raw(photoshop_saying(WORDS.encode()))),
    ),
    "a signed PNG": ("PNG", with_chunk(b"caBX", b"\0\0\0\0", with_chunk(b"eXIf", EXIF_BLOCK[6:]))),
    "WebP's EXIF": ("WEBP", saved("WEBP", exif=EXIF_BLOCK)),
    "WebP's XMP": ("WEBP", saved("WEBP", xmp=LONG)),
    "TIFF": ("TIFF", saved("TIFF", tiffinfo={270: WORDS})),
    "TIFF's XMP": ("TIFF", saved("TIFF", tiffinfo={700: LONG})),
    "EXIF in UTF-16, little": ("JPEG", with_segments(PLAIN, exif_segment(camera_block("<", WIDE)))),
    "EXIF in UTF-16, big": ("JPEG", with_segments(PLAIN, exif_segment(camera_block("<", b"\0" + WIDE)))),
    "HEIC that nobody can follow": ("HEIF", b"\0\0\0\x18ftypheic" + bytes(12) + EXIF_BLOCK),
    "another kind of file": ("JXL", b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\2\0Exif\0\0\0\0" + EXIF_BLOCK[6:]),
    "a GIF's XMP": ("GIF", saved("GIF", "P")[:-1] + b"!\xff\x0bXMP DataXMP" + LONG + b"\1\0\0;"),
    "a BMP's XMP": ("BMP", saved("BMP") + LONG),
    **{f"XMP: {name}": ("JPEG", with_segments(PLAIN, xmp_segment(one))) for name, one in PACKETS.items()},
}
BESIDE: Mapping[str, Notes] = {
    **{f".xmp: {name}": Notes(xmp=one) for name, one in PACKETS.items()},
    "an .xmp too large to be read": Notes(unread=frozenset({"xmp"})),
    "Takeout": Notes(takeout=(b'{"title": "beach.jpg", "description": "Anna\'s first swim"}',)),
    "Takeout in UTF-16": Notes(takeout=('{"description": "Anna"}'.encode("utf-16"),)),
    "Takeout, cut off": Notes(takeout=(b'{"title": "beach.jpg", "description": "Anna',)),
    "Takeout's second file": Notes(takeout=(b'{"description": ""}', b'{"description": "Anna"}')),
}


def described(
    data: bytes,
    format: str = "JPEG",
    notes: Notes = NO_NOTES,
    texts: Texts | str = CAPTION,
    **changes: Any,
) -> Described:
    values: dict[str, Any] = {
        "replaces": False,
        "blocks": "auto",
        "place": None,
        "xmp": "auto",
        "text": False,
    }
    texts = Texts(texts) if isinstance(texts, str) else texts
    return Describing(**values | changes)(data, format, texts, notes=notes)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"xmp": "always"},
    {"blocks": (), "xmp": "always"},
    {"blocks": ("exif", "xmp", "iptc"), "xmp": "always"},
    {"blocks": ("xmp",), "windows": True},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
@pytest.mark.parametrize(("format", "data"), PICTURES.values(), ids=PICTURES.keys())
def test_keep_means_keep_everywhere(format: str, data: bytes, changes: dict[str, Any]) -> None:
    """Where any place of a picture says a person's words, none receives ours, and no .xmp is made."""
    made = described(data, format, **changes)
    assert made.data is data
    assert made.xmp is None
    assert not [one for one in made.written if one.action == "wrote"]
    assert [one for one in made.written if one.action == "kept" and one.reason == KEPT]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
@pytest.mark.parametrize("notes", BESIDE.values(), ids=BESIDE.keys())
def test_words_beside_a_picture_are_kept_everywhere(notes: Notes, changes: dict[str, Any]) -> None:
    """An .xmp and Takeout's JSON count like the picture itself."""
    made = described(PLAIN, "JPEG", notes, **changes)
    assert (made.data, made.xmp) == (PLAIN, None)
    assert not [one for one in made.written if one.action == "wrote"]


@pytest.mark.parametrize(
    "notes",
    [
        Notes(takeout=(b'{"title": "beach.jpg", "description": "", "imageViews": "3"}',)),
        Notes(takeout=(b'{"title": "beach.jpg"}',)),
        Notes(takeout=(b'{"title": "a.jpg", "description": null}',)),
        Notes(takeout=(b'{"title": "a.jpg", "description": "IMG_1234.JPG"}',)),
        Notes(takeout=(b'[{"SourceFile": "a.jpg", "Description": "x"}]',)),
        Notes(takeout=(b"no JSON at all", b"", b"[" * 100_000)),
        Notes(xmp=b"no XML at all"),
        Notes(xmp=PLAIN_XMP),
        Notes(xmp=xmp_saying("")),
        Notes(name="holiday/beach.jpg", takeout=(b'{"description": "beach.jpg"}',)),
    ],
    ids=str,
)
def test_what_says_nothing_keeps_nothing(notes: Notes) -> None:
    """Blanks, file names and files that describe nothing leave the picture to the caption."""
    assert pillow_description(described(PLAIN, "JPEG", notes).data) == CAPTION


def test_other_languages_are_each_judged() -> None:
    """A camera's boilerplate in two languages is nobody's; a person's words in the second are somebody's."""
    item = b'<rdf:li xml:lang="fr">%s</rdf:li></rdf:Alt>'
    for words, action in ((b"SONY DSC", "wrote"), (b"Notre chien", "kept")):
        packet = xmp_saying("SONY DSC").replace(b"</rdf:Alt>", item % words)
        made = described(with_segments(PLAIN, xmp_segment(packet)))
        assert made.written[0].action == action


OLD = "Old words"
EVERYWHERE = with_segments(
    PLAIN,
    exif_segment(camera_block("<", OLD.encode())),
    xmp_segment(
        xmp_saying(OLD).replace(
            b"</rdf:Description>",
            b"</rdf:Description>"
            + TIFF_SAYING[TIFF_SAYING.index(b"<rdf:Description") : TIFF_SAYING.index(b"</rdf:RDF>")],
        )
    ),
    iptc_segment(OLD.encode()),
)


def said(data: bytes, format: str = "JPEG") -> set[tuple[str, str | None]]:
    return {(one.place, one.text) for one in seen.look(data, format).said if one.field == CAPTION_FIELD}


def test_replace_means_replace_everywhere() -> None:
    """Each place that says the old words says the new ones, the .xmp too; the JSON keeps the old."""
    english = "Two dogs run."
    assert said(EVERYWHERE) == {("exif", OLD), ("xmp", OLD), ("xmp", WORDS), ("iptc", OLD)}
    notes = Notes(xmp=xmp_saying("Beside"))
    made = described(EVERYWHERE, "JPEG", notes, english, replaces=True)
    assert said(made.data) == {("exif", english), ("xmp", english), ("iptc", english)}
    assert {one.text for one in beside.descriptions(made.xmp)} == {english}
    assert {one.action for one in made.written} == {"wrote"}
    assert set((made.previous_description or "").splitlines()) == {OLD, WORDS, "Beside"}
    again = described(made.data, "JPEG", Notes(xmp=made.xmp), english, replaces=True)
    assert (again.data, again.previous_description) == (made.data, None)


def test_a_list_of_blocks_changes_those_alone() -> None:
    """With `metadata: [exif]` and replace, XMP, IPTC and the .xmp stay, as asked."""
    made = described(
        EVERYWHERE, "JPEG", Notes(xmp=xmp_saying("Beside")), "Two.", replaces=True, blocks=("exif",)
    )
    assert said(made.data) == {("exif", "Two."), ("xmp", OLD), ("xmp", WORDS), ("iptc", OLD)}
    assert made.xmp is None
    assert made.previous_description == OLD


@pytest.mark.parametrize(
    ("format", "data", "left"),
    [(*PICTURES["tEXt"], WORDS), (*PICTURES["zTXt"], WORDS), (*PICTURES["iTXt, compressed"], WORDS)],
)
def test_the_json_says_what_a_text_chunk_said(format: str, data: bytes, left: str) -> None:
    """A PNG's text chunks are never rewritten; where a caption takes their place, the JSON tells of them."""
    made = described(data, format, replaces=True)
    assert pillow_description(made.data) == CAPTION
    assert ("png", left) in said(made.data, format)
    assert made.previous_description == left


def test_takeouts_words_stand_in_the_json_too() -> None:
    """Google's file travels as it is; a replaced description of it is told."""
    made = described(PLAIN, "JPEG", BESIDE["Takeout"], replaces=True)
    assert made.previous_description == "Anna's first swim"


def test_the_default_writes_exif_alone() -> None:
    """Into a picture that says nothing elsewhere `auto` writes the very bytes that EXIF alone does."""
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF"):
        data = saved(format)
        assert described(data, format) == described(data, format, blocks=("exif",))
    packet = with_segments(PLAIN, EXIF.replace(WORDS.encode(), b" " * len(WORDS)), xmp_segment(PLAIN_XMP))
    assert described(packet) == described(packet, blocks=("exif",))


@pytest.mark.parametrize(
    ("segments", "targets"),
    [
        ([xmp_segment(xmp_saying("SONY DSC"))], [TARGET, XMP_TARGET]),
        ([xmp_segment(xmp_saying(" "))], [TARGET]),
        ([iptc_segment(None)], [TARGET, IPTC_TARGET]),
        (
            [iptc_segment(b"SAMSUNG"), xmp_segment(TIFF_SAYING.replace(WORDS.encode(), b"-"))],
            [TARGET, XMP_TARGET, IPTC_TARGET],
        ),
    ],
)
def test_auto_writes_where_the_picture_already_speaks(segments: list[bytes], targets: list[str]) -> None:
    """XMP that says a camera's words, and IPTC, receive the caption beside EXIF."""
    made = described(with_segments(PLAIN, *segments), texts="Two dogs.")
    assert [(one.target, one.action) for one in made.written] == [(target, "wrote") for target in targets]
    assert {text for _, text in said(made.data)} <= {"Two dogs.", " ", ""}


def test_an_xmp_serves_where_a_place_could_not_be_changed() -> None:
    """XMP that nobody can merge goes on saying a camera's words: the .xmp says the caption instead."""
    strange = with_segments(
        PLAIN, xmp_segment(b"\xff\xfe" + xmp_saying("SONY DSC").decode().encode("utf-16-le"))
    )
    made = described(strange)
    assert [(one.target, one.action) for one in made.written] == [
        (TARGET, "wrote"), (XMP_TARGET, "refused"), (beside.XMP_TARGET, "wrote"),
    ]  # fmt: skip
    assert described(strange, xmp="never").xmp is None


def test_an_xmp_that_hides_the_caption_says_it() -> None:
    """A camera's words in an .xmp that came along would be shown instead of ours."""
    made = described(PLAIN, "JPEG", Notes(xmp=xmp_saying("SONY DSC")))
    assert {one.text for one in beside.descriptions(made.xmp)} == {CAPTION}
    assert described(PLAIN, "JPEG", Notes(xmp=PLAIN_XMP)).xmp is None


def test_tiffs_description_in_xmp_is_written_where_it_stands() -> None:
    """A packet that says its description twice says the caption twice; the rest of it stays."""
    made = described(EVERYWHERE, replaces=True)
    packet = JpegXmp.read(made.data).packet or b""
    assert list(xmp_words.in_xmp(packet)) == [CAPTION, CAPTION]


@needs_exiftool
def test_immich_finds_the_caption_beside_junk(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Merged as Immich merges, the .xmp over the picture, ImageDescription is the caption."""
    folder = tmp_path_factory.mktemp("immich")
    camera = with_segments(PLAIN, exif_segment(camera_block("<", b"OLYMPUS DIGITAL CAMERA")))
    made = described(camera, blocks=(), xmp="always")
    tags = exiftool_tags(copied(folder, "files", {"a.jpg": made.data, "a.jpg.xmp": made.xmp or b""}))
    merged = {
        name.partition(":")[2]: value for one in ("a.jpg", "a.jpg.xmp") for name, value in tags[one].items()
    }
    assert (merged.get("ImageDescription") or merged.get("Description")) == [CAPTION]


def wide(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


@pytest.mark.parametrize(
    "make", [lambda: PLAIN, lambda: with_segments(PLAIN, exif_segment(camera_block(">")))]
)
def test_windows_tags_are_written_on_demand(make: Callable[[], bytes]) -> None:
    """Explorer's title, comment and tags hold the texts, by an independent reader, if it is asked for."""
    texts = Texts(CAPTION, title="Dogs", keywords=("dog", "Strand"))
    data = make()
    made = described(data, texts=texts, windows=True, blocks=("exif",))
    tags = piexif.load(made.data)["0th"]
    assert bytes(tags[0x9C9B]) == wide("Dogs")
    assert bytes(tags[0x9C9C]) == wide(CAPTION)
    assert bytes(tags[0x9C9E]) == wide("dog; Strand")
    assert tags[270] == CAPTION.encode()
    assert [one.target for one in made.written] == [
        TARGET,
        "exif:XPTitle",
        "exif:XPComment",
        "exif:XPKeywords",
    ]
    assert bytes(piexif.load(described(data, windows=True).data)["0th"][0x9C9B]) == wide(CAPTION)
    assert described(made.data, texts=texts, windows=True, blocks=("exif",)).data is made.data
    assert 0x9C9B not in piexif.load(described(data, texts=texts).data)["0th"]


def test_a_comment_of_windows_counts_where_its_tags_are_written() -> None:
    """What a person wrote in Explorer is theirs; without `windows` these tags are no place of ours."""
    theirs = with_segments(
        PLAIN, exif_segment(block("<", [(0x9C9C, 1, len(wide("Our dog")), wide("Our dog"))]))
    )
    made = described(theirs, windows=True)
    assert made.data is theirs
    assert {one.action for one in made.written} == {"kept"}
    assert described(theirs).written[0].action == "wrote"


def test_a_title_of_windows_is_kept_alone() -> None:
    """A person's title stays, and hinders no caption; their keywords stay before ours."""
    tags = [(0x9C9B, "Holidays"), (0x9C9E, "Sea;Dog")]
    theirs = block("<", [(tag, 1, len(wide(text)), wide(text)) for tag, text in tags])
    data = with_segments(PLAIN, exif_segment(theirs))
    texts = Texts(CAPTION, title="Dogs", keywords=("dog", "beach"))
    made = described(data, texts=texts, windows=True, blocks=("exif",))
    tags_now = piexif.load(made.data)["0th"]
    assert bytes(tags_now[0x9C9B]) == wide("Holidays")
    assert bytes(tags_now[0x9C9E]) == wide("Sea;Dog; beach")
    assert tags_now[270] == CAPTION.encode()
    assert [one.action for one in made.written] == ["wrote", "kept", "wrote", "wrote"]
    assert described(made.data, texts=texts, windows=True, blocks=("exif",)).data is made.data
    replaced = described(data, texts=texts, windows=True, blocks=("exif",), replaces=True)
    assert bytes(piexif.load(replaced.data)["0th"][0x9C9B]) == wide("Dogs")
    assert replaced.previous_description == "Holidays"


def test_no_bytes_change_where_none_may() -> None:
    """Without EXIF among the blocks there are no tags of Windows either."""
    assert described(PLAIN, blocks=(), windows=True).data is PLAIN


@needs_exiftool
@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("kind", ["exif", "xmp"])
def test_words_in_heic_count_with_and_without_exiftool(format: str, kind: str) -> None:
    """What HEIC and AVIF say is read by captiond itself."""
    block_of = {"exif": EXIF_BLOCK, "xmp": LONG}
    data = saved_heif(format, **{kind: block_of[kind]})
    with closing(Exiftool()) as tool:
        for place in (None, tool.place):
            made = described(data, format, place=place, xmp="always")
            assert (made.data, made.xmp) == (data, None)
        plain = saved_heif(format)
        made = described(plain, format, place=tool.place, windows=True)
        assert {one.action for one in made.written} == {"wrote"}
        junk = saved_heif(format, xmp=xmp_saying("SONY DSC"))
        made = described(junk, format, place=tool.place)
        assert [one.action for one in made.written] == ["wrote", "skipped", "wrote"]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_windows_tags_stand_in_every_format(format: str) -> None:
    """The table is the same for all containers."""
    made = described(saved(format), format, windows=True)
    assert {one.action for one in made.written} == {"wrote"}
    assert ("windows", CAPTION) in said(made.data, format)


def test_a_compressed_text_cannot_fill_the_memory() -> None:
    """Texts that inflate without end, or by the thousand, are somebody's, soon and in little memory."""
    bomb = b"Description\0\0" + zlib.compress(bytes(200_000_000), 9)
    start = time.perf_counter()
    assert [one.text for one in seen.look(with_chunk(b"zTXt", bomb), "PNG").said] == [None]
    png = saved("PNG")
    for _ in range(40):
        png = with_chunk(b"zTXt", b"Description\0\0" + zlib.compress(bytes(1 << 20)), png)
    assert len(seen.look(png, "PNG").said) == 40
    assert time.perf_counter() - start < 10


@given(content=st.binary() | mutated([b'{"title": "a.jpg", "description": "Anna"}']))
def test_any_json_is_read_without_an_error(content: bytes) -> None:
    """Whatever lies beside a picture as JSON, reading it raises nothing."""
    list(takeout.in_takeout(content))


@given(
    packet=st.binary() | mutated([*PACKETS.values()]), format=st.sampled_from(["JPEG", "GIF", "HEIF", "?"])
)
def test_any_packet_is_read_without_an_error(packet: bytes, format: str) -> None:
    """Whatever stands in XMP, looking for words in it raises nothing, nor does looking for a signature."""
    list(xmp_words.in_xmp(packet))
    xmp_words.names_remote_credentials(packet)
    seen.look(packet, format)
    seen.look(b"<?xpacket begin" + packet, format)


@given(
    data=mutated([data for _, data in PICTURES.values()]),
    format=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "HEIF"]),
)
def test_any_picture_is_read_without_an_error(data: bytes, format: str) -> None:
    """However a picture is damaged, what it says is looked for, and nothing is raised."""
    seen.look(data, format)


def test_what_programs_read_needs_no_xmp_beside_it() -> None:
    """A microscope's description stays in any case, and nothing has to be said in its place."""
    data = saved("TIFF", tiffinfo={270: "ImageJ=1.53k\nimages=12\n"})
    for replaces in (False, True):
        made = described(data, "TIFF", replaces=replaces)
        assert (made.data, made.xmp) == (data, None)
        assert made.written[0].reason == "kept existing description, which programs read"
