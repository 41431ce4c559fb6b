"""Promises about the JSON: it validates, it is exact, it reads back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from delivery_world import FACTS, STAMP, WORDS, caption, embed, rules, said
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from captiond import sidecar
from captiond.errors import KINDS, Rejected
from captiond.names import is_utf8
from captiond.records import (
    Accompanied,
    Asked,
    Described,
    DroppedText,
    Fingerprint,
    Job,
    ModelIdentity,
    Notice,
    Said,
    Stamp,
    Texts,
    Timings,
    Written,
)
from captiond.sidecar import Record
from captiond.sidecar.former_files import Former
from captiond.sidecar.rewriting import edited, redone
from captiond.sidecar.schema import KIND_MEANINGS, error_schema, json_schema

VALIDATOR = Draft202012Validator(json_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
TIMINGS = Timings(queued=0.4, decode=0.03, caption=0.9, publish=0.02)
DATA = b"a picture"

# Any bytes the kernel may give, and any text a model or a server may: lone surrogates among it.
NAMES = st.binary(min_size=1, max_size=30).filter(lambda name: not {0, ord("/")} & set(name)).map(os.fsdecode)
PATHS = st.lists(NAMES.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=3).map("/".join)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=60)


def job(
    path: str = "trip/photo.jpg",
    modified_ns: int = 1_700_000_000_123_456_789,
    profile: str | None = None,
) -> Job:
    fingerprint = Fingerprint(1, 2, len(DATA), modified_ns, 3)
    return Job(
        "0" * 24,
        path,
        fingerprint,
        DATA,
        hashlib.sha256(DATA).hexdigest(),
        1,
        0.0,
        0.0,
        rules(profile=profile),
    )


def composed(job: Job, **changes: Any) -> Record:
    parts: dict[str, Any] = {
        "said": said(),
        "described": embed(DATA, "JPEG", Texts(WORDS)),
        "timings": TIMINGS,
        "stamp": STAMP,
    } | changes
    return sidecar.compose(job, FACTS, **parts)


def everything() -> Said:
    """What fills every key."""
    answer = caption(raw_output=" x", model=ModelIdentity("fake", "none", served_as="real"))
    return Said(
        Texts(WORDS),
        answer,
        notices=(Notice("shortened", "it was too long", "title"),),
        asked=(Asked("caption", answer, (answer,)),),
        dropped=(DroppedText("keywords", "two dogs running fast", "more than 3 words"),),
        needs_look=True,
        language="en",
        cached_from="0" * 64,
    )


def compose(job: Job, **changes: Any) -> bytes:
    return composed(job, **changes).encoded()


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def test_the_sidecar_of_the_manual() -> None:
    """The keys, their order and their values are those that other programs were promised."""
    record = compose(job())
    expected = {
        "schema": "captiond/caption",
        "schema_version": 1,
        "caption": WORDS,
        "source": {
            "name": "photo.jpg",
            "path": "trip/photo.jpg",
            "sha256": hashlib.sha256(DATA).hexdigest(),
            "bytes": 9,
            "modified_at": "2023-11-14T22:13:20.123456Z",
            "format": "JPEG",
            "width": 40,
            "height": 30,
        },
        "published": {"sha256": hashlib.sha256(DATA + b"\0" + WORDS.encode()).hexdigest()},
        "model": {
            "id": "demo",
            "revision": None,
            "backend": "transformers",
            "device": None,
            "dtype": None,
            "quantization": None,
        },
        "prompt": "Describe what is shown in this image.",
        "generation": {
            "max_new_tokens": 160,
            "new_tokens": 9,
            "prompt_tokens": 790,
            "finish_reason": "stop",
        },
        "written": [{"target": "exif:ImageDescription", "action": "wrote"}],
        "warnings": [{"code": "rotated", "message": "turned upright"}],
        "timings_seconds": {"queued": 0.4, "decode": 0.03, "caption": 0.9, "publish": 0.02},
        "attempts": 1,
        "created_at": "2026-11-23T10:00:00Z",
        "generator": {"name": "captiond", "version": "0.1.0"},
    }
    assert record == (json.dumps(expected, indent=2) + "\n").encode()
    VALIDATOR.validate(json.loads(record))


def test_the_schema_is_a_schema() -> None:
    """What `captiond schema` prints is valid JSON Schema 2020-12."""
    Draft202012Validator.check_schema(json_schema())


def test_the_schema_knows_every_key() -> None:
    """No key is written that the published schema does not describe."""
    described = Described(
        DATA,
        (Written("exif", "refused", "a MakerNote"),),
        previous_description="my dog",
        shared_keywords=("Max",),
    )
    path = os.fsdecode(b"trip/\xff.jpg")
    alone = composed(job(path, profile="trip/**"), said=everything(), described=described)
    accompanied = alone.accompanied((Accompanied(os.fsdecode(b"\xff.xmp"), "0" * 64, 9, "merged"),))
    words, others = (
        Texts(f"{one}.", f"A {one}.", one, (one,), (f"animal|{one}",), one.upper()) for one in ("Rex", "Max")
    )
    by_ada = noted(edited(accompanied, words, STAMP.created_at))
    anew = redone(by_ada, words, by_ada.rest, STAMP.created_at, "20261130-002236")
    last = noted(edited(anew, others, STAMP.created_at).laid_anew(described, {}, words))
    record = json.loads(replace(last, history=last.history[1:2]).encoded())
    schema = json_schema()

    def check(value: Any, schema: dict[str, Any]) -> None:
        if isinstance(value, dict):
            lacking = set(schema["properties"]) ^ set(value)
            # Of one text alone; of a question that was asked once, or not alone; of a library's picture.
            assert lacking <= {"field", "tries", "model", "library"}, lacking
            for key, inner in value.items():
                check(inner, schema["properties"][key])
        elif isinstance(value, list) and "properties" in schema["items"]:
            for inner in value:
                check(inner, schema["items"])

    check(record, schema)
    VALIDATOR.validate(record)


def noted(record: Record) -> Record:
    """With what is there now and then."""
    assert record.edited is not None
    by_ada = replace(record.edited, by="Ada")
    by = {"at": "2026-11-24T18:30:00Z", "by": "Ada"}
    looks = {"needs_look": True, "accepted": by, "approval": {"state": "approved", **by}}
    before = Former("", made="0" * 64, sha256="0" * 64, parts=((0, 4), b"MM"))
    way_back = {"before_approval": [{**before.keys(), **replace(before, made=None).keys()}]}
    rest = {**record.rest, **looks, **way_back, "cached_from": "0" * 64}
    return replace(record, edited=by_ada, rest=rest)


@given(PATHS, TEXTS, TEXTS, st.floats(), st.integers(-(2**62), 2**62))
def test_any_name_and_any_answer_make_a_valid_sidecar(
    path: str, text: str, raw: str, seconds: float, modified_ns: int
) -> None:
    """Whatever a file is called and a model says, the sidecar is UTF-8, valid and without surrogates."""
    record = compose(
        job(path, modified_ns),
        said=said(text, raw_output=raw, model=ModelIdentity(raw, raw)),
        timings=Timings(seconds, 0.0, 0.0, 0.0),
    )
    answer = json.loads(record.decode())
    VALIDATOR.validate(answer)
    for one in strings(answer):
        one.encode()


@given(PATHS, TEXTS)
def test_recovery_reads_back_what_it_needs(path: str, text: str) -> None:
    """The path comes back exactly, byte for byte, and so do the checksums and the caption."""
    told = sidecar.decode(compose(job(path), said=said(text)))
    assert os.fsencode(told.path) == os.fsencode(path)
    assert told.source.sha256 == hashlib.sha256(DATA).hexdigest()
    assert told.published_sha256 == hashlib.sha256(DATA + b"\0" + WORDS.encode()).hexdigest()
    assert told.source.format == "JPEG"
    assert told.caption == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(PATHS)
def test_the_bytes_of_a_name_are_given_only_where_they_are_needed(path: str) -> None:
    """name_hex and path_hex stand exactly where UTF-8 cannot tell the name."""
    source = json.loads(compose(job(path)))["source"]
    assert ("path_hex" in source) == (not is_utf8(path))
    assert ("name_hex" in source) == (not is_utf8(path.rpartition("/")[2]))


@given(st.integers(0, 400))
def test_a_torn_record_is_no_record(length: int) -> None:
    """A record that a power cut tore is never taken for a whole one."""
    record = compose(job())
    with pytest.raises(ValueError, match=r"."):
        sidecar.decode(record[: min(length, len(record) - 3)])


@pytest.mark.parametrize(
    "foreign",
    [b"", b"null", b"[]", b"{}", b'{"schema": "captiond/caption"}', b"\xff", b"1e999", b"[" * 100_000],
)
def test_a_foreign_file_is_no_record(foreign: bytes) -> None:
    """JSON that is not ours is never followed."""
    with pytest.raises(ValueError, match=r"."):
        sidecar.decode(foreign)


def test_an_error_says_what_to_do() -> None:
    """What lies beside a failed picture names the kind, the stage, the attempts and the advice."""
    why = Rejected("unreadable", "the JPEG ends in the middle", stage="decode", advice="Copy it again.")
    record = sidecar.compose_error("trip/photo.jpg", job().fingerprint, why, 2, job().sha256, STAMP).encoded()
    answer = json.loads(record)
    assert list(answer)[:7] == [
        "schema",
        "schema_version",
        "kind",
        "message",
        "stage",
        "advice",
        "source",
    ]
    assert (answer["schema"], answer["kind"], answer["attempts"]) == ("captiond/error", "unreadable", 2)
    told = sidecar.decode(record)
    assert (told.path, told.caption, told.published_sha256) == ("trip/photo.jpg", None, job().sha256)


def test_an_error_is_as_its_schema_says() -> None:
    """`captiond schema error` describes every key, and every word that may stand in `kind`."""
    schema = error_schema()
    Draft202012Validator.check_schema(schema)
    for kind in KINDS:
        why = Rejected(kind, "wrong", stage="decode")
        path = os.fsdecode(b"\xff.jpg")
        record = sidecar.compose_error(path, job().fingerprint, why, 2, job().sha256, STAMP).encoded()
        answer = json.loads(record)
        Draft202012Validator(schema).validate(answer)
        assert set(answer) == set(schema["properties"])
        assert set(answer["source"]) == set(schema["properties"]["source"]["properties"])


def test_the_documents_name_every_kind() -> None:
    """docs/reliability.md says of each word in `kind` what the schema says."""
    docs = Path(__file__).parents[2] / "docs" / "reliability.md"
    assert docs.exists()
    lines = docs.read_text(encoding="utf-8").splitlines()
    assert set(KIND_MEANINGS) == set(KINDS)
    assert all(f"| `{kind}` | {meaning} |" in lines for kind, meaning in KIND_MEANINGS.items())


def test_bytes_laid_anew_change_only_what_tells_of_them() -> None:
    """A recovery under other settings writes other checksums and keeps caption, author and date."""
    before = composed(job(), described=Described(DATA + b"1", (), previous_description="my dog"))
    after = before.described(Described(DATA + b"2", (Written("exif", "kept", "a person's"),)))
    old, new = json.loads(before.encoded()), json.loads(after.encoded())
    assert new.pop("published") == {"sha256": hashlib.sha256(DATA + b"2").hexdigest()}
    assert new.pop("written") == [{"target": "exif", "action": "kept", "reason": "a person's"}]
    for key in ("published", "written", "previous_description"):
        old.pop(key)
    assert old == new
    VALIDATOR.validate(json.loads(after.encoded()))


def test_times_are_utc() -> None:
    """A stamp from any time zone is written in UTC."""
    local = datetime.fromisoformat("2026-11-23T12:00:00+02:00")
    answer = json.loads(compose(job(), stamp=Stamp(local, "0.1.0")))
    assert answer["created_at"] == "2026-11-23T10:00:00Z"
    assert datetime.fromisoformat(answer["created_at"]) == local.astimezone(UTC)


def test_what_caption_prints_are_the_sidecars_keys() -> None:
    """`captiond caption --json` and the sidecar speak of a picture in the same words and order."""
    source = sidecar.source_of("trip/photo.jpg", "0" * 64, 9, 0, FACTS)
    keys = sidecar.answer_keys(source, FACTS, said(), TIMINGS)
    ours = [key for key in json.loads(compose(job())) if key in keys]
    assert list(keys) == ours
    assert ours[0] == "caption"
