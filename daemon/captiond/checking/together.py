"""One JSON object that answers several questions at once: taken apart, or told as invalid.  Pure.

Servers that are asked this way hold the model to the JSON schema of `schema`; any other answer is not guessed
at, since asking separately gives the same texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from captiond.checking import markup, turns
from captiond.records import FieldName

LONGEST = 100_000  # characters of an answer that are read
_BLANKS = 60  # in a row: where JSON allows white space, a model can go on with it for ever
_INTRODUCTION = (
    "Answer with one compact JSON object on one line, without line breaks, code fence or other words. "
    "It has these keys, and the value of each is one string:"
)


def schema(fields: Iterable[FieldName]) -> dict[str, Any]:
    """What `response_format` demands: an object of strings, all of them, and no more."""
    names = list(fields)
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def asked_together(questions: Iterable[tuple[FieldName, str]]) -> str:
    """The prompt that asks for the answers to all of these at once."""
    return "\n".join((_INTRODUCTION, *(f'"{field}": {prompt.strip()}' for field, prompt in questions)))


def complaint(said: str, fields: Iterable[FieldName]) -> str:
    """What is wrong with an answer that cannot be taken apart."""
    if re.search(rf"\s{{{_BLANKS}}}", said[:LONGEST]):
        return "it went on in white space"
    try:
        found = json.loads(markup.unfenced(said[:LONGEST]))
    except (ValueError, RecursionError):
        return "it is no JSON"
    if not isinstance(found, dict):
        return "it is no JSON object"
    missing = [name for name in fields if not isinstance(found.get(name), str)]
    return f"it has no text for {', '.join(missing)}" if missing else "it is no JSON object of texts"


def taken_apart(said: str, fields: Iterable[FieldName]) -> dict[FieldName, str] | None:
    """The text of each field; None if the answer is no JSON object that has all of them as strings."""
    if len(said) > LONGEST:
        return None
    answer = turns.first_turn(turns.without_thoughts(said), by_names=False)
    try:
        found = json.loads(markup.unfenced(answer), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    told = {name: found.get(name) for name in fields}
    return {name: text for name, text in told.items() if isinstance(text, str)} if _are_texts(told) else None


def _are_texts(told: dict[FieldName, Any]) -> bool:
    return bool(told) and all(isinstance(text, str) for text in told.values())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, refused if a name stands twice, since it then says two things."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
