"""Promises about thumbnails: small, upright, made once for a file, and never too many kept."""

from __future__ import annotations

import io
from functools import partial

import pytest
from PIL import Image

from captiond.checking import Question
from captiond.errors import Rejected
from captiond.metadata.describing import Describing
from captiond.pictures.pool import Decoders
from captiond.pipeline.asking import FieldQuestion, Interviewing
from captiond.records import Fingerprint, Rules
from captiond.web import thumbnails
from captiond.web.thumbnails import Thumbnails

ORIENTATION = 0x0112


def jpeg(width: int, height: int, orientation: int = 1) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new("RGB", (width, height), "teal").save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def fingerprint(number: int, size: int = 1000) -> Fingerprint:
    return Fingerprint(1, number, size, 2, 3)


def made(decoders: Decoders, max_pixels: int = 10_000_000) -> Thumbnails:
    describe = Describing(replaces=False, blocks=[], place=None, xmp="never", text=False)
    interview = Interviewing(FieldQuestion(Question("caption", "What?"), 1))
    rules = Rules(interview, describe, max_pixels, max_file_bytes=100_000, attempts=1)
    return Thumbnails(decoders, lambda _: rules)


def test_a_thumbnail_is_small_and_upright(decoders: Decoders) -> None:
    """As a viewer shows the picture; one that is small already is not blown up."""
    for data, size in ((jpeg(1600, 400, 6), (80, 320)), (jpeg(30, 20), (30, 20))):
        with Image.open(io.BytesIO(made(decoders).of(fingerprint(1), partial(bytes, data)))) as image:
            assert (image.format, image.size, image.getexif().get(ORIENTATION)) == ("JPEG", size, None)


def test_a_file_is_read_once(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it is kept; of those that are, the one that nobody asked for longest goes first."""
    some = made(decoders)
    read: list[int] = []

    def ask(number: int) -> bytes:
        def opened() -> bytes:
            read.append(number)
            return jpeg(40, 30)

        return some.of(fingerprint(number), opened)

    size = len(ask(1))
    monkeypatch.setattr(thumbnails, "KEPT_BYTES", 2 * size)
    for number in (2, 1, 3, 1, 2):
        ask(number)
    assert read == [1, 2, 3, 2]


def test_limits_hold_for_thumbnails_too(decoders: Decoders) -> None:
    """Too many pixels, too many bytes, and what is no picture at all."""
    for some, size, data in (
        (made(decoders, 100), 10, jpeg(40, 30)),
        (made(decoders), 200_000, b""),
        (made(decoders), 10, b"a letter"),
    ):
        with pytest.raises(Rejected):
            some.of(fingerprint(1, size), partial(bytes, data))
