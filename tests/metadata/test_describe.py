"""What the room promises for all images: when it does nothing, and that it never fails."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from captiond import metadata
from captiond.metadata import TARGET, XMP_TARGET, blocks
from captiond.records import Described, Written

from . import making
from .asking import describe
from .making import CAPTION

PLAIN = making.saved("JPEG")


def test_switched_off_means_untouched() -> None:
    """Without `exif` among the blocks that are wanted, EXIF is not written, and nothing without any."""
    off = Written(TARGET, "skipped", "switched off")
    assert describe(PLAIN, "JPEG", CAPTION, blocks=()) == Described(PLAIN, (off,))
    described = describe(PLAIN, "JPEG", CAPTION, blocks=("xmp",))
    assert described.written == (off, Written(XMP_TARGET, "wrote"))


@pytest.mark.parametrize(("format", "reason"), [("GIF", "not written into GIF"), ("JPEG", "empty")])
def test_every_block_that_is_wanted_is_told_of(format: str, reason: str) -> None:
    """Where nothing can be written, each target says so."""
    described = describe(PLAIN, format, "", blocks=("exif", "xmp"))
    assert described.data is PLAIN
    assert [one.target for one in described.written] == [TARGET, XMP_TARGET]
    for one in described.written:
        assert one.action == "skipped"
        assert reason in (one.reason or "")


@pytest.mark.parametrize("format", ["GIF", "BMP", "HEIF", "AVIF", "JPEG2000", "ICO", "", "jpeg"])
def test_other_formats_are_skipped(format: str) -> None:
    """A format that is not written into is named in the reason."""
    described = describe(PLAIN, format, CAPTION)
    assert described.data is PLAIN
    (one,) = described.written
    assert (one.target, one.action) == (TARGET, "skipped")
    assert (format or "unknown") in (one.reason or "")


@pytest.mark.parametrize("caption", ["", " \n\t", "\0"])
def test_an_empty_caption_is_not_written(caption: str) -> None:
    """Nothing that can be read is nothing to write."""
    described = describe(PLAIN, "JPEG", caption)
    assert described.data is PLAIN
    assert described.written == (Written(TARGET, "skipped", "the caption is empty"),)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_caption_is_cleaned(format: str) -> None:
    """A caption with line breaks and parts of letters stands in the image as one composed line."""
    data = making.saved(format)
    assert describe(data, format, "Cafe\u0301\nat night") == describe(data, format, "Café at night")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_second_model_does_not_overwrite_the_first(format: str) -> None:
    """A caption that is there is kept like a person's, and told when it is replaced."""
    first = describe(making.saved(format), format, "One dog.")
    kept = describe(first.data, format, "Two dogs.")
    assert kept.data is first.data
    assert kept.written == (Written(TARGET, "kept", "kept existing description"),)
    replaced = describe(first.data, format, "Two dogs.", replace=True)
    assert replaced.written == (Written(TARGET, "wrote"),)
    assert replaced.previous_description == "One dog."


def test_all_that_is_replaced_is_told() -> None:
    """What a person wrote into EXIF and, otherwise, into XMP can both be found again."""
    blocks = ("exif", "xmp")
    data = describe(PLAIN, "JPEG", "Our dog").data
    data = describe(data, "JPEG", "Bello at the sea", replace=True, blocks=("xmp",)).data
    assert describe(data, "JPEG", CAPTION, replace=True, blocks=blocks).previous_description == (
        "Our dog\nBello at the sea"
    )
    same = describe(PLAIN, "JPEG", "Our dog", blocks=blocks).data
    assert describe(same, "JPEG", CAPTION, replace=True, blocks=blocks).previous_description == "Our dog"


def test_a_mistake_of_ours_leaves_the_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong inside becomes a refusal that names it."""

    def broken(data: bytes) -> blocks.Container:
        raise IndexError("index out of range")

    monkeypatch.setattr(blocks, "_READERS", {"JPEG": broken})
    described = describe(PLAIN, "JPEG", CAPTION)
    reason = "unexpectedly: IndexError: index out of range"
    assert described == Described(PLAIN, (Written(TARGET, "refused", reason),))


def test_the_room_is_pure() -> None:
    """It imports the vocabulary, and parts of libraries that touch no file and no clock."""
    folder = Path(str(metadata.__file__)).parent
    known = (
        "captiond.records",
        "captiond.metadata",
        "captiond.characters",
        "captiond.formats",
        "captiond",
        "piexif",
    )
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in names:
                room = ".".join(name.split(".")[:2])
                assert room in known or name.partition(".")[0] in sys.stdlib_module_names, path.name
                assert name.partition(".")[0] not in ("os", "io", "pathlib", "time"), path.name
        calls = [
            node.attr
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Attribute)
        ]
        assert not {"now", "utcnow", "today"} & set(calls), path.name
