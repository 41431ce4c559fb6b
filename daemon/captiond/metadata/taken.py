"""When a picture was taken, as its EXIF says; read leniently, like `seen`.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from . import tiff
from .refusal import MISTAKES, Refused
from .seen import exif_blocks

_EXIF_IFD = 34665  # EXIF 2.32, 4.6.3
_ORIGINAL, _DIGITIZED = 0x9003, 0x9004  # EXIF 2.32, 4.6.5 F
_WRITTEN = re.compile(rb"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_FIRST_YEAR = 1826  # of photography


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
