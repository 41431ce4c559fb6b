"""HEIC and AVIF: what a program puts into them is proved, or the bytes stay as they were."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image, features

from captiond.exiftool import Exiftool
from captiond.metadata import TARGET, heif, tiff_patch
from captiond.metadata.refusal import Refused
from captiond.records import Described, Written

from .asking import describe
from .independent import exiftool_tags, needs_exiftool
from .judging import copied, counted, judged
from .making import CAPTION, camera_block, picture
from .test_real_files import FOLDER

BLOCK = tiff_patch.fresh(CAPTION.encode() + b"\0")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:description="Our first dog"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
pillow_heif.register_heif_opener()


def saved(format: str, **keys: object) -> bytes:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    out = io.BytesIO()
    picture().save(out, format, **keys)
    return out.getvalue()


def seen(data: bytes) -> list[object]:
    """The frames as another reader decodes them, and what lies beside the EXIF."""
    with Image.open(io.BytesIO(data)) as image:
        frames = []
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            frames.append((image.mode, image.size, image.tobytes()))
        return [frames, image.info.get("icc_profile"), image.info.get("xmp")]


def is_decodable(data: bytes) -> bool:
    try:
        return bool(seen(data))
    except (EOFError, OSError, ValueError, SyntaxError):
        return False


def exif_of(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return bytes(image.info["exif"]).removeprefix(b"Exif\0\0")


def placed_by_libheif(data: bytes, block: bytes) -> bytes:
    """The same picture, encoded by the same library with this EXIF: what an honest placer gives back."""
    return saved("HEIF", exif=b"Exif\0\0" + block)


def refused(data: bytes, place: heif.Place, format: str = "HEIF") -> str:
    """The reason why nothing was written; the bytes are the very same."""
    described = describe(data, format, CAPTION, replace=True, place=place)
    assert described.data is data
    (one,) = described.written
    assert (one.target, one.action) == (TARGET, "refused")
    assert one.reason
    assert "unexpected" not in one.reason
    return one.reason


@pytest.fixture(scope="module")
def place() -> Iterator[heif.Place]:
    """The real one, for all files of this module."""
    tool = Exiftool()
    yield tool.place
    tool.close()


def test_what_is_proved_is_written() -> None:
    """A block that somebody puts into a HEIC is accepted where all else is the same."""
    data = saved("HEIF")
    described = describe(data, "HEIF", CAPTION, place=placed_by_libheif)
    assert described.written == (Written(TARGET, "wrote"),)
    assert exif_of(described.data) == BLOCK
    assert seen(described.data) == seen(data)


def test_every_changed_byte_is_found() -> None:
    """Whichever byte of the answer is wrong, it is refused, or is no part of the picture or its caption."""
    data = saved("HEIF")
    good = placed_by_libheif(data, BLOCK)
    before, image = seen(good), heif.Heif.read(data, placed_by_libheif)
    image.prove(good, BLOCK)
    accepted = []
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x11
        try:
            image.prove(bytes(bad), BLOCK)
        except Refused:
            continue
        accepted.append(at)
        assert seen(bytes(bad)) == before
        assert exif_of(bytes(bad)) == BLOCK
    assert len(accepted) <= 8


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data, block: data,
        lambda data, block: b"",
        lambda data, block: placed_by_libheif(data, block)[:-1],
        lambda data, block: placed_by_libheif(data, block) + b"\0\0\0\x08free",
        lambda data, block: placed_by_libheif(data, tiff_patch.fresh(b"Another\0")),
        lambda data, block: saved("HEIF", exif=b"Exif\0\0" + block, quality=20),
        lambda data, block: saved("HEIF", exif=b"Exif\0\0" + block, xmp=XMP),
    ],
    ids=["nothing written", "empty", "cut", "one box more", "another caption", "other pixels", "XMP added"],
)
def test_what_is_not_proved_is_refused(spoil: Callable[[bytes, bytes], bytes]) -> None:
    """A program that says it succeeded is not believed."""
    refused(saved("HEIF"), spoil)


def test_a_persons_description_is_kept() -> None:
    """What a person wrote into EXIF or XMP stays, and nobody is asked to write."""

    def never(data: bytes, block: bytes) -> bytes:
        raise AssertionError("asked to write")

    for data in (saved("HEIF", exif=b"Exif\0\0" + camera_block("<", b"Our dog")), saved("HEIF", xmp=XMP)):
        described = describe(data, "HEIF", CAPTION, place=never)
        reason = "kept existing description"
        assert described == Described(data, (Written(TARGET, "kept", reason),))


@pytest.mark.parametrize("kind", [b"sefd", b"mpvd"])
def test_samsungs_own_boxes_are_refused(kind: bytes) -> None:
    """Nobody knows how the offsets in them count, so that nothing proves that they lead where they led."""
    box = (8 + 40).to_bytes(4, "big") + kind + bytes(16) + b"SEFH" + bytes(12) + b"\x0c\0\0\0SEFT"
    assert kind.decode() in refused(saved("HEIF") + box, placed_by_libheif)


def test_a_sequence_is_refused() -> None:
    """Its tables count to places that would move, so nobody is asked to write."""
    data = saved("AVIF", save_all=True, append_images=[picture().transpose(Image.Transpose.ROTATE_180)])
    assert "moov" in refused(data, lambda data, block: data, "AVIF")


def test_xmp_is_skipped_with_the_reason() -> None:
    """XMP and IPTC are not written into HEIC, which is told; EXIF still is."""
    written = describe(
        saved("HEIF"), "HEIF", CAPTION, blocks=("exif", "xmp", "iptc"), place=placed_by_libheif
    ).written
    assert [one.action for one in written] == ["wrote", "skipped", "skipped"]
    assert written[1].reason == "XMP is not written into HEIF files"


@needs_exiftool
@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("kind", ["plain", "camera", "xmp"])
def test_exiftool_writes(format: str, kind: str, place: heif.Place) -> None:
    """exiftool puts our block in, byte for byte; twice is once; nothing else is touched."""
    keys = {"camera": {"exif": b"Exif\0\0" + camera_block("<", b"SONY DSC")}, "xmp": {"xmp": XMP}}
    data = saved(format, **keys.get(kind, {}))
    described = describe(data, format, CAPTION, replace=True, place=place)
    assert described.written == (Written(TARGET, "wrote"),)
    if kind == "camera":
        assert described.previous_description == "SONY DSC"
    else:
        assert exif_of(described.data) == BLOCK
    assert CAPTION.encode() in described.data  # Pillow makes the EXIF of a turned AVIF anew as it reads it
    assert seen(described.data) == seen(data)
    again = describe(described.data, format, CAPTION, replace=True, place=place)
    assert again.data is described.data


@needs_exiftool
def test_real_files(place: heif.Place, tmp_path: Path) -> None:
    """Each is written with proof, and clean to other readers, or refused with the very same bytes."""
    paths = [path for path in FOLDER.rglob("*") if path.suffix.lower() in (".heic", ".heif", ".avif")]
    old, new = {}, {}
    for number, path in enumerate(paths):
        data = path.read_bytes()
        described = describe(data, "HEIF", CAPTION, replace=True, place=place)
        (one,) = described.written
        assert (one.action == "wrote") == (described.data is not data)
        assert "unexpected" not in (one.reason or "")
        if is_decodable(data):
            old[f"{number}.heic"], new[f"{number}.heic"] = data, described.data
    if not old:
        pytest.skip(f"no HEIC or AVIF in {FOLDER}: set CAPTIOND_IMAGES")
    verdicts = judged(old, exiftool_tags(copied(tmp_path, "old", old)), copied(tmp_path, "new", new))
    assert set(counted(verdicts)) <= {"clean", "refused"}, verdicts


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(seed: int) -> None:
    """A file with damage is proved or refused; no damage becomes an error of ours."""
    draw, data = random.Random(seed), saved("HEIF", xmp=XMP)
    for _ in range(500):
        bad = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            bad[draw.randrange(600)] = draw.choice((0, 1, 255, draw.randrange(256)))
        (one,) = describe(bytes(bad), "HEIF", CAPTION, replace=True, place=lambda data, block: data).written
        assert "unexpected" not in (one.reason or "")
        assert one.action in ("refused", "kept")
