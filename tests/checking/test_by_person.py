"""Promises about what a person writes in the place of a model's texts: kept as it is, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from captiond.checking.by_person import Unfit, changed, differs
from captiond.records import Limits, Texts

LIMITS = Limits(caption=50, alt_text=30, title=20, keywords=3, visible_text=40)
TEXTS = Texts("A dog.", "A dog, running.", "Dog", ("dog", "Beach"), ("animal|dog",), "EXIT")


def test_what_is_not_named_stays() -> None:
    """Only the named texts change; none, where nothing is named."""
    assert changed(TEXTS, {}, LIMITS) == TEXTS
    assert changed(TEXTS, {"title": "Rex"}, LIMITS) == Texts(
        "A dog.", "A dog, running.", "Rex", ("dog", "Beach"), ("animal|dog",), "EXIT"
    )


@pytest.mark.parametrize("name", ["alt_text", "title", "visible_text", "keywords"])
def test_a_text_can_be_taken_away(name: Any) -> None:
    """By null; but for words in the picture, an empty one is none as well."""
    assert not getattr(changed(TEXTS, {name: None}, LIMITS), name)
    emptied = changed(TEXTS, {name: [] if name == "keywords" else " "}, LIMITS)
    assert getattr(emptied, name) == {"keywords": (), "visible_text": ""}.get(name)


def test_keywords_are_cleaned_and_keep_their_trees() -> None:
    """Each once, the first spelling; a path stays while its keyword does."""
    new = changed(TEXTS, {"keywords": ["  Dog ", "dog", "", "sea\u200b"]}, LIMITS)
    assert (new.keywords, new.keyword_paths) == (("Dog", "sea"), ("animal|dog",))
    assert changed(TEXTS, {"keywords": ["sea"]}, LIMITS).keyword_paths == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"caption": None}, "at least one word"),
        ({"caption": " \u200b"}, "at least one word"),
        ({"caption": "x" * 51}, "at most 50 characters, and this has 51"),
        ({"alt_text": "x" * 31}, "alt text has at most 30"),
        ({"title": "x" * 21}, "title has at most 20"),
        ({"visible_text": "x" * 41}, "visible text has at most 40"),
        ({"keywords": list("abcd")}, "at most 3 keywords, and these are 4"),
        ({"keywords": ["ä" * 33]}, "at most 64 bytes"),
        ({"keywords": ["a; b"]}, "no semicolon"),
        ({"keywords": "dog"}, "list"),
        ({"title": ["dog"]}, "one text"),
        ({"title": "\ud800"}, "surrogate"),
        ({"keywords": ["\udfff"]}, "surrogate"),
    ],
)
def test_what_is_over_a_limit_is_refused(changes: Any, reason: str) -> None:
    """It is told, and never cut."""
    with pytest.raises(Unfit, match=reason):
        changed(TEXTS, changes, LIMITS)


def test_what_stays_is_held_to_no_limit() -> None:
    """A lowered limit keeps nobody from changing another text."""
    long = Texts("A dog.", "x" * 200, keywords=tuple("abcde"))
    changes: Any = {"alt_text": "x" * 200, "keywords": list("abcde"), "title": "Rex"}
    assert changed(long, changes, LIMITS).title == "Rex"


def test_what_somebody_believes_is_compared() -> None:
    """Lists and tuples are the same, and so are no title and an empty one."""
    assert not differs(TEXTS, {"caption": "A dog.", "keywords": ["dog", "Beach"]})
    assert differs(TEXTS, {"keywords": ["dog"]})
    assert not differs(Texts("A dog."), {"title": "", "keywords": None, "visible_text": None})
    assert differs(Texts("A dog."), {"visible_text": ""})
