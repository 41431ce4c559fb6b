"""Which pictures a redo describes again, by what the records beside them say.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from captiond.metadata import kept_fields
from captiond.records import FieldName, Rules
from captiond.sidecar import Record, checked

Skip = Literal["edited", "approved", "gone", "changed", "held", "kept", "not_wanted", "failed"]
WHY: Mapping[Skip, str] = {
    "edited": "edited by a person",
    "approved": "approved by a person",
    "gone": "taken away",
    "changed": "changed since",
    "held": "held by a writer",
    "kept": "a person's own words are kept in the picture",
    "not_wanted": "the settings ask for no such text",
    "failed": "could not be described",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """A picture must meet all filters that are given; without any, every picture is meant."""

    made_by: str | None = None  # MODEL or MODEL@REVISION
    prompt_changed: bool = False
    older_than_seconds: float | None = None
    missing: FieldName | None = None
    needs_look: bool = False
    under: str = ""  # a folder beneath done/, or a library's name and a folder there; "": all
    # How, rather than which:
    field: FieldName | None = None  # only this text is asked for anew
    edited: bool = False  # people's texts make way, too, and those that they approved


def are_meant(filters: Filters, path: str, record: Record, rules: Rules, now: datetime) -> bool:
    """Does the picture, by its path in `walk`, meet every filter?  `rules`: its present ones."""
    return all(_verdicts(filters, path, record, rules, now))


def why_left_out(filters: Filters, record: Record, rules: Rules) -> Skip | None:
    """Why a picture that is meant is left alone all the same, as far as its record tells."""
    if record.edited is not None and not filters.edited:
        return "edited"
    if record.is_approved and not filters.edited:
        return "approved"
    if any(one is not None and one not in rules.prompts for one in (filters.field, filters.missing)):
        return "not_wanted"
    if not rules.replaces and (filters.field or "caption") in kept_fields(record.written):
        return "kept"
    return None


def _verdicts(filters: Filters, path: str, record: Record, rules: Rules, now: datetime) -> Iterator[bool]:
    yield not filters.under or path.startswith(f"{filters.under}/")
    yield filters.made_by is None or _is_by(filters.made_by, record)
    yield not filters.needs_look or record.rest.get("needs_look") is True
    yield filters.missing is None or not has_text(record, filters.missing)
    yield filters.older_than_seconds is None or _is_older(record, filters.older_than_seconds, now)
    yield not filters.prompt_changed or _asks_otherwise(record, rules, filters.field)


def has_text(record: Record, name: FieldName) -> bool:
    """An empty visible text counts as a text: the picture shows nothing to read."""
    text = getattr(record.texts, name, None)
    return text is not None and (text == "" or bool(text))


def _is_by(wanted: str, record: Record) -> bool:
    """Whether the record is by MODEL or MODEL@REVISION; not split at the @, which a model's id may hold."""
    model = checked.mapping(record.rest.get("model"))
    id, revision = checked.text(model.get("id")), checked.text(model.get("revision"))
    return wanted == id or (id is not None and revision is not None and wanted == f"{id}@{revision}")


def _is_older(record: Record, seconds: float, now: datetime) -> bool:
    made = checked.moment(record.rest.get("created_at"))
    return made is not None and made < now - timedelta(seconds=min(seconds, 10**10))


def _asks_otherwise(record: Record, rules: Rules, only: FieldName | None) -> bool:
    """Was a text of this picture asked for by another prompt than the settings have now?

    A second try uses another prompt than the first, so all that were used count.
    """
    asked = _prompts_of(record)
    names = [name for name in rules.prompts if only is None or name == only]
    return any(rules.prompts[name] not in asked[name] for name in names if name in asked)


def _prompts_of(record: Record) -> dict[str, set[str]]:
    """By field, the prompts that asked for it."""
    prompt = checked.text(record.rest.get("prompt"))
    asked: dict[str, set[str]] = {"caption": {prompt}} if prompt is not None else {}
    for one in checked.items(record.rest.get("asked")):
        tries = [one, *checked.items(one.get("tries"))]
        prompts = {text for each in tries if (text := checked.text(each.get("prompt"))) is not None}
        name = checked.text(one.get("field"))
        if name is not None and prompts:
            asked.setdefault(name, set()).update(prompts)
    return asked
