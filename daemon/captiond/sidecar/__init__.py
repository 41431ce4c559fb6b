"""The JSON beside a delivered image: how it is composed, and reading it back.

Pure: records in, bytes out.  The sidecar is also delivery's redo record, so what is needed to finish a
delivery without the model stands in it: the path, the two checksums, the caption and the format.  No lone
surrogate and no NaN gets into it, wherever it came from: a file name, a model, a server.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from captiond.errors import Rejected
from captiond.names import is_utf8, shown
from captiond.records import (
    Accompanied,
    Caption,
    Delivered,
    Described,
    Fingerprint,
    Job,
    Notice,
    Outcome,
    PictureFacts,
    Stamp,
    Timings,
    Written,
)

CAPTION_SUFFIX = ".caption.json"
ERROR_SUFFIX = ".error.json"

CAPTION_SCHEMA = "captiond/caption"
_ERROR_SCHEMA = "captiond/error"
VERSION = 1
# One order for both kinds of record, so that two runs of the same image compare line by line.
_ORDER = (
    "schema", "schema_version", "kind", "message", "stage", "advice", "caption", "edited", "source",
    "published", "companions", "model", "prompt", "generation", "raw_output", "written",
    "previous_description",
    "warnings", "timings_seconds", "attempts", "created_at", "generator",
)  # fmt: skip
_LARGEST_COUNT = 2**53  # what every reader of JSON knows exactly
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a recovery needs to know of a record, of either kind."""

    path: str  # as dropped, relative to the inbox
    source_sha256: str
    published_sha256: str
    caption: str | None  # None in an error record
    format: str | None
    companions: tuple[str, ...] = ()  # their names, as dropped
    is_edited: bool = False  # the caption is a person's, and the published image another than was delivered
    edited_at: datetime | None = None
    written: tuple[Written, ...] = ()

    @property
    def suffix(self) -> str:
        return ERROR_SUFFIX if self.caption is None else CAPTION_SUFFIX


def compose(
    job: Job, facts: PictureFacts, caption: Caption, described: Described, timings: Timings, stamp: Stamp
) -> bytes:
    """The sidecar of a captioned image."""
    answer = caption_keys(
        job.path,
        facts,
        caption,
        timings,
        sha256=job.sha256,
        size=len(job.data),
        modified_ns=job.fingerprint.modified_ns,
    )
    return _json(
        {
            "schema": CAPTION_SCHEMA,
            "schema_version": VERSION,
            **answer,
            **_laid(described),
            "attempts": job.attempt,
            **_signature(stamp),
        }
    )


def caption_keys(
    path: str,
    facts: PictureFacts,
    caption: Caption,
    timings: Timings,
    *,
    sha256: str,
    size: int,
    modified_ns: int,
) -> dict[str, Any]:
    """The sidecar's keys from `caption` on, without those of a delivery: for `captiond caption --json`."""
    raw: dict[str, str] = {} if caption.raw_output is None else {"raw_output": caption.raw_output}
    model, request = caption.model, caption.request
    answer: dict[str, Any] = {
        "caption": caption.text,
        "source": {
            **_source(path, sha256, size, modified_ns),
            "format": facts.format,
            "width": facts.width,
            "height": facts.height,
        },
        "model": {
            "id": model.id,
            "revision": model.revision,
            "backend": model.backend,
            "device": model.device,
            "dtype": model.dtype,
            "quantization": model.quantization,
        },
        "prompt": request.prompt,
        "generation": {
            "max_new_tokens": request.max_new_tokens,
            "new_tokens": caption.new_tokens,
            "prompt_tokens": caption.prompt_tokens,
            "finish_reason": caption.finish_reason,
        },
        **raw,
        "warnings": [_notice(notice) for notice in (*facts.notices, *caption.notices)],
        "timings_seconds": {
            "queued": timings.queued,
            "decode": timings.decode,
            "caption": timings.caption,
            "publish": timings.publish,
        },
    }
    plain: dict[str, Any] = _plain(answer)
    return plain


def compose_error(
    path: str, fingerprint: Fingerprint, rejected: Rejected, attempts: int, sha256: str, stamp: Stamp
) -> bytes:
    """What lies beside an image in failed/: why it is there and what to do about it."""
    return _json(
        {
            "schema": _ERROR_SCHEMA,
            "schema_version": VERSION,
            "kind": rejected.kind,
            "message": rejected.message,
            "stage": rejected.stage,
            "attempts": attempts,
            "advice": rejected.advice,
            "source": _source(path, sha256, fingerprint.size, fingerprint.modified_ns),
            **_signature(stamp),
        }
    )


def with_described(record: bytes, described: Described) -> bytes:
    """The same caption's sidecar for bytes that were laid anew (the settings changed since)."""
    answer: dict[str, Any] = json.loads(record)
    answer.pop("previous_description", None)
    return _json({**answer, **_laid(described)})


def with_companions(record: bytes, companions: Sequence[Accompanied]) -> bytes:
    """The same sidecar, telling of what came along with the image."""
    answer: dict[str, Any] = json.loads(record)
    answer.pop("companions", None)
    told = [
        {**name_keys("name", one.name), "sha256": one.sha256, "bytes": one.size, "action": one.action}
        for one in companions
    ]
    return _json({**answer, **({"companions": told} if told else {})})


def revised(
    record: bytes, caption: str, described: Described, merged: Mapping[str, bytes], at: datetime
) -> bytes:
    """The sidecar that says a person's `caption`; the model's own words are kept in it, however often.

    `merged`: the new content of companions, by their names as dropped.
    """
    answer: dict[str, Any] = json.loads(record)
    words = _text(_mapping(answer.get("edited")).get("model_caption")) or answer["caption"]
    lines = (described.previous_description or "").splitlines()
    theirs = [line for line in lines if line != answer["caption"]]  # our own made way: nobody's loss
    described = replace(described, previous_description="\n".join(theirs) or None)
    for one in answer.get("companions", ()):
        content = merged.get(_exact(one, "name"))
        if content is not None:
            sha256 = hashlib.sha256(content).hexdigest()
            one |= {"sha256": sha256, "bytes": len(content), "action": "merged"}
    edited = {"at": _shown_at(at), "model_caption": words}
    return _json({**answer, **_laid(described), "caption": caption, "edited": edited})


def read(record: bytes) -> Sidecar:
    """What a whole record says; ValueError for what is torn, foreign or of a later version."""
    try:
        answer = json.loads(record)
        kind, version, source = answer["schema"], answer["schema_version"], answer["source"]
        if kind not in (CAPTION_SCHEMA, _ERROR_SCHEMA) or version != VERSION:
            raise ValueError(f"not a record of ours: {kind} {version}")
        sha256 = _digest(source["sha256"])
        is_caption = kind == CAPTION_SCHEMA
        return Sidecar(
            path=_exact(source, "path"),
            source_sha256=sha256,
            published_sha256=_digest(answer["published"]["sha256"]) if is_caption else sha256,
            caption=str(answer["caption"]) if is_caption else None,
            format=str(source["format"]) if is_caption else None,
            companions=tuple(_exact(one, "name") for one in answer.get("companions", ())),
            is_edited="edited" in answer,
            edited_at=_moment(_mapping(answer.get("edited")).get("at")),
            written=tuple(_written(answer.get("written"))),
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a record of ours: {error!r}") from error


def outcome(record: bytes, delivered: Delivered, otherwise_at: datetime) -> Outcome:
    """What became of a picture, as the record beside it says; the least of it where that is not ours."""
    try:
        read(record)
    except ValueError:
        told: dict[str, Any] = {}
    else:
        told = json.loads(record)
    source, model, timings = (_mapping(told.get(key)) for key in ("source", "model", "timings_seconds"))
    stages = [_number(timings.get(key)) for key in ("queued", "decode", "caption", "publish")]
    return Outcome(
        path=delivered.dropped,
        folder=delivered.folder,
        delivered=delivered.path,
        at=_moment(told.get("created_at")) or otherwise_at,
        sha256=delivered.dropped_sha256,
        caption=_text(told.get("caption")),
        model=_text(model.get("id")),
        kind=_text(told.get("kind")),
        message=_text(told.get("message")),
        advice=_text(told.get("advice")),
        format=_text(source.get("format")),
        width=_count(source.get("width")),
        height=_count(source.get("height")),
        timings=Timings(*[stage for stage in stages if stage is not None]) if None not in stages else None,
        attempts=_count(told.get("attempts")),
    )


def _written(value: object) -> Iterator[Written]:
    for one in map(_mapping, value if isinstance(value, list) else ()):
        target, action = _text(one.get("target")), _text(one.get("action"))
        if target is not None and action is not None:
            yield Written(target, action, _text(one.get("reason")))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return _plain(value) if isinstance(value, str) else None


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT
    return cast(int, value) if is_count else None


def _number(value: object) -> float | None:
    """A finite one; JSON knows no others, and Python's reader does."""
    return float(value) if isinstance(value, int | float) and abs(value) <= _LARGEST_COUNT else None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):  # a date at the end of the calendar
        return None


def _laid(described: Described) -> dict[str, Any]:
    previous = described.previous_description
    return {
        "published": {"sha256": described.sha256},
        "written": [
            {"target": one.target, "action": one.action}
            | ({} if one.reason is None else {"reason": one.reason})
            for one in described.written
        ],
        **({} if previous is None else {"previous_description": previous}),
    }


def _source(path: str, sha256: str, size: int, modified_ns: int) -> dict[str, Any]:
    return {
        **name_keys("name", path.rpartition("/")[2]),
        **name_keys("path", path),
        "sha256": sha256,
        "bytes": size,
        "modified_at": _instant(modified_ns),
    }


def name_keys(key: str, name: str) -> dict[str, str]:
    """A name in JSON, and its bytes beside it where it is not UTF-8."""
    if is_utf8(name):
        return {key: name}
    return {key: shown(name), f"{key}_hex": os.fsencode(name).hex()}


def _exact(source: Mapping[str, Any], key: str) -> str:
    """The name as the kernel knows it."""
    if f"{key}_hex" in source:
        return os.fsdecode(bytes.fromhex(source[f"{key}_hex"]))
    if not isinstance(source[key], str):
        raise TypeError(key)
    return str(source[key])


def _digest(value: object) -> str:
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError("not a sha256")
    return value


def _signature(stamp: Stamp) -> dict[str, Any]:
    return {
        "created_at": _shown_at(stamp.created_at),
        "generator": {"name": "captiond", "version": stamp.version},
    }


def _shown_at(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _notice(notice: Notice) -> dict[str, str]:
    return {"code": notice.code, "message": notice.message}


def _instant(nanoseconds: int) -> str | None:
    """A file's time in UTC, exact to the microsecond; None for a time that no calendar holds."""
    try:
        moment = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(answer: Mapping[str, Any]) -> bytes:
    ordered = {key: answer[key] for key in _ORDER if key in answer}
    ordered |= {key: value for key, value in answer.items() if key not in ordered}  # another program's
    return (json.dumps(_plain(ordered), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def _plain(value: Any) -> Any:
    """`value` without what JSON cannot hold: lone surrogates become U+FFFD, NaN and infinities null."""
    if isinstance(value, str):
        if value.isascii():
            return value
        # By way of UTF-16 two halves of a character that a server sent apart are joined again.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
