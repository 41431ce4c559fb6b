"""Promises about the corpus of answers itself: the checks of texts are measured with it, so it must be right.

Nothing here judges an answer, and no failure prints one: whoever makes the rules may run this file, and must
not read the unseen half.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
HALVES = ("seen", "unseen")
Record = dict[str, Any]
FIELDS = {"caption", "alt_text", "title", "keywords", "visible_text", "together"}
LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "ja", "zh")
FIXED_SILENTLY = None
CODES = {  # each code that the corpus knows, and what is done about it
    FIXED_SILENTLY: {"fix"},
    "cut_off": {"fix", "note"},
    "shortened": {"fix"},
    "refusal": {"again"},
    "echo": {"again"},
    "loop": {"again"},
    "wrong_language": {"again"},
    "too_long": {"again"},
    "banned": {"again"},
    "empty": {"again"},
    "invalid_json": {"again"},
    "contact_details": {"note"},
    "camera_jargon": {"note"},
    "quoted_text": {"note"},
    "same_as_caption": {"note"},
}
ALWAYS: dict[str, Any] = {
    "id": str,
    "kind": str,
    "language": str,
    "field": str,
    "prompt": str,
    "wanted_language": (str, type(None)),
    "limit_characters": (int, type(None)),
    "finish_reason": str,
    "text": str,
    "expect": dict,
}
SOMETIMES: dict[str, Any] = {"banned": list, "caption": str, "wanted": list}


@cache
def records(half: str, sort: str) -> tuple[Record, ...]:
    lines = (HERE / half / f"{sort}.jsonl").read_text("utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def all_of(sort: str) -> tuple[Record, ...]:
    return records("seen", sort) + records("unseen", sort)


def counted(some: tuple[Record, ...], key: str) -> Counter[str]:
    return Counter(one[key] for one in some)


def is_answer(field: str, answer: object) -> bool:
    """True where `answer` is what a field can hold: one line in NFC, a list of such, or an object of them."""
    if field == "keywords":
        return isinstance(answer, list) and answer != [] and all(is_answer("caption", one) for one in answer)
    if field == "together":
        return isinstance(answer, dict) and all(is_answer("caption", one) for one in answer.values())
    if not isinstance(answer, str) or unicodedata.normalize("NFC", answer) != answer:
        return False
    return answer == " ".join(answer.split())


def has_its_fields(one: Record) -> bool:
    kinds = ALWAYS | SOMETIMES
    if not ALWAYS.keys() <= one.keys() <= kinds.keys():
        return False
    if not all(isinstance(value, kinds[key]) for key, value in one.items()):
        return False
    known = one["field"] in FIELDS and one["finish_reason"] in {"stop", "length"}
    return known and ("wanted" in one) == (one["field"] == "together")


def names_its_fault(one: Record) -> bool:
    expect = one["expect"]
    if not {"code", "verdict"} <= expect.keys() <= {"code", "verdict", "fixed"}:
        return False
    return expect["verdict"] in CODES[expect["code"]] and ("fixed" in expect) == (expect["verdict"] == "fix")


def fits(one: Record, text: object) -> bool:
    limit = one["limit_characters"]
    return limit is None or not isinstance(text, str) or len(text) <= limit


def comes_out_whole(one: Record) -> bool:
    expect = one["expect"]
    if not {"text"} <= expect.keys() <= {"text", "may_note"}:
        return False
    if any(CODES[code] != {"note"} for code in expect.get("may_note", [])):
        return False
    text = expect["text"]
    line = unicodedata.normalize("NFC", " ".join(one["text"].split()))
    is_same = text == line if isinstance(text, str) else one["field"] in {"keywords", "together"}
    return is_same and is_answer(one["field"], text) and fits(one, one["text"])


@pytest.mark.parametrize("sort", ["bad", "good"])
def test_every_record_has_the_fields_it_promises_and_no_others(sort: str) -> None:
    """A record holds what the README says, each value of its type."""
    wrong = [one["id"] for one in all_of(sort) if not has_its_fields(one)]
    assert not wrong


def test_every_bad_answer_names_a_known_code_and_what_is_done() -> None:
    """A code goes with its verdict; an answer that is fixed, and no other, says what comes out."""
    wrong = [one["id"] for one in all_of("bad") if not names_its_fault(one)]
    assert not wrong


def test_what_a_fix_leaves_is_a_changed_text_within_its_limit() -> None:
    """What comes out of a fix is whole, differs from the answer, and is no longer than the field allows."""
    fixed = [(one, one["expect"]["fixed"]) for one in all_of("bad") if one["expect"]["verdict"] == "fix"]
    right = [is_answer(one["field"], text) and text != one["text"] and fits(one, text) for one, text in fixed]
    wrong = [one["id"] for (one, _), is_right in zip(fixed, right, strict=True) if not is_right]
    assert not wrong


def test_every_good_answer_comes_out_whole() -> None:
    """What comes out of a good answer holds all its words, fits, and may at most be noted."""
    wrong = [one["id"] for one in all_of("good") if not comes_out_whole(one)]
    assert not wrong


def test_ids_are_unique() -> None:
    """An id names one record of the whole corpus."""
    ids = Counter(one["id"] for sort in ("bad", "good") for one in all_of(sort))
    twice = [id for id, times in ids.items() if times > 1]
    assert not twice


@pytest.mark.parametrize("sort", ["bad", "good"])
def test_no_answer_stands_twice(sort: str) -> None:
    """The halves share no answer, so that a rule made for one half is measured by the other.

    Empty answers alone are all the same.
    """
    said = [one for one in all_of(sort) if one["text"].strip()]
    texts = Counter((one["field"], one["text"]) for one in said)
    twice = [one["id"] for one in said if texts[one["field"], one["text"]] > 1]
    assert not twice


@pytest.mark.parametrize("sort", ["bad", "good"])
@pytest.mark.parametrize(("key", "most"), [("kind", 1), ("language", 2)])
def test_the_halves_are_alike(sort: str, key: str, most: int) -> None:
    """Each kind and each language stands in both halves, in numbers that hardly differ."""
    seen, unseen = (counted(records(half, sort), key) for half in HALVES)
    assert seen.keys() == unseen.keys()
    assert all(abs(seen[name] - unseen[name]) <= most for name in seen)


def test_there_is_enough_of_everything() -> None:
    """Eight languages with at least 50 bad and 50 good answers each, and at least 420 of both in all."""
    for sort in ("bad", "good"):
        languages = counted(all_of(sort), "language")
        assert languages.total() >= 420
        assert all(languages[language] >= 50 for language in LANGUAGES)


def table(left: Counter[str], right: Counter[str]) -> set[tuple[str, ...]]:
    return {(name, str(left[name]), str(right[name])) for name in left | right}


def test_the_readme_counts_what_is_there() -> None:
    """The README's tables of languages and kinds are those of the files."""
    lines = (HERE / "README.md").read_text("utf-8").splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    told = {tuple(cell.strip(" `") for cell in row) for row in rows}
    there = table(*(counted(all_of(sort), "language") for sort in ("bad", "good")))
    for sort in ("bad", "good"):
        there |= table(*(counted(records(half, sort), "kind") for half in HALVES))
    assert {row for row in told if row[1].isdigit()} == there
