"""Keywords: each list that is written says all that any said, and no word of a person is lost or changed."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.metadata import seen
from captiond.metadata.describing import Describing
from captiond.metadata.keywords import Kind, Union
from captiond.metadata.policy import HIERARCHY, KEYWORDS, LISTS, TAGS, Said
from captiond.metadata.refusal import Refused
from captiond.records import NO_NOTES, Described, Notes, Texts

from .making import CAPTION, jpeg_segment, saved, with_segments
from .test_mutations import mutated
from .test_real_files import FOLDER, all_files

OURS = Texts(CAPTION, keywords=("dog", "beach"), keyword_paths=("animal|dog",))
PLAIN = saved("JPEG")
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
SPACES = {
    "dc:subject": "http://purl.org/dc/elements/1.1/",
    "digiKam:TagsList": "http://www.digikam.org/ns/1.0/",
    "lr:hierarchicalSubject": "http://ns.adobe.com/lightroom/1.0/",
}
FIELDS = {"dc:subject": KEYWORDS, "digiKam:TagsList": TAGS, "lr:hierarchicalSubject": HIERARCHY}
WRITTEN = {f"xmp:{name}": name for name in SPACES}


def packet(*inner: str, prefixes: Mapping[str, str] | None = None) -> bytes:
    """A packet whose description holds this XML, under other prefixes if they are given."""
    names = "".join(
        f' xmlns:{(prefixes or {}).get(name.partition(":")[0], name.partition(":")[0])}="{space}"'
        for name, space in SPACES.items()
    )
    body = "".join(inner)
    for usual, other in (prefixes or {}).items():
        body = body.replace(f"<{usual}:", f"<{other}:").replace(f"</{usual}:", f"</{other}:")
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about=""{names} xmlns:q="http://acme.example/">{body}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def listed(name: str, *words: str, kind: str = "Bag") -> str:
    items = "".join(f"<rdf:li>{escape(word)}</rdf:li>" for word in words)
    return f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>"


def with_packet(xmp: bytes) -> bytes:
    return with_segments(PLAIN, jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))


def iptc(*words: str, character_set: bytes = b"\x1b%G") -> bytes:
    sets = [(1, 90, character_set)] if character_set else []
    encoding = "utf-8" if character_set else "latin-1"
    values = [*sets, (2, 5, b"A slug"), *((2, 25, word.encode(encoding)) for word in words)]
    block = b"".join(struct.pack(">BBBH", 0x1C, *one[:2], len(one[2])) + one[2] for one in values)
    resource = struct.pack(">4sHxxI", b"8BIM", 0x0404, len(block)) + block + bytes(len(block) % 2)
    return jpeg_segment(0xED, b"Photoshop 3.0\0" + resource)


def described(
    data: bytes,
    texts: Texts = OURS,
    *,
    format: str = "JPEG",
    notes: Notes = NO_NOTES,
    own: Texts | None = None,
    **changes: object,
) -> Described:
    values = {"replaces": False, "blocks": "auto", "place": None, "xmp": "auto", "text": None} | changes
    return Describing(**values)(data, format, texts, notes=notes, own=own)  # type: ignore[arg-type]


def lists(data: bytes, format: str = "JPEG") -> dict[str, list[str]]:
    """What each list of XMP says, by an independent parser; what IPTC says, by ours that reads anything."""
    found: dict[str, list[str]] = {}
    for kind, block in seen._PARTS[format](data):
        if kind == "xmp" and block:
            found |= in_packet(block)
        elif kind == "photoshop" and block:
            said = [one for one in seen.look(data, format).said if one.place == "iptc"]
            found["iptc"] = [one.text or "" for one in said if one.field == KEYWORDS]
    return found


def in_packet(xmp: bytes) -> dict[str, list[str]]:
    try:
        root = ElementTree.fromstring(xmp)
    except ElementTree.ParseError:
        return {}
    found = {}
    for name, space in SPACES.items():
        properties = list(root.iter(f"{{{space}}}{name.partition(':')[2]}"))
        items = (item for one in properties for item in one.iter(f"{RDF}li"))
        if properties:
            found[name] = ["".join(item.itertext()) for item in items]
    return found


def actions(made: Described) -> dict[str, str]:
    return {one.target: one.action for one in made.written}


def test_a_picture_without_keywords_gets_ours_in_every_list() -> None:
    """Flat lists hold the words, trees their paths."""
    made = described(with_segments(PLAIN, iptc()))
    assert lists(made.data) == {
        "dc:subject": ["dog", "beach"],
        "digiKam:TagsList": ["animal/dog", "beach"],
        "lr:hierarchicalSubject": ["animal|dog", "beach"],
        "iptc": ["dog", "beach"],
    }
    assert described(made.data).data is made.data


def test_each_list_says_what_any_list_said() -> None:
    """A person's words come first and unchanged, from IPTC, XMP and the .xmp; then ours, which nobody had."""
    inside = packet(listed("dc:subject", "Anna", "Dog"), listed("lr:hierarchicalSubject", "family|Anna"))
    data = with_segments(with_packet(inside), iptc("Köln", "Anna"))
    notes = Notes(xmp=packet(listed("digiKam:TagsList", "places/Rome", kind="Seq")))
    made = described(data, notes=notes)
    found = lists(made.data)
    assert found["dc:subject"] == ["Anna", "Dog", "Köln", "Rome", "beach"]
    assert found["iptc"] == ["Köln", "Anna", "Dog", "Rome", "beach"]
    assert found["digiKam:TagsList"] == ["Dog", "family/Anna", "Köln", "places/Rome", "animal/dog", "beach"]
    assert found["lr:hierarchicalSubject"] == [
        "family|Anna", "Dog", "Köln", "places|Rome", "animal|dog", "beach",
    ]  # fmt: skip
    assert made.xmp is not None
    assert in_packet(made.xmp)["digiKam:TagsList"][0] == "places/Rome"
    assert set(in_packet(made.xmp)["digiKam:TagsList"]) == set(found["digiKam:TagsList"])


def test_keywords_are_never_kept_out_by_a_persons() -> None:
    """A person's description keeps the caption away, and their keywords keep nothing away."""
    inside = packet(listed("dc:subject", "Anna")).replace(
        b"<dc:subject>",
        b'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Our Anna</rdf:li></rdf:Alt>'
        b"</dc:description><dc:subject>",
    )
    made = described(with_packet(inside))
    assert actions(made)["xmp:dc:description"] == "kept"
    assert actions(made)["xmp:dc:subject"] == "wrote"
    assert lists(made.data)["dc:subject"] == ["Anna", "dog", "beach"]


def test_a_word_stands_where_its_path_stands() -> None:
    """A flat word that a tree knows is no new root: its leaf says it, or the path up to it does."""
    inside = packet(
        listed("dc:subject", "France", "Paris"), listed("lr:hierarchicalSubject", "places|France|Paris")
    )
    found = lists(described(with_packet(inside), Texts(CAPTION, keywords=("dog",))).data)
    assert found["digiKam:TagsList"] == ["places/France", "places/France/Paris", "dog"]
    assert found["lr:hierarchicalSubject"] == ["places|France|Paris", "places|France", "dog"]


@pytest.mark.parametrize(
    ("word", "refusing"),
    [
        ("AC/DC", {"xmp:digiKam:TagsList"}),
        ("a|b", {"xmp:lr:hierarchicalSubject"}),
        ("x" * 65, {"iptc:Keywords"}),
    ],
)
def test_a_word_that_a_list_cannot_hold_refuses_that_list(word: str, refusing: set[str]) -> None:
    """Nothing is parted, cut or left out: that list stays as it was, and the others are written."""
    data = with_segments(with_packet(packet(listed("dc:subject", word))), iptc())
    made = described(data)
    assert {target for target, action in actions(made).items() if action == "refused"} == refusing
    found = lists(made.data)
    assert all(word in words for name, words in found.items() if words and "iptc" not in name)


def test_an_edit_takes_away_our_keywords_alone() -> None:
    """What we said before and say no more goes from each list, with its path; a person's words stay."""
    data = with_segments(with_packet(packet(listed("dc:subject", "Anna", "sea"))), iptc("Köln"))
    first = described(data)
    new = Texts(CAPTION, keywords=("cat", "beach"))
    edited = described(first.data, new, own=OURS)
    assert lists(edited.data) == {
        "dc:subject": ["Anna", "sea", "Köln", "beach", "cat"],
        "digiKam:TagsList": ["Anna", "sea", "Köln", "beach", "cat"],
        "lr:hierarchicalSubject": ["Anna", "sea", "Köln", "beach", "cat"],
        "iptc": ["Köln", "Anna", "sea", "beach", "cat"],
    }
    none = described(edited.data, Texts(CAPTION), own=new)
    assert lists(none.data)["dc:subject"] == ["Anna", "sea", "Köln"]
    ours_alone = described(described(PLAIN).data, Texts(CAPTION), own=OURS)
    assert lists(ours_alone.data) == {}


WORDS = ("Anna & Bob", "été", "Köln <2>", "日本", '"quoted"', "two words", "e\u0301te\u0301 NFD")
KINDS = ("Bag", "Seq", "Alt")
QUALIFIED = {
    "qualified": "<rdf:li><rdf:Description><rdf:value>{}</rdf:value><q:by>me</q:by>"
    "</rdf:Description></rdf:li>",
    "a resource": '<rdf:li rdf:parseType="Resource"><rdf:value>{}</rdf:value><q:by>me</q:by></rdf:li>',
    "values as attributes": '<rdf:li rdf:value="{}" q:by="me"/>',
}


def _forms(name: str, words: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """One list in every form that programs have been seen to write, and in some that none should."""
    items = "".join(f"<rdf:li>{escape(word)}</rdf:li>" for word in words)
    for kind in KINDS:
        yield kind, packet(f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>")
    languages = items.replace("<rdf:li>", '<rdf:li xml:lang="x-default">')
    yield "languages", packet(f"<{name}><rdf:Alt>{languages}</rdf:Alt></{name}>")
    yield "items in a language", packet(f"<{name}><rdf:Bag>{languages}</rdf:Bag></{name}>")
    cdata = "".join(f"<rdf:li><![CDATA[{word}]]></rdf:li>" for word in words)
    yield "CDATA", packet(f"<{name}><rdf:Bag>{cdata}</rdf:Bag></{name}>")
    for form, item in QUALIFIED.items():
        all_of = "".join(item.format(escape(word, {'"': "&quot;"})) for word in words)
        yield form, packet(f"<{name}><rdf:Bag>{all_of}</rdf:Bag></{name}>")
    yield (
        "an attribute",
        packet().replace(
            b'rdf:about=""', f'rdf:about="" {name}="{escape(words[0], {chr(34): "&quot;"})}"'.encode()
        ),
    )
    yield "plain text", packet(f"<{name}>{escape(words[0])}</{name}>")
    yield "nested", packet(f"<{name}><rdf:Bag><rdf:li><rdf:Bag>{items}</rdf:Bag></rdf:li></rdf:Bag></{name}>")
    yield "twice", packet(f"<{name}><rdf:Bag>{items}</rdf:Bag></{name}>" * 2)
    yield "empty", packet(f"<{name}><rdf:Bag/></{name}>")
    yield "empty element", packet(f"<{name}/>")
    yield "words between", packet(f"<{name}><rdf:Bag>{escape(words[0])}{items}</rdf:Bag></{name}>")
    yield "named", packet(f'<{name}><rdf:Bag rdf:ID="b">{items}</rdf:Bag></{name}>')
    yield "UTF-16", packet(f"<{name}><rdf:Bag>{items}</rdf:Bag></{name}>").decode().encode("utf-16")
    prefix = name.partition(":")[0]
    yield "another prefix", packet(f"<{name}><rdf:Bag>{items}</rdf:Bag></{name}>", prefixes={prefix: "z9"})
    spaced = items.replace("<rdf:li>", "\n  <rdf:li>")
    yield "spaced", packet(f"\n <{name}>\n <rdf:Bag>{spaced}\n </rdf:Bag>\n </{name}>\n")
    yield "a comment", packet(f"<{name}><!-- mine --><rdf:Bag>{items}<!-- all --></rdf:Bag></{name}>")
    yield "cut off", packet(f"<{name}><rdf:Bag>{items}</rdf:Bag></{name}>")[:-20]
    yield (
        "of something else",
        packet(f'<q:of rdf:parseType="Resource"><{name}><rdf:Bag>{items}</rdf:Bag></{name}></q:of>'),
    )


PACKETS = [
    pytest.param(name, form, one, id=f"{name}-{form}-{number}")
    for (name, separator), (number, words) in itertools.product(
        (("dc:subject", None), ("digiKam:TagsList", "/"), ("lr:hierarchicalSubject", "|")),
        enumerate((WORDS, ("plain", "dog"))),
    )
    for form, one in _forms(
        name, words if separator is None else (*words, f"animal{separator}pets{separator}Rex")
    )
]


def test_there_are_enough_packets() -> None:
    """The forms of three lists with odd and with plain words."""
    assert len(PACKETS) >= 100


@pytest.mark.parametrize("where", ["inside", "beside"])
@pytest.mark.parametrize(("name", "form", "xmp"), PACKETS)
def test_no_word_of_a_person_is_lost_or_changed(name: str, form: str, xmp: bytes, where: str) -> None:
    """Whatever form a list has: it keeps all its words, and each list that is written says them, too."""
    data = with_segments(with_packet(xmp) if where == "inside" else PLAIN, iptc())
    notes = Notes(xmp=xmp) if where == "beside" else NO_NOTES
    made = described(data, notes=notes)
    before = [one.text for one in seen.look(with_packet(xmp), "JPEG").said if one.field == FIELDS[name]]
    result = made.data if where == "inside" or made.xmp is None else with_packet(made.xmp)
    after = [one.text for one in seen.look(result, "JPEG").said if one.field == FIELDS[name]]
    if where == "inside" or made.xmp is not None:
        assert after[: len(before)] == before
    assert "unexpected" not in "".join(one.reason or "" for one in made.written)
    kind = {KEYWORDS: Kind.FLAT, TAGS: Kind.TREE_BY_SLASH, HIERARCHY: Kind.TREE_BY_BAR}[FIELDS[name]]
    leaves = {kind.path(text)[-1] for text in before if text}
    assert leaves or form in ("empty", "empty element")
    wrote = {WRITTEN[one.target] for one in made.written if one.action == "wrote" and one.target in WRITTEN}
    for listed_name, words in lists(made.data).items():
        if listed_name in wrote or (listed_name == "iptc" and actions(made)["iptc:Keywords"] == "wrote"):
            separator = {"digiKam:TagsList": "/", "lr:hierarchicalSubject": "|"}.get(listed_name)
            said = {word.rpartition(separator)[2] if separator else word for word in words}
            assert leaves <= {one.strip() for one in said}, listed_name
            assert {"dog", "beach"} <= said


def test_an_extended_packet_says_its_words_elsewhere() -> None:
    """XMP that continues in another segment is not touched; IPTC says its words."""
    far = packet(listed("dc:subject", "Anna"))
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", len(far), 0)
    data = with_segments(with_packet(packet()), jpeg_segment(0xE1, head + far), iptc())
    made = described(data)
    assert actions(made)["xmp:dc:subject"] == "refused"
    assert actions(made)["iptc:Keywords"] == "wrote"
    assert lists(made.data)["iptc"] == ["Anna", "dog", "beach"]


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no images in {FOLDER}: set CAPTIOND_IMAGES")
def test_no_real_keyword_is_lost_or_changed() -> None:
    """Over real files: each list that is written holds each word that stood in any of them, as it was."""
    found = 0
    for name, (format, path) in all_files().items():
        data = path.read_bytes()
        before = [one for one in seen.look(data, format).said if one.field in LISTS and one.text]
        made = described(data, format=format)
        after = [one for one in seen.look(made.data, format).said if one.field in LISTS and one.text]
        found += len(before)
        for place, field in {(one.place, one.field) for one in before}:
            old, new = (
                [o.text for o in some if (o.place, o.field) == (place, field)] for some in (before, after)
            )
            assert new[: len(old)] == old, name
        wrote = {one.target for one in made.written if one.action == "wrote"}
        words = {one.text for one in before if one.field == KEYWORDS}
        if "xmp:dc:subject" in wrote:
            assert words <= {one.text for one in after if (one.place, one.field) == ("xmp", KEYWORDS)}, name
        if "iptc:Keywords" in wrote:
            assert words <= {one.text for one in after if (one.place, one.field) == ("iptc", KEYWORDS)}, name
    print(f"{found} keywords")


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda text: text.strip() == text
)


@given(st.lists(st.tuples(st.sampled_from(sorted(LISTS)), words), max_size=8), st.lists(words, max_size=4))
def test_a_plan_never_drops_a_persons_word(told: list[tuple[str, str]], ours: list[str]) -> None:
    """For any words in any lists: what stands stays in its place, what others said comes behind it, once."""
    said = [Said("xmp", text, field) for field, text in told]
    union = Union.of(said, Texts(CAPTION, keywords=tuple(ours)), None)
    for kind, field in ((Kind.FLAT, KEYWORDS), (Kind.TREE_BY_SLASH, TAGS), (Kind.TREE_BY_BAR, HIERARCHY)):
        existing = [text for its, text in told if its == field]
        try:
            plan = union.plan(existing, kind)
        except Refused:
            continue
        after = plan.over(existing)
        assert after[: len(existing)] == existing
        assert union.plan(after, kind).added == ()
        assert union.plan(after, kind).removed == ()


@given(mutated([one.values[2] for one in PACKETS[:20]]))  # type: ignore[misc]
def test_damaged_packets_lose_no_word(xmp: bytes) -> None:
    """However a packet is damaged, nothing is raised, and what it says stays at the head of its lists."""
    data = with_packet(xmp)
    before = [one.text for one in seen.look(data, "JPEG").said if one.field == KEYWORDS]
    made = described(data, Texts(CAPTION, keywords=("dog",)))
    assert not any("unexpected" in (one.reason or "") for one in made.written)
    after = [one.text for one in seen.look(made.data, "JPEG").said if one.field == KEYWORDS]
    assert after[: len(before)] == before


def test_a_keyword_that_a_person_gave_first_is_theirs() -> None:
    """We said it too, and say it no more: it stays, in every list; only what we alone said goes."""
    data = with_packet(packet(listed("dc:subject", "dog", "Köln")))
    first = described(data, Texts(CAPTION, keywords=("dog", "beach")))
    assert first.shared_keywords == ("dog",)
    second = described(
        first.data, Texts(CAPTION, keywords=("sea", "Köln")), own=Texts(CAPTION, keywords=("beach",))
    )
    assert second.shared_keywords == ("Köln",)
    assert lists(second.data) == {name: ["dog", "Köln", "sea"] for name in SPACES}
