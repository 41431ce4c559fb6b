"""From a record to one with other texts: a person's, a model's once more, or former ones.

Pure: a record in, a record out, before anything is written into the picture (for that, `Record.laid_anew`).
The replaced texts go into the record's `history`, the latest at its end; `undone` takes them from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from captiond.errors import TryLater
from captiond.names import utc_text
from captiond.records import FieldName, Texts
from captiond.sidecar import checked
from captiond.sidecar.decode import edited_of, texts_of
from captiond.sidecar.former_files import formers_of
from captiond.sidecar.record import Edited, Record, edited_keys, fields_of

MOST_FORMER = 10
WAITING: Mapping[str, str] = {"state": "waiting"}  # the record's `approval`

Why = Literal["edit", "redo", "approve"]

# The keys that describe a model's answer, and are replaced with it.
ANSWER_KEYS = (
    "model", "prompt", "generation", "raw_output", "language", "asked", "dropped", "needs_look", "warnings",
    "cached_from", "profile", "timings_seconds", "created_at", "generator",
)  # fmt: skip
_BRIEFLY = ("model", "prompt", "needs_look")
_LOOKS = ("needs_look", "accepted")  # whether a person should look, or has looked, at the present texts


def edited(record: Record, texts: Texts, at: datetime, by: str | None = None) -> Record:
    """A person's `texts`; the model's own words are kept beside them, however often they change.

    `by`: the person's name, if it is known.
    """
    former = record.texts
    assert former is not None
    known = record.edited
    model_fields = {
        **{name: fields_of(former).get(name) for name in _others(former, texts)},
        **(known.model_fields if known is not None else {}),  # the model's own versions win
    }
    words = (known.model_caption if known is not None else None) or former.caption
    by_them = Edited(at, words, model_fields, by)
    rest = {key: value for key, value in record.rest.items() if key not in _LOOKS}  # a person has looked
    if record.awaits_approval:
        rest["approval"] = _approval(at, by)
    history = _with(record, "edit", at, _BRIEFLY)
    return replace(record, texts=texts, edited=by_them, rest=rest, history=history)


def accepted(record: Record, at: datetime, by: str | None = None) -> Record:
    """A person has looked at the texts and leaves them as they are; the same record if none needed a look.

    Texts that wait for approval are approved so.
    """
    if record.awaits_approval:
        return approved(record, at, by)
    return _looked_at(record, at, by)


def _looked_at(record: Record, at: datetime, by: str | None) -> Record:
    if "needs_look" not in record.rest:
        return record
    rest = {key: value for key, value in record.rest.items() if key != "needs_look"}
    return replace(record, rest={**rest, "accepted": _who(at, by)})


def approved(record: Record, at: datetime, by: str | None = None) -> Record:
    """A person lets the texts be written into the picture.  Raises: TryLater, if none wait for that."""
    if not record.awaits_approval:
        raise NotWaiting
    looked_at = _looked_at(record, at, by)
    rest = {**looked_at.rest, "approval": _approval(at, by)}
    return replace(looked_at, rest=rest, history=_with(record, "approve", at, _BRIEFLY))


class NotWaiting(TryLater):
    """Its texts do not wait for approval, or not any more."""

    def __init__(self) -> None:
        super().__init__("its texts do not wait for approval")


def _approval(at: datetime, by: str | None) -> dict[str, Any]:
    return {"state": "approved", **_who(at, by)}


def _who(at: datetime, by: str | None) -> dict[str, Any]:
    return {"at": utc_text(at), **({} if by is None else {"by": by})}


def _waiting_again(rest: dict[str, Any]) -> dict[str, Any]:
    """A model's new texts wait as the former ones did, if the picture can be had as it was dropped.

    Else nobody has approved what stands in it then.
    """
    told = checked.mapping(rest.get("approval"))
    if told.get("state") == "approved":
        others = {key: value for key, value in rest.items() if key != "approval"}
        return {**others, "approval": WAITING} if formers_of(rest) else others
    return rest


def redone(
    record: Record,
    texts: Texts,
    answer: Mapping[str, Any],
    at: datetime,
    order: str | None = None,
    *,
    alone: bool = False,
) -> Record:
    """A model's new texts; `answer`: the keys that describe its answer; `order`: by which list.

    `alone`: only the caption was asked for; the keys about the other texts stay.
    """
    others = _of_others(record, (None, "caption")) if alone else {}
    told = {**answer, **{key: [*kept, *answer.get(key, ())] for key, kept in others.items() if kept}}
    rest = {key: value for key, value in record.rest.items() if key not in (*ANSWER_KEYS, *_LOOKS)}
    rest |= {key: value for key, value in told.items() if key in ANSWER_KEYS}
    rest = _waiting_again(rest)
    history = _with(record, "redo", at, ANSWER_KEYS, order)
    edited = _still_a_persons(record, texts) if alone else None
    return replace(record, texts=texts, edited=edited, rest=rest, history=history)


@dataclass(frozen=True, slots=True)
class OneText:
    """How one text beside the caption came about."""

    field: FieldName
    asked: Mapping[str, Any]
    dropped: Sequence[Mapping[str, Any]]
    warnings: Sequence[Mapping[str, Any]]
    needs_look: bool


def redone_alone(
    record: Record, texts: Texts, one: OneText, at: datetime, order: str | None = None
) -> Record:
    """A model's new version of one text beside the caption."""
    kept = _of_others(record, (one.field,))
    needs_look = one.needs_look or (record.rest.get("needs_look") is True and bool(kept["warnings"]))
    told = {
        **{key: value for key, value in record.rest.items() if key not in (*kept, *_LOOKS)},
        "asked": [*kept["asked"], one.asked],
        **({"dropped": more} if (more := [*kept["dropped"], *one.dropped]) else {}),
        "warnings": [*kept["warnings"], *one.warnings],
        **({"needs_look": True} if needs_look else {}),
    }
    history = _with(record, "redo", at, ANSWER_KEYS, order)
    edited = _still_a_persons(record, texts)
    return replace(record, texts=texts, edited=edited, rest=_waiting_again(told), history=history)


def _of_others(record: Record, fields: tuple[str | None, ...]) -> dict[str, list[Mapping[str, Any]]]:
    """What the record tells of the texts that are not among `fields`."""
    return {
        key: [one for one in checked.items(record.rest.get(key)) if one.get("field") not in fields]
        for key in ("asked", "dropped", "warnings")
    }


def _still_a_persons(record: Record, texts: Texts) -> Edited | None:
    """What a person changed, without the changes that these texts have replaced."""
    known, former = record.edited, record.texts
    if known is None or former is None:
        return None
    gone = {*_others(former, texts)}
    fields = {name: value for name, value in known.model_fields.items() if name not in gone}
    is_theirs = texts.caption == former.caption and known.model_caption != texts.caption
    if not (fields or is_theirs):
        return None
    return replace(
        known, model_caption=known.model_caption if is_theirs else texts.caption, model_fields=fields
    )


def undone(record: Record) -> Record:
    """The newest former texts again, and their keys.  Raises: TryLater, if there are none."""
    *former, entry = record.history or ({},)
    caption = checked.text(entry.get("caption"))
    if not caption:
        raise TryLater("nothing was changed here that could be undone")
    of_answer = ANSWER_KEYS if entry.get("why") == "redo" else ("needs_look",)
    of_answer = (*of_answer, *(key for key in ("approval",) if key in entry))
    rest = {key: value for key, value in record.rest.items() if key not in (*of_answer, *_LOOKS)}
    return replace(
        record,
        texts=texts_of(caption, checked.mapping(entry.get("fields"))),
        edited=edited_of(entry["edited"]) if "edited" in entry else None,
        rest=rest | {key: entry[key] for key in of_answer if key in entry},
        history=tuple(former),
    )


def is_redone_by(record: Record, order: str) -> bool:
    """Whether this list has described the picture already."""
    return any(one.get("list") == order for one in record.history)


def _with(
    record: Record, why: Why, at: datetime, keys: tuple[str, ...], order: str | None = None
) -> tuple[Mapping[str, Any], ...]:
    assert record.texts is not None
    fields = fields_of(record.texts)
    entry = {
        "caption": record.texts.caption,
        **({"fields": fields} if fields else {}),
        **({} if record.edited is None else {"edited": edited_keys(record.edited)}),
        **{key: record.rest[key] for key in (*keys, "approval") if key in record.rest},
        "replaced_at": utc_text(at),
        "why": why,
        **({} if order is None else {"list": order}),
    }
    return (*record.history, entry)[-MOST_FORMER:]


def _others(former: Texts, texts: Texts) -> list[str]:
    before, now = fields_of(former), fields_of(texts)
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]
