"""Frozen records from what another process sent, checked key by key before other code relies on them."""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def parsed(text: bytes) -> dict[str, Any]:
    """The object that `text` is in JSON.

    Raises: ValueError, if it is other JSON, no JSON, or JSON that is nested so deep that Python gives up.
    """
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found


def decoded(record: type[Record], data: object) -> Record:
    """`data`, JSON that was parsed, as a record.

    A key that this version does not know is left out, and one that is missing takes its default.

    Raises: ValueError, if a key without a default is missing, or a value has another type.
    """
    if not isinstance(data, dict):
        raise ValueError(f"it is no {record.__name__}")
    assert is_dataclass(record)
    types_of, values = get_type_hints(record), {}
    for field in fields(record):
        if field.name in data:
            values[field.name] = _value(field.name, types_of[field.name], data[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"`{field.name}` is missing")
    return record(**values)


def _value(name: str, expected: Any, value: object) -> Any:
    inner = next((kind for kind in (expected, *get_args(expected)) if is_dataclass(kind)), None)
    if get_origin(expected) is tuple and isinstance(inner, type):
        if not isinstance(value, list | tuple):
            raise ValueError(f"`{name}` is not what it should be")
        return tuple(decoded(inner, one) for one in value)
    if isinstance(inner, type) and value is not None:
        if get_origin(expected) is not tuple:
            return decoded(inner, value)
        if not isinstance(value, list | tuple):
            raise ValueError(f"`{name}` is no list")
        return tuple(decoded(inner, one) for one in value)
    if not _fits(expected, value):
        raise ValueError(f"`{name}` is not what it should be")
    return value


def _fits(expected: Any, value: object) -> bool:
    if expected is Any:
        return True
    origin, inner = get_origin(expected), get_args(expected)
    if origin is Literal:
        return value in inner
    if origin in (Union, types.UnionType):
        return any(_fits(kind, value) for kind in inner)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(inner[1], held) for held in value.values())
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)
