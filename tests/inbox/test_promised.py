"""What JPEGs promise behind their picture: motion photos, gain maps, multi-picture files, Samsung's data."""

from __future__ import annotations

import os
import struct

import pytest

from captiond.inbox.whole import Lack, find_lack
from inbox.making import encoded, picture

RDF = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    "{}</rdf:RDF></x:xmpmeta>"
)
CAMERA = 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
CONTAINER = (
    'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
)
NOISE = os.urandom(4096).replace(b"\xff", b"\xfe")
FILM = (
    struct.pack(">I4s", 24, b"ftyp")
    + b"mp42\0\0\0\0isommp42"
    + struct.pack(">I4s", 8 + 50 * len(NOISE), b"mdat")
    + NOISE * 50
    + struct.pack(">I4s", 8 + 500, b"moov")
    + NOISE[:500]
)
MAP = encoded("JPEG", picture(120, 80), quality=90)


def segment(code: int, data: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(data) + 2) + data


def with_segment(new: bytes, jpeg: bytes | None = None) -> bytes:
    jpeg = jpeg or encoded("JPEG", picture(300, 200), quality=90)
    return jpeg[:2] + new + jpeg[2:]


def with_xmp(description: str, *, encoding: str = "utf-8") -> bytes:
    packet = RDF.format(description).encode(encoding)
    return with_segment(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))


def item(semantic: str, length: int | str, *, padding: int = 0, as_elements: bool = False) -> str:
    told = {"Mime": "image/jpeg", "Semantic": semantic, "Length": length, "Padding": padding}
    if as_elements:
        inner = "".join(f"<Item:{name}>{value}</Item:{name}>" for name, value in told.items())
        body = f'<Container:Item rdf:parseType="Resource">{inner}</Container:Item>'
    else:
        body = "<Container:Item " + " ".join(f'Item:{name}="{value}"' for name, value in told.items()) + "/>"
    return f'<rdf:li rdf:parseType="Resource">{body}</rdf:li>'


def container(*items: str) -> str:
    listed = f"<Container:Directory><rdf:Seq>{''.join(items)}</rdf:Seq></Container:Directory>"
    return f'<rdf:Description {CAMERA} {CONTAINER} GCamera:MotionPhoto="1">{listed}</rdf:Description>'


def micro_video(length: int) -> str:
    return f'<rdf:Description {CAMERA} GCamera:MicroVideo="1" GCamera:MicroVideoOffset="{length}"/>'


def mpf(order: str, *lengths: int, primary: int, padding: int = 0, shift: int = 0) -> bytes:
    """An index for pictures of these lengths behind one of `primary` bytes, this index not counted."""
    count = 1 + len(lengths)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    directory = struct.pack(order + "H", 1)
    directory += struct.pack(order + "HHII", 0xB002, 7, 16 * count, 8 + 2 + 12 + 4) + bytes(4)
    size = len(header) + len(directory) + 16 * count + 4 + 4  # with its name, marker and length
    base = 2 + 2 + 2 + 4  # from the file's begin to that of the header
    start = primary + size - base + padding + shift
    entries = struct.pack(order + "4xII4x", primary + size, 0)
    for length in lengths:
        entries += struct.pack(order + "4xII4x", length, start)
        start += length
    return segment(0xE2, b"MPF\0" + header + directory + entries)


def multi_picture(order: str, *pictures: bytes, padding: int = 0) -> bytes:
    first = encoded("JPEG", picture(300, 200), quality=90)
    index = mpf(order, *map(len, pictures), primary=len(first), padding=padding)
    return with_segment(index, first) + bytes(padding) + b"".join(pictures)


def samsung(*blocks: tuple[int, bytes, bytes]) -> bytes:
    """Samsung's blocks and their directory."""
    data, told = b"", []
    for kind, name, content in blocks:
        block = struct.pack("<HHI", 0, kind, len(name)) + name + content
        told.append((kind, len(data), len(block)))
        data += block
    directory = b"SEFH" + struct.pack("<II", 107, len(told))
    for kind, at, length in told:
        directory += struct.pack("<HHII", 0, kind, len(data) - at, length)
    return data + directory + struct.pack("<I", len(directory)) + b"SEFT"


BLOCKS = samsung((0x0A01, b"Image_UTC_Data", b"1600000000000"), (0x0A30, b"MotionPhoto_Data", FILM))
TWO = container(item("Primary", 0), item("GainMap", len(MAP)), item("MotionPhoto", len(FILM)))

WHOLE = {
    "motion photo": with_xmp(container(item("Primary", 0), item("MotionPhoto", len(FILM)))) + FILM,
    "motion photo, dynamic depth": with_xmp(
        container(item("Primary", 0), item("MotionPhoto", len(FILM))).replace(
            CONTAINER,
            'xmlns:Container="http://ns.google.com/photos/dd/1.0/container/" '
            'xmlns:Item="http://ns.google.com/photos/dd/1.0/item/"',
        )
    )
    + FILM,
    "motion photo, elements": with_xmp(
        container(item("Primary", 0), item("MotionPhoto", len(FILM), as_elements=True))
    )
    + FILM,
    "motion photo, UTF-16": with_xmp(
        container(item("Primary", 0), item("MotionPhoto", len(FILM))), encoding="utf-16"
    )
    + FILM,
    "motion photo, padded": with_xmp(
        container(item("Primary", 0, padding=100), item("MotionPhoto", len(FILM)))
    )
    + bytes(100)
    + FILM,
    "motion photo, whose length of the picture is told": with_xmp(
        container(item("Primary", 30_000), item("MotionPhoto", len(FILM)))
    )
    + FILM,
    "micro video": with_xmp(micro_video(len(FILM))) + FILM,
    "gain map": with_xmp(container(item("Primary", 0), item("GainMap", len(MAP)))) + MAP,
    "gain map and film": with_xmp(TWO) + MAP + FILM,
    "multi-picture": multi_picture("<", MAP),
    "multi-picture, big-endian": multi_picture(">", MAP, MAP),
    "multi-picture, padded": multi_picture("<", MAP, padding=3000),
    "Samsung": encoded("JPEG", picture(300, 200)) + BLOCKS,
    "Samsung with XMP": with_xmp(container(item("Primary", 0), item("MotionPhoto", len(BLOCKS)))) + BLOCKS,
    "film without a promise": encoded("JPEG", picture(300, 200)) + FILM,
    "second picture without a promise": encoded("JPEG", picture(300, 200)) + MAP * 3,
}
UNANNOUNCED = {"Samsung", "film without a promise", "second picture without a promise"}


def lack_of(data: bytes) -> Lack | None:
    descriptor = os.memfd_create("image")
    try:
        os.write(descriptor, data)
        return find_lack(descriptor, len(data))
    finally:
        os.close(descriptor)


def end_of_first(data: bytes) -> int:
    """Behind the first picture; none of these has an end marker in its headers."""
    return data.index(b"\xff\xd9") + 2


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_all_there_is_whole(name: str) -> None:
    """A picture with all that it promises is whole, and stays so with padding behind it."""
    assert lack_of(WHOLE[name]) is None
    assert lack_of(WHOLE[name] + bytes(700)) is None


@pytest.mark.parametrize("name", WHOLE)
def test_an_upload_that_stalls_behind_the_picture_is_not_whole(name: str) -> None:
    """Wherever it was cut behind its end marker, a picture that promises more is not whole, nor is it bad."""
    data = WHOLE[name]
    begin = end_of_first(data)
    cuts = {begin + (len(data) - begin) * part // 16 for part in range(1, 16)} | {len(data) - 9, begin + 100}
    if name == "second picture without a promise":
        cuts = {cut for cut in cuts if cut < begin + len(MAP)}
    if name == "motion photo, padded":
        cuts.discard(begin + 100)
    for cut in sorted(cuts):
        lack = lack_of(data[:cut])
        assert lack is not None, f"cut at {cut} of {begin} to {len(data)}"
        assert not lack.certain and not lack.briefly and lack.fault is None


@pytest.mark.parametrize("name", sorted(WHOLE.keys() - UNANNOUNCED))
def test_a_picture_whose_rest_was_dropped_is_waited_for_briefly(name: str) -> None:
    """Programs drop the film and keep the words about it: where nothing at all follows, the wait is short."""
    data = WHOLE[name]
    lack = lack_of(data[: end_of_first(data)])
    assert lack is not None
    assert lack.briefly and not lack.certain
    assert "0 are there" in lack.reason


@pytest.mark.parametrize("name", sorted(WHOLE.keys() - UNANNOUNCED))
def test_room_for_the_rest_is_not_the_rest(name: str) -> None:
    """A file made to its full length before it is filled lacks what is still zeros."""
    data = WHOLE[name]
    written = end_of_first(data) + 120
    lack = lack_of(data[:written] + bytes(len(data) - written))
    assert lack is not None and not lack.certain


NONSENSE = {
    "a length beyond all files": container(item("Primary", 0), item("MotionPhoto", 10**17)),
    "no number": container(item("Primary", 0), item("MotionPhoto", "many")),
    "a negative number": container(item("Primary", 0), item("MotionPhoto", -5)),
    "a number of a thousand digits": container(item("Primary", 0), item("MotionPhoto", "9" * 1000)),
    "no items": container(),
    "unfinished XML": container(item("Primary", 0))[:-40],
    "entities": "<!-- -->&a;",
    "other namespaces": container(item("Primary", 0), item("MotionPhoto", 999_999)).replace(
        "ns.google.com", "example.org"
    ),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_promise_that_is_nonsense_fails_no_picture(name: str) -> None:
    """It is disregarded, or waited for like any other; the picture never fails for it."""
    for behind in (b"", FILM, b"text" * 1000):
        lack = lack_of(with_xmp(NONSENSE[name]) + behind)
        assert lack is None or (not lack.certain and lack.fault is None)


def test_entities_are_not_expanded() -> None:
    """XMP with a document type, which could grow without bounds, promises nothing."""
    bomb = "<!DOCTYPE a [" + "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9)) + "]>"
    packet = f'{bomb}<a {CAMERA} GCamera:MicroVideoOffset="77">&e9;</a>'
    data = with_segment(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet.encode()))
    assert lack_of(data) is None


@pytest.mark.parametrize(
    "index",
    [
        b"MPF\0",
        b"MPF\0II*\0\xff\xff\xff\xff",
        b"MPF\0II*\0\x08\0\0\0\xff\xff" + b"\x02\xb0\x07\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"MPF\0XX*\0\x08\0\0\0",
    ],
)
def test_an_index_that_is_nonsense_promises_nothing(index: bytes) -> None:
    """A multi-picture index that cannot be understood is none."""
    assert lack_of(with_segment(segment(0xE2, index))) is None


def test_the_index_of_an_earlier_version_promises_nothing() -> None:
    """A picture that was made smaller, and kept the index of what it was, is whole."""
    small = encoded("JPEG", picture(30, 20))
    index = mpf("<", 500_000, primary=6_000_000)
    assert lack_of(with_segment(index, small)) is None
    assert lack_of(with_segment(index, small) + b"AXS!" + NOISE) is None
