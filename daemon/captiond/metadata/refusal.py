"""The one exception by which the parts of this room refuse, and the helpers of all their proofs."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

_PARTS = 1 << 20  # more than any image has; records of a hostile one must not take gigabytes
_CHUNK = 1 << 20  # bytes compared at a time, so that a big file is not copied to be compared


class Refused(Exception):
    """This image cannot be proved safe to write into; the message says why."""


# What a bug of ours would raise on hostile bytes.
MISTAKES = (
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    struct.error,
)

Part = TypeVar("Part")


def all_of(parts: Iterable[Part]) -> tuple[Part, ...]:
    """All parts that a walk along a file finds; refused if there are too many."""
    found = tuple(islice(parts, _PARTS + 1))
    if len(found) > _PARTS:
        raise Refused("it has too many parts")
    return found


def is_same(old: bytes, start: int, end: int, new: bytes, new_start: int) -> bool:
    """Do the bytes `old[start:end]` stand in `new` from `new_start` on?"""
    if end - start > len(new) - new_start:
        return False
    shift = new_start - start
    return all(
        old[at : min(at + _CHUNK, end)] == new[at + shift : min(at + _CHUNK, end) + shift]
        for at in range(start, end, _CHUNK)
    )
