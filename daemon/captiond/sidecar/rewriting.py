"""What becomes of a record when its texts are others: by a person, by a model once more, or as they were.

Pure: a record in, a record out, before anything is laid into the picture (`Record.laid` tells of that).  The
texts that make way go into the record's `history`, the latest at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from captiond.names import utc_text
from captiond.records import Texts
from captiond.sidecar.record import Edited, Record, edited_keys, fields_of

MOST_FORMER = 10

Why = Literal["edit", "redo"]


def edited(record: Record, texts: Texts, at: datetime, by: str | None = None) -> Record:
    """A person's `texts`; the model's own words are kept beside them, however often they change.

    `by`: the person's name, if it is known.
    """
    former = record.texts
    assert former is not None
    known = record.edited
    model_fields = {
        **{name: fields_of(former).get(name) for name in _others(former, texts)},
        **(known.model_fields if known is not None else {}),  # what was said first
    }
    words = (known.model_caption if known is not None else None) or former.caption
    by_them = Edited(at, words, model_fields, by)
    rest = {key: value for key, value in record.rest.items() if key not in _LOOKS}  # somebody has looked
    return replace(
        record, texts=texts, edited=by_them, rest=rest, history=_with(record, "edit", at, _BRIEFLY)
    )


def accepted(record: Record, at: datetime, by: str | None = None) -> Record:
    """Somebody has looked at the texts and leaves them as they are; the same record if nobody had to."""
    if "needs_look" not in record.rest:
        return record
    rest = {key: value for key, value in record.rest.items() if key != "needs_look"}
    told = {"at": utc_text(at), **({} if by is None else {"by": by})}
    return replace(record, rest={**rest, "accepted": told})


def redone(record: Record, texts: Texts, answer: Mapping[str, Any], at: datetime) -> Record:
    """What a model says now; `answer`: the keys that tell how it came about."""
    rest = {key: value for key, value in record.rest.items() if key not in (*ANSWER_KEYS, *_LOOKS)}
    rest |= {key: value for key, value in answer.items() if key in ANSWER_KEYS}
    return replace(
        record, texts=texts, edited=None, rest=rest, history=_with(record, "redo", at, ANSWER_KEYS)
    )


_LOOKS = ("needs_look", "accepted")  # of the texts that are there
# What tells of an answer, and goes with it.
ANSWER_KEYS = (
    "model", "prompt", "generation", "raw_output", "language", "asked", "dropped", "warnings", "needs_look",
    "profile",
)  # fmt: skip
_BRIEFLY = ("model", "prompt", "needs_look")


def _with(record: Record, why: Why, at: datetime, keys: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    assert record.texts is not None
    fields = fields_of(record.texts)
    entry = {
        "caption": record.texts.caption,
        **({"fields": fields} if fields else {}),
        **({} if record.edited is None else {"edited": edited_keys(record.edited)}),
        **{key: record.rest[key] for key in keys if key in record.rest},
        "replaced_at": utc_text(at),
        "why": why,
    }
    return (*record.history, entry)[-MOST_FORMER:]


def _others(former: Texts, texts: Texts) -> list[str]:
    before, now = fields_of(former), fields_of(texts)
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]
