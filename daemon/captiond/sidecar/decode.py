"""From a record's bytes to its value, for recovery and for all later readers.  Pure.

A record is data, not truth: any user who may write beside a picture may have written it.  So its size is
bounded before it is parsed, and every path and name in it is checked before other code can act upon it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from captiond.names import checked_name, checked_path
from captiond.records import Accompanied, Texts, Written
from captiond.sidecar import checked
from captiond.sidecar.record import CAPTION_SCHEMA, ERROR_SCHEMA, VERSION, Edited, Record, Source

MOST_BYTES = 16 * 1024 * 1024
_TYPED = frozenset(
    {
        "schema", "schema_version", "caption", "fields", "edited", "source", "published", "companions",
        "written", "previous_description", "history", "shared_keywords",
    }
)  # fmt: skip


def decode(data: bytes) -> Record:
    """What a record says.  Raises: ValueError, if it is torn, foreign, forged or of a later version."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"not a record of ours: more than {MOST_BYTES:,} bytes")
    try:
        return _record(read_json(data))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record of ours: {error!r}") from error


def read_json(data: bytes) -> Mapping[str, Any]:
    """The object that `data` holds.  Raises: ValueError, if it holds anything else, or is nested too deep."""
    try:
        answer = json.loads(data)
    except RecursionError as error:
        raise ValueError("lists or objects lie too deep in one another") from error
    if not isinstance(answer, dict):
        raise ValueError("not an object")
    checked.flat(answer)
    return answer


def _record(answer: Mapping[str, Any]) -> Record:
    kind, version = answer["schema"], answer["schema_version"]
    if kind not in (CAPTION_SCHEMA, ERROR_SCHEMA) or version != VERSION:
        raise ValueError(f"not a record of ours: {kind} {version}")
    source = _source(answer["source"], may_be_unread=kind == ERROR_SCHEMA)
    rest = {key: value for key, value in answer.items() if key not in _TYPED}
    if kind == ERROR_SCHEMA:
        return Record(source, None, source.sha256, rest=rest)
    return Record(
        source=source,
        texts=texts_of(str(answer["caption"]), checked.mapping(answer.get("fields"))),
        published_sha256=checked.digest(answer["published"]["sha256"]),
        written=tuple(_written(answer.get("written"))),
        previous_description=checked.text(answer.get("previous_description")),
        companions=tuple(_companion(one) for one in answer.get("companions", ())),
        edited=edited_of(answer["edited"]) if "edited" in answer else None,
        history=tuple(checked.items(answer.get("history"))),
        shared_keywords=_words(answer.get("shared_keywords")),
        rest=rest,
    )


def _source(told: Mapping[str, Any], *, may_be_unread: bool) -> Source:
    is_unread = may_be_unread and told["sha256"] is None
    return Source(
        path=checked_path(checked.exact(told, "path")),
        sha256="" if is_unread else checked.digest(told["sha256"]),
        size=checked.count(told.get("bytes")) or 0,
        modified_at=checked.text(told.get("modified_at")),
        format=checked.text(told.get("format")),
        width=checked.count(told.get("width")),
        height=checked.count(told.get("height")),
    )


def texts_of(caption: str, fields: Mapping[str, Any]) -> Texts:
    return Texts(
        caption,
        alt_text=checked.text(fields.get("alt_text")),
        title=checked.text(fields.get("title")),
        keywords=_words(fields.get("keywords")),
        keyword_paths=_words(fields.get("keyword_paths")),
        visible_text=checked.text(fields.get("visible_text")),
    )


def _words(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(checked.text, value))) if isinstance(value, list) else ()


def _companion(told: Mapping[str, Any]) -> Accompanied:
    return Accompanied(
        name=checked_name(checked.exact(told, "name")),
        sha256=checked.digest(told["sha256"]),
        size=checked.count(told["bytes"]) or 0,
        action=checked.text(told["action"]) or "moved",
    )


def edited_of(told: object) -> Edited:
    edited = checked.mapping(told)
    return Edited(
        checked.moment(edited.get("at")),
        checked.text(edited.get("model_caption")),
        {
            name: list(_words(value)) if isinstance(value, list) else checked.text(value)
            for name, value in checked.mapping(edited.get("model_fields")).items()
        },
        by=checked.text(edited.get("by")),
    )


def _written(value: object) -> Iterator[Written]:
    for one in checked.items(value):
        target, action = checked.text(one.get("target")), checked.text(one.get("action"))
        if target is not None and action is not None:
            yield Written(target, action, checked.text(one.get("reason")))
