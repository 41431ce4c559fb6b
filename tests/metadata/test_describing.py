"""Promises about a caption's places when a person changes it: what says the old words says the new ones."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from captiond.metadata import beside
from captiond.metadata.describing import Describing
from captiond.records import Notes, Texts

OLD, NEW = "Two dogs on a beach.", "Rex and Ada at Skagen."


def describing(**changes: object) -> Describing:
    values = {"replaces": False, "blocks": ["exif"], "place": None, "xmp": "never", "text": False} | changes
    return Describing(**values)  # type: ignore[arg-type]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


def description(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        return str(image.getexif().get(0x010E, ""))


def made(caption: str) -> tuple[bytes, Notes]:
    """An image and what lies beside it, as a delivery makes them."""
    described = describing(xmp="always", text=True)(jpeg(), "JPEG", Texts(caption))
    return described.data, Notes(described.xmp, described.text)


@pytest.mark.parametrize("settings", [{}, {"xmp": "always", "text": True}])
def test_our_words_make_way_everywhere(settings: dict[str, object]) -> None:
    """In the image, the .xmp and the .txt, whatever the settings say by now."""
    data, notes = made(OLD)
    described = describing(**settings)(data, "JPEG", Texts(NEW), notes=notes, own=Texts(OLD))
    assert description(described.data) == NEW
    assert {one.text for one in beside.descriptions(described.xmp)} == {NEW}
    assert described.text == f"{NEW}\n".encode()
    assert [one.action for one in described.written] == ["wrote"] * 3


@pytest.mark.parametrize("settings", [{}, {"xmp": "always", "text": True}])
def test_no_file_is_made_beside_an_edited_image(settings: dict[str, object]) -> None:
    """Where somebody has taken it away it stays away."""
    data, _ = made(OLD)
    described = describing(**settings)(data, "JPEG", Texts(NEW), own=Texts(OLD))
    assert (description(described.data), described.xmp, described.text) == (NEW, None, None)


def test_a_persons_words_stay() -> None:
    """What somebody else wrote beside the image or into it is not ours to change."""
    data, notes = made("By the river, 1987.")
    described = describing(text=True)(data, "JPEG", Texts(NEW), notes=notes, own=Texts(OLD))
    assert description(described.data) == "By the river, 1987."
    assert (described.xmp, described.text) == (None, None)
    assert {one.action for one in described.written} == {"kept"}
