"""Promises about which pictures a redo means: exactly those that every filter names."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from captiond import sidecar
from captiond.commands import redo as again
from captiond.exiftool import Exiftool
from captiond.libraries import MARKER
from captiond.names import utc_text
from captiond.records import Limits, Rules
from captiond.redo.filters import Filters, are_meant, why_left_out
from captiond.service.rules import RuleBook
from captiond.settings import Settings, load
from captiond.sidecar import Record
from captiond.sidecar.plain import as_json

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
MODELS = [("demo", None), ("phi", "abc"), ("phi", "def"), ("phi@abc", None)]
# In done/, and in the library `photos`.
PATHS = ["a.jpg", "trip/a.jpg", "trip/b/a.jpg", "trips/a.jpg", "trip", "photos/a.jpg", "photos/trip/b/a.jpg"]
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
        under=some(dice.choice(["trip", "trip/b", "tri", "photos", "photos/trip"]), ""),
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
            path = dice.choice(PATHS)
            chosen = are_meant(filters, path, record, rules, NOW)
            assert chosen == _oracle(filters, path, told, rules), (filters, path, told)
            skip = why_left_out(filters, record, rules)
            assert skip == _oracle_of_skips(filters, told, rules), (filters, told)
            meant, left_out = meant + chosen, left_out + (skip is not None)
    assert meant > 1000 and left_out > 1000


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_random_filters_choose_among_files_what_an_oracle_chooses(
    tmp_path: Path, *, is_mirrored: bool
) -> None:
    """By real sidecars in done/ and in a library, beside its pictures or in a mirror: each picture, once."""
    dice, settings = random.Random(15), _laid_out(tmp_path, is_mirrored=is_mirrored)
    pictures = {path: _put(tmp_path, path, dice, is_mirrored=is_mirrored) for path in _paths()}
    rules = RuleBook(settings, Exiftool()).of("")
    meant = 0
    for _ in range(60):
        filters = replace(_filters(dice), older_than_seconds=None)  # the command has a clock of its own
        plans = again.planned(settings, filters, tmp_path)
        expected = {path for path, told in pictures.items() if _oracle(filters, path, told, rules)}
        left_out = Counter(
            skip for path in expected if (skip := _oracle_of_skips(filters, pictures[path], rules))
        )
        chosen = [path for plan in plans for path, _ in plan.chosen]
        assert sum((plan.skipped for plan in plans), Counter()) == left_out, filters
        assert sorted(chosen) == sorted(
            path for path in expected if _oracle_of_skips(filters, pictures[path], rules) is None
        ), filters
        for plan in plans:
            is_library = plan.library == "photos"
            assert all(path.startswith("photos/") == is_library for path, _ in plan.chosen), filters
        meant += len(chosen)
    assert meant > 100


def _paths() -> list[str]:
    folders = ("", "trip/", "trip/b/", "trips/", ".hidden/")
    return [f"{top}{folder}{n}.jpg" for top in ("", "photos/") for folder in folders for n in range(3)]


def _laid_out(root: Path, *, is_mirrored: bool) -> Settings:
    for name in ("inbox", "done", "failed", "state", "photos", "mirror"):
        (root / name).mkdir()
    (root / "photos" / MARKER).write_text("")
    library = {"name": "photos", "path": str(root / "photos")}
    values = {
        "folders": {name: str(root / name) for name in ("inbox", "done", "failed", "state")},
        "fields": {"wanted": ["caption", "alt_text", "title"]},
        "libraries": [library | ({"sidecars": str(root / "mirror")} if is_mirrored else {})],
    }
    file = root / "captiond.yaml"
    file.write_text(json.dumps(values))
    return load(file, {}, root)


def _put(root: Path, path: str, dice: random.Random, *, is_mirrored: bool) -> dict[str, Any]:
    """A picture and its sidecar; what that says."""
    picture = root / path if path.startswith("photos/") else root / "done" / path
    record = (
        root / "mirror" / path.removeprefix("photos/") if is_mirrored and picture == root / path else picture
    )
    for file in (picture, record):
        file.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(path.encode())
    told = _told(dice)
    told["published"] = {"sha256": hashlib.sha256(path.encode()).hexdigest()}
    record.with_name(f"{record.name}.caption.json").write_bytes(as_json(told))
    return told
