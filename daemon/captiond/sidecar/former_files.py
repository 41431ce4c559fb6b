"""How to have files back as they were before approved texts were written into them.  Pure.

A text adds some bytes to a picture and moves none of its pixels, so the way back is short: a few ranges of
the present file, and the few bytes that it no longer has.  The record keeps that way instead of a copy, and
the checksum of the former file, without which nothing is believed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from captiond.sidecar import checked

KEY = "before_approval"

MOST_BYTES = 1 << 16  # that the present file lacks: a longer way back is not kept
MOST_PARTS = 2000
MOST_FILES = 8
_PROBE_BYTES = 32  # so many equal bytes are no chance
_WINDOW_BYTES = 1 << 18  # how far away they are looked for
_CHUNK_BYTES = 1 << 16

_BESIDE = (".xmp", ".txt")  # all that texts are ever written into beside a picture

Part = tuple[int, int] | bytes  # a start in the present file and a length, or bytes that it lacks


@dataclass(frozen=True, slots=True)
class Former:
    """A file as it was, told by the file that has its name now."""

    suffix: str  # of its name, behind the picture's name or stem; empty: the picture itself
    on_stem: bool = False
    made: str | None = None  # there was none: the checksum of the one that was made
    sha256: str = ""  # of the file as it was
    parts: tuple[Part, ...] = ()

    def restored(self, present: bytes) -> bytes | None:
        """The file as it was; None if `present` is not the one that this tells of."""
        lengths = (len(one) if isinstance(one, bytes) else one[1] for one in self.parts)
        if sum(lengths) > len(present) + MOST_BYTES:
            return None
        former = b"".join(
            one if isinstance(one, bytes) else present[one[0] : one[0] + one[1]] for one in self.parts
        )
        return former if hashlib.sha256(former).hexdigest() == self.sha256 else None

    def keys(self) -> dict[str, Any]:
        name = {"suffix": self.suffix, "on_stem": self.on_stem}
        if self.made is not None:
            return {**name, "made": self.made}
        return {**name, "sha256": self.sha256, "parts": [_part_keys(one) for one in self.parts]}


def former_of(suffix: str, on_stem: bool, former: bytes | None, present: bytes) -> Former | None:
    """How to have `former` back from `present`; None if that would take too much to be told.

    If `former` is None, the file was made.
    """
    if former is None:
        return Former(suffix, on_stem, made=hashlib.sha256(present).hexdigest())
    parts = _parts(former, present)
    if parts is None:
        return None
    return Former(suffix, on_stem, sha256=hashlib.sha256(former).hexdigest(), parts=parts)


def formers_of(rest: Mapping[str, Any]) -> tuple[Former, ...]:
    """What a record's other keys tell of files before approval, as far as it can be understood.

    Nothing, if the picture is not among them: without it no file is put back.
    """
    told = islice(checked.items(rest.get(KEY)), MOST_FILES)
    found = tuple(one for one in map(_former, told) if one is not None)
    return found if any(not one.suffix for one in found) else ()


def _former(told: Mapping[str, Any]) -> Former | None:
    suffix, on_stem = checked.text(told.get("suffix")), told.get("on_stem") is True
    try:
        if suffix is None or "/" in suffix or not (suffix == "" or suffix.lower().endswith(_BESIDE)):
            return None
        if "made" in told:
            return Former(suffix, on_stem, made=checked.digest(told["made"])) if suffix else None
        parts = tuple(map(_part, islice(told["parts"], MOST_PARTS)))
        return Former(suffix, on_stem, sha256=checked.digest(told["sha256"]), parts=parts)
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None


def _part(told: object) -> Part:
    if isinstance(told, str):
        return base64.b64decode(told, validate=True)
    if not isinstance(told, list) or len(told) != 2:
        raise ValueError("not a part of a file")
    start, length = map(checked.whole, told)
    if start < 0 or length < 0:
        raise ValueError("not a part of a file")
    return start, length


def _part_keys(part: Part) -> object:
    return base64.b64encode(part).decode() if isinstance(part, bytes) else list(part)


def _parts(former: bytes, present: bytes) -> tuple[Part, ...] | None:
    """What `former` is made of; None if `present` lacks too much of it."""
    parts: list[Part] = []
    at = lacking = place = 0
    while at < len(former):
        same = _common(former, at, present, place)
        if same:
            parts.append((place, same))
            at, place = at + same, place + same
            continue
        length, place = _next(former, at, present, place)
        parts.append(former[at : at + length])
        at, lacking = at + length, lacking + length
        if lacking > MOST_BYTES or len(parts) > MOST_PARTS:
            return None
    return tuple(one for one in parts if one)


def _common(one: bytes, at: int, other: bytes, place: int) -> int:
    """How many bytes are the same from there on in both."""
    same = 0
    most = min(len(one) - at, len(other) - place)
    step = _CHUNK_BYTES
    while step:
        begin, there = at + same, place + same
        if step <= most - same and one[begin : begin + step] == other[there : there + step]:
            same += step
        else:
            step //= 2
    return same


def _next(former: bytes, at: int, present: bytes, place: int) -> tuple[int, int]:
    """How many bytes `present` lacks, and where it goes on as `former` does behind them."""
    for skipped in _skips(min(len(former) - at, MOST_BYTES + 1)):
        probe = former[at + skipped : at + skipped + _PROBE_BYTES]
        if not probe:
            break
        found = present.find(probe, place, place + skipped + _WINDOW_BYTES)
        if found >= 0:
            back = 0
            while back < min(skipped, found - place):
                if former[at + skipped - back - 1] != present[found - back - 1]:
                    break
                back += 1
            return skipped - back, found - back
    return len(former) - at, place


def _skips(most: int) -> Iterator[int]:
    skipped = 0
    while skipped < most:
        yield skipped
        skipped += max(1, min(skipped // 2, _PROBE_BYTES))


def keys_of(formers: Iterable[Former | None]) -> list[dict[str, Any]]:
    """What the record says of them; nothing if the picture cannot be told."""
    known = [one for one in formers if one is not None]
    return [one.keys() for one in known] if any(not one.suffix for one in known) else []
