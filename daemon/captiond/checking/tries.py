"""Decides which of several answers is the best, and what to ask next; it does not ask.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from babel import Locale, UnknownLocaleError

from captiond.checking import phrases, scripts
from captiond.checking.records import Code, Judged, Question

Why = Literal["another", "plain", "shorter"]
WARMER = 0.7
_CHARACTERS_PER_WORD = 6.5  # with its blank, on average over European languages
_FEWEST_WORDS = 3

# What each fault costs an answer when the best of several is chosen.
_COSTS: dict[Code, int] = {
    "invalid_json": 1000,
    "empty": 1000,
    "refusal": 500,
    "loop": 200,
    "echo": 150,
    "wrong_language": 100,
    "banned": 60,
    "contact_details": 20,
    "cut_off": 15,
    "too_long": 12,
    "shortened": 8,
    "camera_jargon": 6,
    "same_as_caption": 4,
    "quoted_text": 1,
    "low_information": 0,  # the picture's fault, not the answer's
}
_UNUSABLE_COST = 2000
_HALF_COST = 40  # no whole sentence remained


@dataclass(frozen=True, slots=True)
class Ask:
    """How one question is asked again."""

    why: Why
    prompt: str
    temperature: float
    seed: int


def cost(judged: Judged) -> int:
    """The less, the better: 0 for an answer without a fault."""
    told = sum(_COSTS[code] for code in judged.codes)
    return told + (not judged.is_usable) * _UNUSABLE_COST + (not judged.is_whole) * _HALF_COST


def best(candidates: Sequence[Judged]) -> Judged:
    """The answer with the fewest and mildest faults; of equals the one that came first.

    Raises: ValueError, if there are none.
    """
    return min(candidates, key=cost)


def next_request(tries: Sequence[Judged], question: Question, *, most: int) -> Ask | None:
    """What to ask after these answers; None if one is good enough, or `most` second tries are used up.

    If an answer is far too long, fewer words are asked for.  Otherwise another temperature and seed come
    first, and after them the plain prompt.
    """
    second_tries = len(tries) - 1
    if not tries or second_tries >= most or any(one.again is None for one in tries):
        return None
    seed = second_tries + 1
    if tries[-1].again == "shorter":
        return Ask("shorter", _with_fewer_words(question), WARMER if second_tries else 0.0, seed)
    is_plain_next = second_tries >= 1 and question.plain_prompt not in {None, question.prompt}
    if is_plain_next and question.plain_prompt is not None:
        return Ask("plain", question.plain_prompt, 0.0 if second_tries == 1 else WARMER, seed)
    return Ask("another", question.prompt, WARMER, seed)


def _with_fewer_words(question: Question) -> str:
    told = phrases.sentence(question.language, "fewer_words").format(words=_words_that_fit(question))
    return f"{question.prompt.rstrip()} {told}"


def _words_that_fit(question: Question) -> int:
    """A few words less than the limit holds, since models count badly."""
    limit = question.limit_characters or 0
    is_unspaced = scripts.of_language((question.language or "en").partition("-")[0].casefold())[0] in {
        "han",
        "kana",
        "thai",
    }
    each = 1.25 if is_unspaced else _CHARACTERS_PER_WORD
    return max(_FEWEST_WORDS, int(limit / each * 0.8))


def answer_in(language: str) -> str:
    """The sentence that asks for a language (en, pt-BR), in that language and by its own name."""
    return phrases.sentence(language, "answer_in").format(language=_own_name(language))


def _own_name(language: str) -> str:
    try:
        return Locale.parse(language, sep="-").get_display_name() or language
    except (ValueError, UnknownLocaleError):
        return language
