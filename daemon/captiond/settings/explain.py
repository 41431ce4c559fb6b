"""The message about a wrong value: the key, the value, what is allowed, and where it was set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from captiond.settings.schema import KEYS, NOT_SHOWN
from captiond.settings.sources import Given


def explain(
    error: ValidationError, given: Mapping[tuple[str, str], Given], file: Path | None
) -> Iterator[str]:
    allowed: dict[tuple[str, str], list[str]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        section, name = _key(detail)
        texts = allowed.setdefault((section, name), [])
        if (text := in_our_words(detail)) not in texts:
            texts.append(text)
    for (section, name), texts in allowed.items():
        if type(None) in get_args(KEYS[section][name]) and texts[0].startswith("must be a number"):
            texts.append("must be null")
        what = " or ".join([texts[0], *(text.removeprefix("must be ") for text in texts[1:])])
        item = given.get((section, name))
        if item is None:
            yield f"`{section}.{name}` {what} ({file or 'no settings file'})"
        elif (section, name) in NOT_SHOWN or isinstance(item.value, list | dict | None):
            yield f"`{item.name}` {what} ({item.where})"
        else:
            yield f"`{item.name}` is {_shown(item.value)}, but {what} ({item.where})"


def _key(detail: ErrorDetails) -> tuple[str, str]:
    """Which key is wrong; if two keys conflict, the one to change."""
    where, context = detail["loc"], detail.get("ctx", {})
    return (str(where[0]), str(where[1])) if where else (context["section"], context["name"])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value[:60]) if isinstance(value, str) else str(value)[:60]


def _allowed(expected: str) -> str:
    """The words that are allowed, as YAML has them."""
    return expected.replace("'", "").replace("False", "false")


def in_our_words(detail: ErrorDetails) -> str:
    """What is wrong with a value, as the end of a sentence that names it."""
    kind, message, context = detail["type"], detail["msg"], detail.get("ctx", {})
    ours = {
        "int_type": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "string_type": "must be text",
        "path_type": "must be a path",
        "is_instance_of": "must be a path",
        "string_too_short": "must not be empty",
        "string_pattern_mismatch": "must be auto, cpu, mps, cuda, or one of several cards as cuda:1",
        "tuple_type": "must be a list, e.g. [exif, xmp] or ['*.bak']",
        "greater_than": f"must be greater than {context.get('gt', 0):g}",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le', 0):,}",
        "literal_error": f"must be {_allowed(context.get('expected', ''))}",
        "value_error": message.removeprefix("Value error, "),
    }
    return ours.get(kind, message.replace("Input should be", "must be"))
