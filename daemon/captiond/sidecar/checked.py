"""Checks JSON values from files that any user may have written.  Pure.

Each function returns None, or an empty value, or raises ValueError, if a value is not what it should be.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from captiond.sidecar.plain import plain

_LARGEST_COUNT = 2**53  # every reader of JSON knows numbers up to this exactly
_LARGEST_NUMBER = 2**64  # beyond every number that the kernel gives for a file
DEEPEST = 32  # lists and objects inside one another


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list; empty for anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def text(value: object) -> str | None:
    return cast(str, plain(value)) if isinstance(value, str) else None


def count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT
    return cast(int, value) if is_count else None


def number(value: object) -> float | None:
    """A finite number; JSON knows no others, but Python's reader accepts them."""
    return float(value) if isinstance(value, int | float) and abs(value) <= _LARGEST_COUNT else None


def moment(value: object) -> datetime | None:
    """A time with its zone, in UTC."""
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
        return read.astimezone(UTC) if read is not None and read.tzinfo is not None else None
    except (ValueError, OverflowError):  # a date at the end of the calendar
        return None


def exact(told: Mapping[str, Any], key: str) -> str:
    """The exact name: `<key>_hex` has its bytes if it is not UTF-8.

    Raises: ValueError, if it is no text; KeyError, if it is missing.
    """
    if f"{key}_hex" in told:
        return os.fsdecode(bytes.fromhex(told[f"{key}_hex"]))
    if not isinstance(told[key], str):
        raise ValueError(f"not a text: {key}")
    return str(told[key])


def digest(value: object) -> str:
    """A sha256 in hexadecimal.  Raises: ValueError, if it is anything else."""
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError("not a sha256")
    return value


def whole(value: object) -> int:
    """A whole number that the kernel may give for a file.  Raises: ValueError, if it is anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _LARGEST_NUMBER:
        raise ValueError("not a whole number")
    return value


def flat(value: object, depth: int = DEEPEST) -> object:
    """The value.  Raises: ValueError, if it is nested deeper than any that captiond writes."""
    if isinstance(value, (dict, list)):
        if not depth:
            raise ValueError("lists or objects lie too deep in one another")
        for inner in value.values() if isinstance(value, dict) else value:
            flat(inner, depth - 1)
    return value
