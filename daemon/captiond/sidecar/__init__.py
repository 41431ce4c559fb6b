"""The JSON beside a delivered picture: composed here, a value in `record`, read back in `decode`.

Pure: records in, a record out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from captiond.errors import Rejected
from captiond.names import utc_text
from captiond.records import (
    Answer,
    Asked,
    Delivered,
    Described,
    FieldName,
    Fingerprint,
    Job,
    ModelIdentity,
    Notice,
    Outcome,
    PictureFacts,
    Said,
    Stamp,
    Timings,
)
from captiond.sidecar import rewriting
from captiond.sidecar.decode import decode
from captiond.sidecar.plain import plain
from captiond.sidecar.record import (
    CAPTION_SCHEMA,
    CAPTION_SUFFIX,
    ERROR_SCHEMA,
    ERROR_SUFFIX,
    SUFFIXES,
    VERSION,
    Record,
    Source,
)

__all__ = [
    "CAPTION_SCHEMA",
    "CAPTION_SUFFIX",
    "ERROR_SCHEMA",
    "ERROR_SUFFIX",
    "SUFFIXES",
    "VERSION",
    "Record",
    "Source",
    "answer_keys",
    "compose",
    "compose_error",
    "decode",
    "instant",
    "outcome",
    "redone",
    "redone_alone",
    "source_of",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def compose(
    job: Job,
    facts: PictureFacts,
    said: Said,
    described: Described,
    timings: Timings,
    stamp: Stamp,
    *,
    awaits_approval: bool = False,
) -> Record:
    """The sidecar of a captioned picture; `awaits_approval`: its texts stand here alone for now."""
    facts = replace(facts, notices=(*job.notices, *facts.notices))
    return Record(
        source=source_of(job.path, job.sha256, len(job.data), job.fingerprint.modified_ns, facts),
        texts=said.texts,
        published_sha256=described.sha256,
        written=described.written,
        previous_description=described.previous_description,
        shared_keywords=described.shared_keywords,
        rest={
            **_answer(facts, said, timings),
            **({"approval": rewriting.WAITING} if awaits_approval else {}),
            **({} if job.rules.profile is None else {"profile": job.rules.profile}),
            "attempts": job.attempt,
            **_signature(stamp),
        },
    )


def redone(
    record: Record,
    facts: PictureFacts,
    said: Said,
    timings: Timings,
    stamp: Stamp,
    *,
    profile: str | None = None,
    order: str | None = None,
    alone: bool = False,
) -> Record:
    """The record of a delivered picture after a model was asked once more; `order`: by which list.

    `alone`: only about the caption.
    """
    answer = {
        **_answer(facts, said, timings),
        **({} if profile is None else {"profile": profile}),
        **_signature(stamp),
    }
    return rewriting.redone(record, said.texts, answer, stamp.created_at, order, alone=alone)


def redone_alone(
    record: Record, name: FieldName, said: Said, stamp: Stamp, *, order: str | None = None
) -> Record:
    """The record of a delivered picture after one text beside the caption was asked for once more."""
    (one,) = said.asked
    dropped, notices = [asdict(each) for each in said.dropped], [_notice(each) for each in said.notices]
    told = {**_asked(one), "model": _model(one.answer.model)}
    parts = rewriting.OneText(name, told, dropped, notices, said.needs_look)
    return rewriting.redone_alone(record, said.texts, parts, stamp.created_at, order)


def compose_error(
    path: str, fingerprint: Fingerprint, rejected: Rejected, attempts: int, sha256: str, stamp: Stamp
) -> Record:
    """What lies beside a picture in failed/: why it is there and what to do about it."""
    return Record(
        source=source_of(path, sha256, fingerprint.size, fingerprint.modified_ns),
        texts=None,
        published_sha256=sha256,
        rest={
            "kind": rejected.kind,
            "message": rejected.message,
            "stage": rejected.stage,
            "attempts": attempts,
            "advice": rejected.advice,
            **_signature(stamp),
        },
    )


def answer_keys(source: Source, facts: PictureFacts, said: Said, timings: Timings) -> dict[str, Any]:
    """The sidecar's keys from `caption` on, without those of a delivery: for `captiond caption --json`."""
    record = Record(source, said.texts, source.sha256, rest=_answer(facts, said, timings))
    told: dict[str, Any] = plain(record.keys())
    return {key: value for key, value in told.items() if key not in _OF_A_DELIVERY}


_OF_A_DELIVERY = frozenset({"schema", "schema_version", "published", "written"})


def outcome(record: Record | None, delivered: Delivered, otherwise_at: datetime) -> Outcome:
    """What became of a picture; if the record beside it is gone, or not ours, by `delivered` alone."""
    if record is not None:
        return record.outcome(delivered, otherwise_at)
    return Outcome(
        path=delivered.dropped,
        folder=delivered.folder,
        delivered=delivered.path,
        at=otherwise_at,
        sha256=delivered.dropped_sha256 or None,
        library=delivered.library,
    )


def source_of(
    path: str, sha256: str, size: int, modified_ns: int, facts: PictureFacts | None = None
) -> Source:
    if facts is None:
        return Source(path, sha256, size, instant(modified_ns))
    return Source(path, sha256, size, instant(modified_ns), facts.format, facts.width, facts.height)


def _answer(facts: PictureFacts, said: Said, timings: Timings) -> dict[str, Any]:
    answer = said.answer
    raw: dict[str, str] = {} if answer.raw_output is None else {"raw_output": answer.raw_output}
    request = answer.request
    return {
        "model": _model(answer.model),
        "prompt": request.prompt,
        "generation": {
            "max_new_tokens": request.max_new_tokens,
            "new_tokens": answer.new_tokens,
            "prompt_tokens": answer.prompt_tokens,
            "finish_reason": answer.finish_reason,
        },
        **raw,
        **_more(said),
        "warnings": [_notice(notice) for notice in (*facts.notices, *said.notices)],
        "timings_seconds": {
            "queued": timings.queued,
            "decode": timings.decode,
            "caption": timings.caption,
            "publish": timings.publish,
        },
    }


def _model(model: ModelIdentity) -> dict[str, Any]:
    return {
        "id": model.id,
        "revision": model.revision,
        "backend": model.backend,
        "device": model.device,
        "dtype": model.dtype,
        "quantization": model.quantization,
        **({} if model.served_as is None else {"served_as": model.served_as}),
    }


def _signature(stamp: Stamp) -> Mapping[str, Any]:
    return {
        "created_at": utc_text(stamp.created_at),
        "generator": {"name": "captiond", "version": stamp.version},
    }


def _more(said: Said) -> dict[str, Any]:
    """The keys that the sidecar has only if they apply."""
    more: dict[str, Any] = {}
    if said.language is not None:
        more["language"] = said.language
    if said.asked:
        more["asked"] = [_asked(one) for one in said.asked]
    if said.dropped:
        more["dropped"] = [asdict(one) for one in said.dropped]
    if said.needs_look:
        more["needs_look"] = True
    if said.cached_from is not None:
        more["cached_from"] = said.cached_from
    return more


def _asked(one: Asked) -> dict[str, Any]:
    tries = {"tries": [_try(answer) for answer in one.tries]} if one.tries else {}
    return {"field": one.field, **_try(one.answer), **tries}


def _try(answer: Answer) -> dict[str, Any]:
    raw = {} if answer.raw_output is None else {"raw_output": answer.raw_output}
    told = {"prompt": answer.request.prompt, "new_tokens": answer.new_tokens}
    return {**told, "finish_reason": answer.finish_reason, **raw}


def _notice(notice: Notice) -> dict[str, str]:
    told = {"code": notice.code, "message": notice.message}
    return told if notice.field is None else {**told, "field": notice.field}


def instant(nanoseconds: int) -> str | None:
    """A file's time in UTC, exact to the microsecond; None if it is beyond the calendar."""
    try:
        return utc_text(_EPOCH + timedelta(microseconds=nanoseconds // 1000), "microseconds")
    except OverflowError:
        return None
