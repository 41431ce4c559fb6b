"""What the caption sidecar promises to other programs, as `captiond schema` prints it.  Pure."""

from __future__ import annotations

from typing import Any

from captiond.sidecar import CAPTION_SCHEMA, VERSION

_OPTIONAL = ("fields", "edited", "companions", "raw_output", "previous_description")


def json_schema() -> dict[str, Any]:
    """The published description of the caption sidecar, in JSON Schema 2020-12."""
    text, count = {"type": "string"}, {"type": "integer", "minimum": 0}
    maybe_text, maybe_count = {"type": ["string", "null"]}, {"type": ["integer", "null"], "minimum": 0}
    texts = {"type": "array", "items": text}
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
        "schema": {"const": CAPTION_SCHEMA},
        "schema_version": {"const": VERSION},
        "caption": text,
        "fields": explained(
            record(
                {"alt_text": text, "title": text, "keywords": texts, "visible_text": text},
                optional=("alt_text", "title", "keywords", "visible_text"),
            ),
            "The other texts that were asked for, as far as they could be had.",
        ),
        "edited": explained(
            record({"at": instant, "model_caption": explained(text, "What the model had said.")}),
            "Only where a person has changed the caption.",
        ),
        "source": source,
        "published": record({"sha256": explained(sha256, "Of the file that lies beside this sidecar.")}),
        "companions": {
            "type": "array",
            "description": "The files that came along with the image, as they lie beside it.",
            "items": record(
                {
                    "name": explained(text, "As dropped; beside an image with another name, theirs is too."),
                    "name_hex": name_bytes,
                    "sha256": explained(sha256, "Of the file that lies beside the image."),
                    "bytes": count,
                    "action": {"enum": ["moved", "merged"], "description": "merged: the caption is in it."},
                },
                optional=("name_hex",),
            ),
        },
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
        **record(properties, optional=_OPTIONAL),
    }
