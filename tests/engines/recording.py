"""What an engine answers, kept as JSON without its words, so that tests that always run can answer the same.

`ENGINES_RECORD=1 make engines` writes tests/engines/recorded/ anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

RECORDED = Path(__file__).parent / "recorded"
WORDS = "What it said."
# What is another one each time, and says nothing about how to read an answer.
_FLEETING = {"id", "created", "timings", "system_fingerprint", "modified_at", "permission"}


def kept(answer: httpx.Response, places: dict[str, str]) -> dict[str, Any]:
    """Status, type and body; `places` says what stands for names of this machine."""
    try:
        body = _without_words(answer.json())
    except ValueError:
        body = answer.text[:500]
    told = json.dumps(
        {"status": answer.status_code, "type": answer.headers.get("content-type"), "body": body}
    )
    for found, instead in places.items():
        told = told.replace(found, instead)
    record: dict[str, Any] = json.loads(told)
    return record


def _without_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: WORDS if key == "content" and isinstance(one, str) else _without_words(one)
            for key, one in value.items()
            if key not in _FLEETING
        }
    return [_without_words(one) for one in value] if isinstance(value, list) else value


def shape(value: Any) -> Any:
    """The keys and the types; a list by its first."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def file_of(engine: str) -> Path:
    return RECORDED / f"{engine.replace(' ', '-')}.json"
