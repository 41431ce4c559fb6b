"""What the records promise to other programs, as `captiond schema` prints it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from captiond.errors import KINDS, Kind, Stage
from captiond.records import FieldName
from captiond.sidecar.record import CAPTION_SCHEMA, ERROR_SCHEMA, VERSION

# What each `kind` of a failure means; docs/reliability.md says the same.
KIND_MEANINGS: Mapping[Kind, str] = {
    "decoder_died": "The process that decoded it ended; a codec's fault, or the system's.",
    "empty_caption": "The model said nothing that can be used.",
    "gave_up": "It was tried limits.attempts times, and something stood in its way each time.",
    "refused_by_server": "The model's server refuses this picture.",
    "too_complex": "To tell whether the file is whole would take too long: its parts contradict each other.",
    "too_large": "It has more bytes than limits.max_file_bytes.",
    "too_many_attempts": "The process ended limits.attempts times while it worked on it.",
    "too_many_pixels": "It declares more pixels than limits.max_pixels.",
    "too_much_memory": "To decode it takes more than limits.decode_memory_bytes.",
    "too_slow": "To decode it takes longer than limits.decode_seconds.",
    "truncated": "The file never became whole.",
    "unforeseen": "A fault of captiond's, or of a library; please report it.",
    "unreadable": "It cannot be read as a picture.",
    "unsupported": "It is a sound picture of a kind that is not read, "
    "such as a TIFF of floating-point colours; it says which.",
    "unsure": "Its caption stayed doubtful, and checks.unsure says that it fails then.",
}
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_ACTION = {"enum": ["wrote", "kept", "skipped", "refused"]}
_MAYBE_TEXT = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_MAYBE_COUNT = {"type": ["integer", "null"], "minimum": 0}
_SECONDS = {"type": ["number", "null"]}
_MAYBE_SHA256 = {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_BYTES = {"type": "string", "pattern": "^([0-9a-f]{2})+$"}
_INSTANT = {"type": "string", "format": "date-time"}
_FIELD = {"enum": list(get_args(FieldName))}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The published description of the caption sidecar, in JSON Schema 2020-12."""
    return {
        "$schema": _DIALECT,
        "title": "captiond sidecar",
        "description": "Lies beside a delivered image as <name>.caption.json and appears after it.",
        **_record(_caption_properties(), optional=_OPTIONAL),
    }


def error_schema() -> dict[str, Any]:
    """The published description of the record beside a picture that failed."""
    kind = {"enum": list(KINDS), "description": " ".join(f"{one}: {KIND_MEANINGS[one]}" for one in KINDS)}
    properties = {
        "schema": {"const": ERROR_SCHEMA},
        "schema_version": {"const": VERSION},
        "kind": kind,
        "message": _explained(_TEXT, "What is wrong, for people."),
        "stage": {"enum": list(get_args(Stage)), "description": "Where it was noticed."},
        "advice": _explained(_MAYBE_TEXT, "What to do about it."),
        "source": _source(sha256=_explained(_MAYBE_SHA256, "Null: it is too large to be read whole.")),
        "attempts": _COUNT,
        **_signature(),
    }
    return {
        "$schema": _DIALECT,
        "title": "captiond error",
        "description": "Lies beside a picture in failed/ as <name>.error.json and appears after it.",
        **_record(properties),
    }


def _record(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [key for key in properties if key not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _explained(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description}


def _source(**facts: Any) -> dict[str, Any]:
    return _record(
        {
            "name": _explained(_TEXT, "The name as dropped; U+FFFD stands for what is not UTF-8."),
            "name_hex": _explained(_BYTES, "The exact bytes of the name, where it is not UTF-8."),
            "path": _explained(_TEXT, "The path as dropped, relative to the inbox, or to its library."),
            "path_hex": _explained(_BYTES, "The exact bytes of the path, where it is not UTF-8."),
            "sha256": _explained(_SHA256, "Of the file as dropped."),
            "bytes": _explained(_COUNT, "The size of the file as dropped."),
            "modified_at": {**_INSTANT, "type": ["string", "null"]},
            **facts,
        },
        optional=("name_hex", "path_hex"),
    )


def _asked(more: dict[str, Any]) -> dict[str, Any]:
    return _record(
        {
            **more,
            "prompt": _TEXT,
            "new_tokens": _MAYBE_COUNT,
            "finish_reason": _TEXT,
            "raw_output": _TEXT,
        },
        optional=("raw_output", "tries", "model"),
    )


def _signature() -> dict[str, Any]:
    return {
        "created_at": _INSTANT,
        "generator": _record({"name": {"const": "captiond"}, "version": _TEXT}),
    }


_OPTIONAL = (
    "fields", "language", "asked", "dropped", "needs_look", "accepted", "approval", "cached_from", "profile",
    "edited", "companions", "raw_output", "previous_description", "shared_keywords", "before_approval",
    "history", "library",
)  # fmt: skip


def _caption_properties() -> dict[str, Any]:
    return {
        "schema": {"const": CAPTION_SCHEMA},
        "schema_version": {"const": VERSION},
        **_texts(),
        "source": _source(
            format=_explained(_TEXT, "As Pillow names it."),
            width=_explained(_COUNT, "Pixels, as stored in the file."),
            height=_explained(_COUNT, "Pixels, as stored in the file."),
        ),
        "published": _record({"sha256": _explained(_SHA256, "Of the file that lies beside this sidecar.")}),
        "companions": _companions(),
        **_questions(),
        "cached_from": _explained(
            _SHA256, "The file, as dropped, that the model was asked about: what it sees of both is the same."
        ),
        "written": _list(
            "What became of each place that the caption could have been written to.",
            {"target": _TEXT, "action": _ACTION, "reason": _TEXT},
            optional=("reason",),
        ),
        "previous_description": _explained(_TEXT, "What a replaced description said."),
        "shared_keywords": _explained(_TEXTS, "Of the keywords, those that the picture had already."),
        "warnings": _warnings(),
        "timings_seconds": _timings(),
        "profile": _explained(_TEXT, "The patterns of the profile that the picture met."),
        "library": _library(),
        "attempts": {"type": "integer", "minimum": 1},
        **_signature(),
        "before_approval": _before_approval(),
        "history": _history(),
    }


def _fields(text: dict[str, Any] = _TEXT, texts: dict[str, Any] = _TEXTS) -> dict[str, Any]:
    fields = {
        "alt_text": text,
        "title": text,
        "keywords": texts,
        "keyword_paths": texts,
        "visible_text": text,
    }
    return _record(fields, optional=tuple(fields))


def _edited() -> dict[str, Any]:
    told = {
        "at": _INSTANT,
        "by": _explained(_TEXT, "Who, where somebody has noted that."),
        "model_caption": _explained(_TEXT, "What the model had said."),
        "model_fields": _explained(
            _fields(_MAYBE_TEXT, {**_TEXTS, "type": ["array", "null"]}),
            "Likewise of the other texts, those that a person changed; null: there was none.",
        ),
    }
    return _record(told, optional=("by", "model_fields"))


def _history() -> dict[str, Any]:
    """An entry has the keys that the record had for its texts; `generation` and its like after a redo."""
    answer = _questions()
    told = {
        "caption": _TEXT,
        "fields": _fields(),
        "language": _TEXT,
        "edited": _edited(),
        **answer,
        "needs_look": {"type": "boolean"},
        "approval": _approval(),
        "warnings": _warnings(),
        "profile": _TEXT,
        "cached_from": _SHA256,
        "timings_seconds": _timings(),
        **_signature(),
        "replaced_at": _INSTANT,
        "why": {"enum": ["edit", "redo", "approve"]},
        "list": _explained(_TEXT, "By which list of `captiond redo`."),
    }
    required = {"caption", "replaced_at", "why"}
    optional = tuple(key for key in told if key not in required)
    return _list("Former texts, the latest last; at most ten.", told, optional=optional)


def _timings() -> dict[str, Any]:
    return _record({"queued": _SECONDS, "decode": _SECONDS, "caption": _SECONDS, "publish": _SECONDS})


def _warnings() -> dict[str, Any]:
    return _list(
        "What its owner may want to know.",
        {"code": _TEXT, "message": _TEXT, "field": _FIELD},
        optional=("field",),
    )


def _texts() -> dict[str, Any]:
    """What is said about the picture."""
    return {
        "caption": _TEXT,
        "language": _explained(_TEXT, "The language that was asked for."),
        "fields": _explained(_fields(), "The other texts that were asked for, as far as they could be had."),
        "edited": _explained(_edited(), "Only where a person has changed a text."),
        "accepted": _explained(
            _record({"at": _INSTANT, "by": _TEXT}, optional=("by",)),
            "Only where a person has looked at texts that needed it, and left them.",
        ),
        "needs_look": _explained({"type": "boolean"}, "Whether a person should look at the texts."),
        "approval": _approval(),
    }


def _approval() -> dict[str, Any]:
    told = {
        "state": {
            "enum": ["waiting", "approved"],
            "description": "waiting: the texts stand in this sidecar alone, and the picture is as dropped.",
        },
        "at": _explained(_INSTANT, "When a person approved them, or put their own words in their place."),
        "by": _explained(_TEXT, "Who, where somebody has noted that."),
    }
    explained = "Only where output.approve has texts wait for a person."
    return _explained(_record(told, optional=("at", "by")), explained)


def _before_approval() -> dict[str, Any]:
    told = {
        "suffix": _explained(_TEXT, "Of the file's name, behind the picture's; empty: the picture."),
        "on_stem": _explained({"type": "boolean"}, "Whether it stands in the place of the picture's ending."),
        "made": _explained(_SHA256, "There was no such file; of the one that was made."),
        "sha256": _explained(_SHA256, "Of the file as it was."),
        "parts": _explained(
            {"type": "array", "items": {"type": ["array", "string"]}},
            "What it is made of: [start, length] of the file as it is now, or bytes in base64.",
        ),
    }
    explained = "How to have the files back as they were before approved texts were written into them."
    return _list(explained, told, optional=("made", "sha256", "parts"))


def _questions() -> dict[str, Any]:
    """Who was asked, what, and what came."""
    model = {
        "id": _TEXT,
        "revision": _MAYBE_TEXT,
        "backend": _TEXT,
        "device": _MAYBE_TEXT,
        "dtype": _MAYBE_TEXT,
        "quantization": _MAYBE_TEXT,
        "served_as": _explained(_TEXT, "What the server said it runs, if not `id`."),
    }
    generation = {
        "max_new_tokens": _COUNT,
        "new_tokens": _MAYBE_COUNT,
        "prompt_tokens": _MAYBE_COUNT,
        "finish_reason": _explained(_TEXT, "stop, or length where the caption was cut off."),
    }
    return {
        "model": _record(model, optional=("served_as",)),
        "prompt": _TEXT,
        "generation": _record(generation),
        "raw_output": _explained(_TEXT, "What the model said, where it was cleaned."),
        "asked": {
            "type": "array",
            "description": "Where more was asked than the caption, once: each question and its answers.",
            "items": _asked(
                {
                    "field": _FIELD,
                    "model": _explained(
                        _record(model, optional=("served_as",)), "Where it was asked alone, later."
                    ),
                    "tries": {"type": "array", "items": _asked({})},
                }
            ),
        },
        "dropped": _list(
            "Parts of answers that are not delivered.", {"field": _FIELD, "text": _TEXT, "reason": _TEXT}
        ),
    }


def _companions() -> dict[str, Any]:
    return _list(
        "The files that came along with the image, as they lie beside it.",
        {
            "name": _explained(_TEXT, "As dropped; beside a renamed image, theirs is renamed too."),
            "name_hex": _BYTES,
            "sha256": _explained(_SHA256, "Of the file that lies beside the image."),
            "bytes": _COUNT,
            "action": {"enum": ["moved", "merged"], "description": "merged: the caption is in it."},
        },
        optional=("name_hex",),
    )


def _library() -> dict[str, Any]:
    xmp = {
        "name": _explained(_TEXT, "Its name, beside this sidecar."),
        "name_hex": _BYTES,
        "sha256": _explained(_SHA256, "Of the file as it was written."),
        "merged_from": _explained(_SHA256, "Of the file that lay there before and was merged."),
    }
    told = {
        "name": _explained(_TEXT, "The library's name in the settings."),
        "questions": _explained(_SHA256, "The same for the same questions about the same fields."),
        "xmp": _explained(_record(xmp, optional=("name_hex", "merged_from")), "The .xmp that was written."),
        "raw_xmp": _explained(
            _record(xmp, optional=("name_hex", "merged_from")),
            "The .xmp that was written for the RAW of the same shot.",
        ),
        "replaced": _explained(
            _SHA256, "Of the sidecar that this one replaced, if texts were edited, redone or undone."
        ),
    }
    return _explained(
        _record(told, optional=("xmp", "raw_xmp", "replaced")),
        "Only of a picture that is described where it lies.",
    )


def _list(description: str, item: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"type": "array", "description": description, "items": _record(item, optional)}
