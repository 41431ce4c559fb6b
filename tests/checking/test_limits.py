"""Promises about length: limits hold, no word is cut, and what the token limit cut ends whole."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from captiond.checking import limits

from .asking import judged

FAMILY = "👨\u200d👩\u200d👧\u200d👦"


@pytest.mark.parametrize(
    ("text", "most", "left"),
    [
        ("One dog runs. Another one sleeps. A third barks at both.", 40, "One dog runs. Another one sleeps."),
        ("Oh. A dog that is called by its owner runs", 30, "Oh."),
        ("A dog, brown and white, runs along the beach at noon", 30, "A dog, brown and white"),
        ("A dog runs along the beach at noon", 20, "A dog runs along the"),
        ("St. Ulrich is 2.5 km away. Dr. Who waits", 30, "St. Ulrich is 2.5 km away."),
        ("A dog (brown, white) runs along the beach", 16, "A dog (brown"),
        ("犬が走る。猫が寝ている。鳥が飛んでいく。", 14, "犬が走る。猫が寝ている。"),
        ("古い商家の土間で前掛けをした店主が味噌樽の蓋を開ける", 10, "古い商家の土間で前掛"),
        ("Extraordinarily", 5, ""),
        (f"Balloon {FAMILY}", 12, "Balloon"),
        ("fits", 4, "fits"),
    ],
)
def test_the_last_sentence_clause_or_word_that_fits(text: str, most: int, left: str) -> None:
    """A sentence wins over a clause and a clause over a word; no ellipsis takes the place of what went."""
    assert limits.shortened(text, most).strip() == left


@given(st.text(), st.integers(1, 60))
def test_a_shortened_text_is_a_beginning_within_its_limit(text: str, most: int) -> None:
    """Whatever the text: no longer than allowed, nothing added, and no grapheme halved."""
    left = limits.shortened(text, most)
    assert len(left) <= most and text.startswith(left)
    assert regex.findall(r"\X", text)[: len(regex.findall(r"\X", left))] == regex.findall(r"\X", left)


@given(st.lists(st.text("abcdéßж", min_size=1, max_size=9), max_size=20), st.integers(1, 60))
def test_no_word_is_cut(words: list[str], most: int) -> None:
    """The words that are left are words that were there."""
    left = limits.shortened(" ".join(words), most).split()
    assert left == words[: len(left)]


def test_a_text_cut_by_tokens_ends_with_its_last_whole_sentence() -> None:
    """Five words are enough to stand alone."""
    answer = judged("A dog runs along the beach. Behind it a", finish_reason="length")
    assert answer.text == "A dog runs along the beach." and answer.codes == {"cut_off"}
    assert answer.again is None and not answer.needs_look


@pytest.mark.parametrize(
    "said", ["A dog runs along the beach and behind it a", "A dog. Behind it runs a man who"]
)
def test_a_text_of_which_nothing_whole_remained_needs_a_look(said: str) -> None:
    """Fewer than five words are not enough: the text stays, and somebody should see it."""
    answer = judged(said, finish_reason="length")
    assert answer.text == said and answer.codes == {"cut_off"} and answer.needs_look


def test_a_whole_text_at_the_token_limit_is_whole() -> None:
    """A text that ends with its sentence lost nothing."""
    assert judged("A dog runs along the beach.", finish_reason="length").findings == ()


def test_words_on_a_sign_are_not_cut_back_to_a_sentence() -> None:
    """Visible text has no sentences; what was read so far is delivered."""
    answer = judged("Fresh bread daily. Open from", "visible_text", finish_reason="length")
    assert answer.text == "Fresh bread daily. Open from" and answer.codes == {"cut_off"}


def test_one_endless_word_cannot_be_delivered() -> None:
    """Where no word fits, nothing does."""
    answer = judged("Donaudampfschifffahrtsgesellschaft", "title", limit_characters=20)
    assert answer.text == "" and not answer.is_usable and answer.again == "shorter"
