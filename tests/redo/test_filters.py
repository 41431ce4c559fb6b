"""Promises about which pictures a redo means: exactly those that every filter names."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from captiond import sidecar
from captiond.names import utc_text
from captiond.records import Limits, Rules
from captiond.redo.filters import Filters, are_meant, why_left_out
from captiond.sidecar import Record
from captiond.sidecar.plain import as_json

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
MODELS = [("demo", None), ("phi", "abc"), ("phi", "def"), ("phi@abc", None)]
FIELDS = ["alt_text", "title", "keywords", "visible_text"]
PROMPTS = {"caption": "What is shown?", "alt_text": "Alt text?", "title": "Title?"}


def _rules(dice: random.Random) -> Rules:
    asked = {name: prompt for name, prompt in PROMPTS.items() if name == "caption" or dice.random() < 0.8}
    replaces = dice.random() < 0.3
    unused: Any = None
    return Rules(unused, unused, 1, 1, 1, limits=Limits(), prompts=asked, replaces=replaces)  # type: ignore[arg-type]


def _told(dice: random.Random) -> dict[str, Any]:
    """The keys of a sidecar, as the oracle reads them."""
    id, revision = dice.choice(MODELS)
    prompts = ["What is shown?", "Describe it.", "Alt text?", "Old alt text?"]
    fields: dict[str, Any] = {name: "words" for name in FIELDS if dice.random() < 0.6}
    if "keywords" in fields:
        fields["keywords"] = ["words"]
    if "visible_text" in fields:
        fields["visible_text"] = dice.choice(["", "EXIT"])
    tries = [{"prompt": dice.choice(prompts)}] if dice.random() < 0.3 else []
    asked = [{"field": "alt_text", "prompt": dice.choice(prompts), "tries": tries}]
    made = NOW - timedelta(days=dice.randint(0, 60))
    written = [
        {"target": target, "action": dice.choice(["wrote", "kept"])}
        for target in ("exif:ImageDescription", "xmp:dc:title", "xmp-sidecar:AltTextAccessibility")
        if dice.random() < 0.5
    ]
    return {
        "schema": "captiond/caption",
        "schema_version": 1,
        "caption": "A dog.",
        "fields": fields,
        "source": {"path": "a.jpg", "sha256": "0" * 64, "bytes": 1, "modified_at": None},
        "published": {"sha256": "0" * 64},
        "model": {"id": id, "revision": revision},
        "prompt": dice.choice(prompts),
        "asked": asked if dice.random() < 0.7 else [],
        "written": written,
        "created_at": utc_text(made),
        **({"needs_look": True} if dice.random() < 0.4 else {}),
        **({"edited": {"at": utc_text(made), "model_caption": "A cat."}} if dice.random() < 0.3 else {}),
    }


def _filters(dice: random.Random) -> Filters:
    def some(value: Any, otherwise: Any = None) -> Any:
        return value if dice.random() < 0.35 else otherwise

    id, revision = dice.choice(MODELS)
    return Filters(
        made_by=some(id if dice.random() < 0.5 or revision is None else f"{id}@{revision}"),
        prompt_changed=some(True, False),
        older_than_seconds=some(dice.randint(0, 60) * 86_400.0),
        missing=some(dice.choice(FIELDS)),
        needs_look=some(True, False),
        under=some(dice.choice(["trip", "trip/b", "tri"]), ""),
        field=some(dice.choice(["caption", *FIELDS])),
        edited=some(True, False),
    )


def _oracle(filters: Filters, path: str, told: dict[str, Any], rules: Rules) -> bool:
    """The same question, asked of the JSON in another way."""
    model, reasons = told["model"], []
    if filters.made_by is not None:
        names = [model["id"]] + ([f"{model['id']}@{model['revision']}"] if model["revision"] else [])
        reasons.append(filters.made_by in names)
    if filters.prompt_changed:
        caption, others = [told["prompt"]], {}
        for one in told["asked"]:
            others[one["field"]] = [one["prompt"], *(more["prompt"] for more in one["tries"])]
        asked = {"caption": caption, **others}
        looked_at = [filters.field] if filters.field else list(asked)
        reasons.append(
            any(
                name in asked and name in rules.prompts and rules.prompts[name] not in asked[name]
                for name in looked_at
            )
        )
    if filters.older_than_seconds is not None:
        age = NOW - datetime.fromisoformat(told["created_at"])
        reasons.append(age.total_seconds() > filters.older_than_seconds)
    if filters.missing:
        reasons.append(filters.missing not in told["fields"])
    if filters.needs_look:
        reasons.append("needs_look" in told)
    if filters.under:
        reasons.append((path + "/").startswith(filters.under + "/") and path != filters.under)
    return False not in reasons


def _oracle_of_skips(filters: Filters, told: dict[str, Any], rules: Rules) -> str | None:
    if "edited" in told and not filters.edited:
        return "edited"
    if {filters.field, filters.missing} - {None} - {*rules.prompts}:
        return "not_wanted"
    places = {"caption": "ImageDescription", "title": "dc:title", "alt_text": "AltTextAccessibility"}
    place = places.get(filters.field or "caption")
    kept = [one["target"] for one in told["written"] if one["action"] == "kept"]
    return "kept" if not rules.replaces and place and any(place in one for one in kept) else None


def test_random_filters_choose_what_an_oracle_chooses() -> None:
    """200 random filters over 100 random records each: the same pictures, left out for the same reasons."""
    dice = random.Random(14)
    meant = left_out = 0
    for _ in range(200):
        filters, rules = _filters(dice), _rules(dice)
        for _ in range(100):
            told = _told(dice)
            record: Record = sidecar.decode(as_json(told))
            path = dice.choice(["a.jpg", "trip/a.jpg", "trip/b/a.jpg", "trips/a.jpg", "trip"])
            chosen = are_meant(filters, path, record, rules, NOW)
            assert chosen == _oracle(filters, path, told, rules), (filters, path, told)
            skip = why_left_out(filters, record, rules)
            assert skip == _oracle_of_skips(filters, told, rules), (filters, told)
            meant, left_out = meant + chosen, left_out + (skip is not None)
    assert meant > 1000 and left_out > 1000
