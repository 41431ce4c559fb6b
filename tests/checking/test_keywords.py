"""Promises about keywords: how a list is read, what is folded, what is dropped and why."""

from __future__ import annotations

import pytest

from captiond.checking import KeywordRules, WrongVocabulary, parse
from captiond.checking.plurals import are_forms_of_one

from .asking import judged

VOCABULARY = """
# what our shop sells
animal|dog = hound, doggy
animal|cat
plant|tree|oak      # the only tree
dog = puppy
beach
sea = ocean
"""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("1. violin 2. music stand 3. spotlight", ["violin", "music stand", "spotlight"]),
        ("Here are the keywords: dog, beach, and sea.", ["dog", "beach", "sea"]),
        ("dog, dogs, Dog, horses, horse, babies, baby", ["dog", "horses", "babies"]),
        ('["dog", "beach"]', ["dog", "beach"]),
        ("Sure! Here are some keywords:\n\n* **Dog**\n* **Beach**", ["Dog", "Beach"]),
        ("**Keywords:** dog; beach; sea", ["dog", "beach", "sea"]),
        ("dog | beach | sea", ["dog", "beach", "sea"]),
        ("dog\nbeach\n\nsea\n", ["dog", "beach", "sea"]),
        ("Tags: #dog #beach", ["dog", "beach"]),
        ("(1) dog (2) sea", ["dog", "sea"]),
        ("キーワード：犬、浜辺、海。", ["犬", "浜辺", "海"]),
        ("关键词：狗，沙滩，大海。", ["狗", "沙滩", "大海"]),
        ("・犬\n・海", ["犬", "海"]),
        ("motif - one\nlabels\nsky", ["motif - one", "labels", "sky"]),
        ("3 boats, 4x4, 1920s car", ["3 boats", "4x4", "1920s car"]),
        (
            "T-shirt, rock'n'roll, mother-in-law, U.S.A., p.m.",
            ["T-shirt", "rock'n'roll", "mother-in-law", "U.S.A.", "p.m."],
        ),
        ("bus, iris, grass, gas, glass, bu, iri", ["bus", "iris", "grass", "gas", "glass", "bu", "iri"]),
        ("cafe\u0301, caf\u00e9", ["café"]),
    ],
)
def test_a_list_is_read_however_it_is_written(said: str, words: list[str]) -> None:
    """Commas, lines, numbers, bullets, hashes, quotation marks; each once, as it came first."""
    assert list(judged(said, "keywords").keywords) == words


@pytest.mark.parametrize(
    ("said", "dropped", "reason"),
    [
        ("dog, two dogs running fast", "two dogs running fast", "more than 3 words"),
        (f"dog, {'a' * 65}", "a" * 65, "more than 64 bytes"),
        ("dog, list", "list", "a word of the prompt"),
        ("dog, the", "the", "says nothing by itself"),
        ("dog, None", "None", "says nothing"),
        ("dog\nThere is a dog, which runs.", "There is a dog, which runs.", "a sentence"),
        (
            "犬、公園の芝生の上を元気に走り回っている犬",
            "公園の芝生の上を元気に走り回っている犬",
            "a sentence",
        ),
    ],
)
def test_what_is_dropped_is_told_with_its_reason(said: str, dropped: str, reason: str) -> None:
    """Nothing but duplicates goes without a word."""
    (one,) = judged(said, "keywords").dropped
    assert (one.field, one.text) == ("keywords", dropped) and reason in one.reason


def test_no_more_than_the_most() -> None:
    """The first twelve stay; what comes after them is told."""
    answer = judged(", ".join(f"thing{letter}" for letter in "abcdefghijklmn"), "keywords")
    assert len(answer.keywords) == 12 and [one.text for one in answer.dropped] == ["thingm", "thingn"]


def test_the_last_of_a_list_that_was_cut_is_no_keyword() -> None:
    """The token limit may have left half a word."""
    answer = judged("dog, beach, umbr", "keywords", finish_reason="length")
    assert answer.keywords == ("dog", "beach") and answer.codes == {"cut_off"} and answer.again is None


def test_other_languages_have_no_english_plurals() -> None:
    """`Autos` may stand beside `Auto` in German."""
    assert judged("Auto, Autos", "keywords", language="de").keywords == ("Auto", "Autos")


def test_a_vocabulary_maps_by_exact_synonym_and_singular() -> None:
    """The user's own words and trees come out, each once."""
    rules = KeywordRules(vocabulary=parse(VOCABULARY))
    answer = judged("DOGS, hound, puppies, oaks, oceans, beach, umbrella", "keywords", keywords=rules)
    assert answer.keywords == ("dog", "oak", "sea", "beach", "umbrella")
    assert answer.keyword_paths == ("animal|dog", "plant|tree|oak")


def test_only_the_vocabulary() -> None:
    """`vocabulary_only` drops the rest, and says so."""
    rules = KeywordRules(vocabulary=parse(VOCABULARY), vocabulary_only=True)
    answer = judged("dog, umbrella", "keywords", keywords=rules)
    assert answer.keywords == ("dog",)
    assert [(one.text, one.reason) for one in answer.dropped] == [("umbrella", "not in the vocabulary")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dog\n|cat", 2),
        ("dog = ", 1),
        ("dog = a,,b", 1),
        ("= dog", 1),
        ("a\n\ndog, cat", 3),
        ("animal|bat\nsport|bat", 2),
        ("dog = pet\ncat = pet", 2),
        ("a" * 65, 1),
        ("dog = a = b", 1),
        ("x" * 3000, 1),
    ],
)
def test_a_wrong_line_of_a_vocabulary_is_named(text: str, line: int) -> None:
    """A term that is missing, too long, or would mean two things is refused with its line."""
    with pytest.raises(WrongVocabulary, match=f"line {line}:") as refused:
        parse(text)
    assert refused.value.line == line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\ufeffdog\r\ncat\r\n",
        "# nothing\n\n",
        "dog\ndog",
        "C# # a language",
    ],
)
def test_a_plain_vocabulary_is_read(text: str) -> None:
    """Empty files, byte order marks, Windows' lines, terms that stand twice, and a hash within a word."""
    parse(text)


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("bus", "buses", True),
        ("horse", "horses", True),
        ("baby", "babies", True),
        ("woman", "women", True),
        ("box", "boxes", True),
        ("old leaf", "old leaves", True),
        ("movie", "movies", True),
        ("iri", "iris", False),
        ("gras", "grass", False),
        ("bu", "bus", False),
        ("new", "news", False),
        ("red dog", "blue dogs", False),
    ],
)
def test_english_plurals(one: str, other: str, are_one: bool) -> None:
    """A plural is known by its ending; bus, iris, grass and news are none."""
    assert are_forms_of_one(one, other) is are_one is are_forms_of_one(other, one)
