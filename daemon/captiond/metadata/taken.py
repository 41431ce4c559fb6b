"""When a picture was taken and by which camera, as its EXIF says; read leniently, like `seen`.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from captiond.characters import line

from . import tiff
from .refusal import MISTAKES, Refused
from .seen import exif_blocks

_EXIF_IFD = 34665  # EXIF 2.32, 4.6.3
_ORIGINAL, _DIGITIZED = 0x9003, 0x9004  # EXIF 2.32, 4.6.5 F
_WRITTEN = re.compile(rb"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_FIRST_YEAR = 1826  # of photography
_MAKE, _MODEL = 271, 272  # TIFF 6.0, section 8
_LONGEST_NAME = 100  # characters, more than any camera has


def taken_at(data: bytes) -> datetime | None:
    """What the camera's clock showed; None if EXIF does not say it, or is impossible.  Never raises."""
    with suppress(Refused, *MISTAKES):
        for block in exif_blocks(data):
            said = dict(_dates(block))
            for tag in (_ORIGINAL, _DIGITIZED):
                moment = _moment(said.get(tag, b""))
                if moment is not None:
                    return moment
    return None


def camera_of(data: bytes) -> str | None:
    """The camera's maker and model in one line; None if EXIF does not say it.  Never raises."""
    with suppress(Refused, *MISTAKES):
        for block in exif_blocks(data):
            said = {tag: _name(value) for tag, value in tiff.glimpse(block, {_MAKE, _MODEL})}
            make, model = said.get(_MAKE, ""), said.get(_MODEL, "")
            # Many models begin with the maker's name, often without its "Corporation".
            is_told = model.casefold().startswith(make.casefold().split(" ")[0]) if make else True
            name = model if model and is_told else f"{make} {model}".strip()
            if name:
                return name
    return None


def _name(value: bytes) -> str:
    return line(value.partition(b"\0")[0].decode("utf-8", "replace")).strip()[:_LONGEST_NAME]


def _dates(block: bytes) -> Iterator[tuple[int, bytes]]:
    order = "big" if block[:2] == b"MM" else "little"
    for _, pointer in tiff.glimpse(block, {_EXIF_IFD}):
        at = int.from_bytes(pointer, order)  # type: ignore[arg-type]
        yield from tiff.glimpse(block, {_ORIGINAL, _DIGITIZED}, at=at)
        return


def _moment(text: bytes) -> datetime | None:
    found = _WRITTEN.match(text)
    if found is None:
        return None
    try:
        moment = datetime(*map(int, found.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    return moment if moment.year >= _FIRST_YEAR else None
