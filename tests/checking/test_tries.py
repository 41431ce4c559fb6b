"""Promises about several answers: what is asked next, which is the best, and when a server is suspicious."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.checking import Field, Question, Repeats, are_one, best, next_request, schema, taken_apart

from .asking import PROMPT, judged

PLAIN = "Say what the picture shows."
REFUSAL = judged("I'm sorry, but I can't describe this image.")
LOOP = judged("no " * 20)
GOOD = judged("A dog runs along the beach.")
LONG = judged(
    "A dog with a red collar runs along a beach at sunset and barks at the waves.", limit_characters=40
)


def question(**more: object) -> Question:
    return Question("caption", PROMPT, plain_prompt=PLAIN, **more)  # type: ignore[arg-type]


def test_a_good_answer_is_not_asked_again() -> None:
    """One that will do is enough."""
    assert next_request([GOOD], question(), most=2) is None
    assert next_request([REFUSAL, GOOD], question(), most=2) is None


def test_first_another_temperature_then_the_plain_prompt() -> None:
    """Two second tries, and no third."""
    first, second = (
        next_request([REFUSAL], question(), most=2),
        next_request([REFUSAL] * 2, question(), most=2),
    )
    assert first is not None and second is not None
    assert (first.why, first.prompt) == ("another", PROMPT) and first.temperature > 0
    assert (second.why, second.prompt) == ("plain", PLAIN) and second.seed != first.seed
    assert next_request([REFUSAL] * 3, question(), most=2) is None
    assert next_request([REFUSAL], question(), most=0) is None


def test_the_plain_prompt_is_not_asked_twice() -> None:
    """Where the prompt is the plain one already, another seed is tried."""
    asked = next_request([REFUSAL] * 2, Question("caption", PLAIN, plain_prompt=PLAIN), most=2)
    assert asked is not None and asked.why == "another"


@pytest.mark.parametrize(
    ("language", "said"), [(None, "at most"), ("de-CH", "höchstens"), ("ja", "語以内"), ("xx", "at most")]
)
def test_fewer_words_are_asked_for_in_the_language_of_the_answer(language: str | None, said: str) -> None:
    """Far too long: the same prompt, and a sentence with a number of words that fits."""
    asked = next_request([LONG], question(language=language, limit_characters=125), most=2)
    assert (
        asked is not None
        and asked.why == "shorter"
        and asked.prompt.startswith(PROMPT)
        and said in asked.prompt
    )


def test_the_best_answer_has_the_fewest_and_mildest_faults() -> None:
    """A loop is better than a refusal, a long text better than both; of equals the first counts."""
    assert best([REFUSAL, LOOP]) is LOOP
    assert best([REFUSAL, LONG, LOOP]) is LONG
    assert best([LONG, GOOD]) is GOOD
    other = judged("A cat sleeps.")
    assert best([GOOD, other]) is GOOD


def told(repeats: Repeats, answer: str, pictures: range, server: str = "") -> list[int]:
    """The pictures at which a test is asked for."""
    return [number for number in pictures if repeats.should_test(answer, str(number), server)]


def test_four_different_pictures_with_one_answer_are_suspicious() -> None:
    """The fourth asks for a test; the same answer in other words for case and punctuation counts as one."""
    repeats = Repeats(4)
    assert told(repeats, "A white page.", range(3)) == []
    assert repeats.should_test("a white page", "3")


def test_a_hundred_blank_scans_are_tested_a_few_times() -> None:
    """While the test pictures are told apart, each test waits for twice as many pictures."""
    assert told(Repeats(4), "A white page.", range(100)) == [3, 7, 15, 31, 63]


def test_the_same_picture_again_says_nothing_new() -> None:
    """A picture that is tried three times is one picture."""
    repeats = Repeats(2)
    assert not any(repeats.should_test("A page.", "same") for _ in range(10))


def test_another_answer_begins_anew() -> None:
    """Four in a row, not four in all; each server by itself."""
    repeats = Repeats(3)
    assert told(repeats, "A page.", range(2)) == [] and told(repeats, "A dog.", range(2, 3)) == []
    assert (
        told(repeats, "A page.", range(3, 5)) == [] and told(repeats, "A page.", range(5, 7), "other") == []
    )
    assert told(repeats, "A page.", range(7, 8)) == [7]


@pytest.mark.parametrize("limit", [None, 0])
def test_no_limit_never_suspects(limit: int | None) -> None:
    """The check can be switched off."""
    assert told(Repeats(limit), "A page.", range(50)) == []


def test_a_server_that_is_forgotten_begins_anew() -> None:
    """After a pause nothing of before counts."""
    repeats = Repeats(2)
    repeats.should_test("A page.", "1")
    repeats.forget()
    assert not repeats.should_test("A page.", "2")


def test_two_test_pictures_with_one_answer_settle_it() -> None:
    """The same words, whatever their case and punctuation; two empty answers are one, too."""
    assert are_one("A page.", "a page") and are_one("", " ") and not are_one("A circle.", "A square.")


FIELDS: tuple[Field, ...] = ("caption", "title")
OBJECT = '{"caption": "A dog.", "title": "Dog"}'


@pytest.mark.parametrize(
    "said", [OBJECT, f"```json\n{OBJECT}\n```", f"<think>Hm.</think>\n{OBJECT}<|im_end|>", f" {OBJECT}\n"]
)
def test_one_object_answers_several_questions(said: str) -> None:
    """A fence, thoughts and end tokens are taken away as from any answer."""
    assert taken_apart(said, FIELDS) == {"caption": "A dog.", "title": "Dog"}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "A dog.",
        '{"caption": "A dog."}',
        '{"caption": "A dog.", "title": null}',
        '{"caption": "A dog.", "title": ["Dog"]}',
        '["A dog.", "Dog"]',
        OBJECT[:-5],
        f"Sure: {OBJECT}",
        f"{OBJECT} {OBJECT}",
        '{"caption": "A dog.", "caption": "A cat.", "title": "Dog"}',
        "[" * 5000,
    ],
)
def test_whatever_else_is_no_answer(said: str) -> None:
    """It is not guessed at: the questions are asked one by one."""
    assert taken_apart(said, FIELDS) is None


@given(st.text(max_size=300))
def test_taking_apart_never_raises(said: str) -> None:
    """Whatever comes over the wire."""
    taken_apart(said, FIELDS)
    taken_apart("{" + said, FIELDS)


def test_the_schema_demands_all_fields_as_strings() -> None:
    """What a constraining server is given."""
    made = schema(FIELDS)
    assert made["required"] == list(FIELDS) and made["additionalProperties"] is False
