"""The JSON beside a delivered image: how it is composed, its published schema, and reading it back.

Pure: records in, bytes out.  The sidecar is also delivery's redo record, so what is needed to finish a
delivery without the model stands in it: the path, the two checksums, the caption and the format.  No lone
surrogate and no NaN gets into it, wherever it came from: a file name, a model, a server.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from captiond.errors import Rejected
from captiond.names import is_utf8, shown
from captiond.records import Caption, Described, Fingerprint, Job, Notice, PictureFacts, Stamp, Timings

CAPTION_SUFFIX = ".caption.json"
ERROR_SUFFIX = ".error.json"

_CAPTION_SCHEMA = "captiond/caption"
_ERROR_SCHEMA = "captiond/error"
_VERSION = 1
# One order for both kinds of record, so that two runs of the same image compare line by line.
_ORDER = (
    "schema", "schema_version", "kind", "message", "stage", "advice", "caption", "source", "published",
    "model", "prompt", "generation", "raw_output", "written", "previous_description",
    "warnings", "timings_seconds", "attempts", "created_at", "generator",
)  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a recovery needs to know of a record, of either kind."""

    path: str  # as dropped, relative to the inbox
    source_sha256: str
    published_sha256: str
    caption: str | None  # None in an error record
    format: str | None

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
            "schema": _CAPTION_SCHEMA,
            "schema_version": _VERSION,
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
            "schema_version": _VERSION,
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


def read(record: bytes) -> Sidecar:
    """What a whole record says; ValueError for what is torn, foreign or of a later version."""
    try:
        answer = json.loads(record)
        kind, version, source = answer["schema"], answer["schema_version"], answer["source"]
        if kind not in (_CAPTION_SCHEMA, _ERROR_SCHEMA) or version != _VERSION:
            raise ValueError(f"not a record of ours: {kind} {version}")
        sha256 = _digest(source["sha256"])
        is_caption = kind == _CAPTION_SCHEMA
        return Sidecar(
            path=_exact(source, "path"),
            source_sha256=sha256,
            published_sha256=_digest(answer["published"]["sha256"]) if is_caption else sha256,
            caption=str(answer["caption"]) if is_caption else None,
            format=str(source["format"]) if is_caption else None,
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a record of ours: {error!r}") from error


def _laid(described: Described) -> dict[str, Any]:
    previous = described.previous_description
    return {
        "published": {"sha256": hashlib.sha256(described.data).hexdigest()},
        "written": [
            {"target": one.target, "action": one.action}
            | ({} if one.reason is None else {"reason": one.reason})
            for one in described.written
        ],
        **({} if previous is None else {"previous_description": previous}),
    }


def _source(path: str, sha256: str, size: int, modified_ns: int) -> dict[str, Any]:
    return {
        **_name("name", path.rpartition("/")[2]),
        **_name("path", path),
        "sha256": sha256,
        "bytes": size,
        "modified_at": _instant(modified_ns),
    }


def _name(key: str, name: str) -> dict[str, str]:
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
    created = stamp.created_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"created_at": created, "generator": {"name": "captiond", "version": stamp.version}}


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


def json_schema() -> dict[str, Any]:
    """The published description of the caption sidecar, in JSON Schema 2020-12."""
    text, count = {"type": "string"}, {"type": "integer", "minimum": 0}
    maybe_text, maybe_count = {"type": ["string", "null"]}, {"type": ["integer", "null"], "minimum": 0}
    seconds = {"type": ["number", "null"]}
    sha256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    name_bytes = {"type": "string", "pattern": "^([0-9a-f]{2})+$"}
    instant = {"type": "string", "format": "date-time"}

    def record(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
        required = [key for key in properties if key not in optional]
        return {"type": "object", "properties": properties, "required": required}

    def explained(schema: dict[str, Any], description: str) -> dict[str, Any]:
        return {**schema, "description": description}

    source = record(
        {
            "name": explained(text, "The name as dropped; U+FFFD stands for what is not UTF-8."),
            "name_hex": explained(name_bytes, "The exact bytes of the name, where it is not UTF-8."),
            "path": explained(text, "The path as dropped, relative to the inbox."),
            "path_hex": explained(name_bytes, "The exact bytes of the path, where it is not UTF-8."),
            "sha256": explained(sha256, "Of the file as dropped."),
            "bytes": explained(count, "The size of the file as dropped."),
            "modified_at": {**instant, "type": ["string", "null"]},
            "format": explained(text, "As Pillow names it."),
            "width": explained(count, "Pixels, as stored in the file."),
            "height": explained(count, "Pixels, as stored in the file."),
        },
        optional=("name_hex", "path_hex"),
    )
    properties = {
        "schema": {"const": _CAPTION_SCHEMA},
        "schema_version": {"const": _VERSION},
        "caption": text,
        "source": source,
        "published": record({"sha256": explained(sha256, "Of the file that lies beside this sidecar.")}),
        "model": record(
            {
                "id": text,
                "revision": maybe_text,
                "backend": text,
                "device": maybe_text,
                "dtype": maybe_text,
                "quantization": maybe_text,
            }
        ),
        "prompt": text,
        "generation": record(
            {
                "max_new_tokens": count,
                "new_tokens": maybe_count,
                "prompt_tokens": maybe_count,
                "finish_reason": explained(text, "stop, or length where the caption was cut off."),
            }
        ),
        "raw_output": explained(text, "What the model said, where it was cleaned."),
        "written": {
            "type": "array",
            "description": "What became of each place that the caption could have been written to.",
            "items": record(
                {"target": text, "action": {"enum": ["wrote", "kept", "skipped", "refused"]}, "reason": text},
                optional=("reason",),
            ),
        },
        "previous_description": explained(text, "What a replaced description said."),
        "warnings": {"type": "array", "items": record({"code": text, "message": text})},
        "timings_seconds": record(
            {"queued": seconds, "decode": seconds, "caption": seconds, "publish": seconds}
        ),
        "attempts": {"type": "integer", "minimum": 1},
        "created_at": instant,
        "generator": record({"name": {"const": "captiond"}, "version": text}),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "captiond sidecar",
        "description": "Lies beside a delivered image as <name>.caption.json and appears after it.",
        **record(properties, optional=("raw_output", "previous_description")),
    }
