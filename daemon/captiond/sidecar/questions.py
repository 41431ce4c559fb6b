"""Which questions a record answers, as a checksum that is the same for the same questions.  Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace

from captiond.sidecar import checked
from captiond.sidecar.record import Record


def digest_of(asked: Iterable[tuple[str, str]]) -> str:
    """`asked`: fields and their prompts."""
    return hashlib.sha256(json.dumps(sorted(asked)).encode()).hexdigest()


def answered_by(record: Record) -> str:
    """What a library's record says itself; for any other record, made from the prompts that it answers."""
    told = checked.text(checked.mapping(record.rest.get("library")).get("questions"))
    if told is not None:
        return told
    asked = [
        (checked.text(one.get("field")), checked.text(one.get("prompt")))
        for one in checked.items(record.rest.get("asked"))
    ]
    pairs = [(field, prompt) for field, prompt in asked if field is not None and prompt is not None]
    return digest_of(pairs or [("caption", checked.text(record.rest.get("prompt")) or "")])


def answering(record: Record, questions: str) -> Record:
    """The record, which answers these questions now; the same one unless it is a library's."""
    told = checked.mapping(record.rest.get("library"))
    if not told:
        return record
    return replace(record, rest={**record.rest, "library": {**told, "questions": questions}})
