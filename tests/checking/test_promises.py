"""Promises that hold for any text at all: nothing raises, limits hold, judging twice is judging once."""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captiond import characters
from captiond.checking import Banned, Facts, Question, judge

from .asking import PROMPT

# What answers are made of, so that odd ones are met more often than by chance.
PIECES = st.sampled_from(
    [
        *[
            "A dog runs.",
            "a",
            "b ",
            ". ",
            ", ",
            "; ",
            ": ",
            "\n",
            "\n\n",
            "**",
            "*",
            "_",
            "__",
            "`",
            "```",
            "# ",
            "- ",
        ],
        *[
            "> ",
            "1. ",
            '"',
            "'",
            "“",
            "”",
            "«",
            "»",
            "「",
            "」",
            "<think>",
            "</think>",
            "<|im_end|>",
            "</s>",
            "[INST]",
        ],
        *[
            "Caption: ",
            "The image shows ",
            "In the image, ",
            "Sure! ",
            "Here is the caption: ",
            "User: ",
            "###",
        ],
        *[
            "I'm sorry, ",
            "I cannot ",
            "help with this image",
            "&amp;",
            "&lt;",
            "&#38;",
            "&",
            ";",
            "amp;",
            "<br>",
        ],
        *[
            "图片中",
            "一只猫",
            "。",
            "，",
            "ラーメン",
            "é",
            "e\u0301",
            "\u200d",
            "👨\u200d👩\u200d👧",
            "\x1b[1m",
            "\ufffe",
            "\ud800",
        ],
        *[
            "020 7946 0958",
            "www.a.example",
            "f/4 ",
            "ISO 800 ",
            "\\boxed{",
            "}",
            "[a](http://b)",
            "St. ",
            "(",
            ")",
        ],
        *["…", "no ", "|", PROMPT],
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=25).map("".join))
FIELDS = st.sampled_from(["caption", "alt_text", "title", "keywords", "visible_text"])
LANGUAGES = st.sampled_from([None, "en", "de", "pt-BR", "ja", "zh", "xx"])
LIMITS = st.sampled_from([None, 1, 10, 40, 125])
BANNED = Banned.of(["dog", "/(a+)+$/"])


def questions(field: Any, language: str | None, limit: int | None) -> Question:
    return Question(field, PROMPT, language=language, limit_characters=limit, banned=BANNED)


@given(TEXTS, FIELDS, LANGUAGES, LIMITS, st.sampled_from(["stop", "length", "odd"]))
def test_whatever_is_said_is_judged(
    said: str, field: str, language: str | None, limit: int | None, finish_reason: str
) -> None:
    """No text raises; what comes out is one clean line within its limit, and usable texts are not empty."""
    answer = judge(
        said, questions(field, language, limit), finish_reason=finish_reason, facts=Facts(caption=said)
    )
    assert answer.text == " ".join(characters.line(answer.text).split())
    assert unicodedata.is_normalized("NFC", answer.text)
    assert limit is None or field == "keywords" or len(answer.text) <= limit
    assert answer.text or not answer.is_usable or field == "visible_text"
    assert all(finding.field == field for finding in answer.findings)
    assert len(answer.keywords) <= 12 and all(len(one.encode()) <= 64 for one in answer.keywords)


@settings(max_examples=300)
@given(TEXTS, FIELDS.filter(lambda field: field != "keywords"), LIMITS)
def test_judging_twice_is_judging_once(said: str, field: str, limit: int | None) -> None:
    """What came out is taken as it is when it comes back."""
    question = questions(field, None, limit)
    once = judge(said, question, finish_reason="length")
    twice = judge(once.text, question)
    assert twice.text == once.text


@given(st.lists(st.text("abcdé s'-犬海", min_size=1, max_size=12), max_size=30))
def test_keywords_judged_twice_are_the_same(said: list[str]) -> None:
    """A list of keywords that came out is taken as it is when it comes back."""
    once = judge(", ".join(said), questions("keywords", None, None))
    assert judge(once.text, questions("keywords", None, None)).keywords == once.keywords


HOSTILE = [
    "a",
    "<",
    "*a ",
    "> ",
    '"',
    "’",
    "«",
    "a-",
    "via a ",
    "1 a ",
    "\n",
    "caption: ",
    "&amp;",
    "[a](",
    "🏴",
    "哈",
    "- ",
    "<think>",
    "think<<<<<<<<",
    "&lt;/end_of_",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_answer_takes_no_time(piece: str) -> None:
    """A megabyte of anything is judged in less than a second, on a busy machine."""
    question = questions("caption", "en", 125)
    judge("A dog runs over the beach.", question)  # the tables are read once
    begun = time.process_time()
    judge(piece * (1_000_000 // len(piece)), question, finish_reason="length")
    assert time.process_time() - begun < 1.0
