"""What makes an answer worth asking again: a refusal, an echo of the prompt, a loop.  Pure."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from functools import cache

from captiond.checking import phrases, scripts
from captiond.checking.phrases import any_of

_LOOKED_AT = 300  # characters at the beginning, where a refusal stands
_NEAR = 140  # characters between "I cannot" and what it is about
_GRAM, _TIMES = 4, 3  # a loop: so many words in a row, so often
_RATIO, _LONG_BYTES = 4.0, 200  # a loop: zlib makes less than a quarter of more than 200 bytes
_RUN = re.compile(r"(\S)\1{24,}|(\S{2,12}?)\2{11,}")
_UNSPACED_TIMES = re.compile(rf"((?=.{{0,30}}?[{scripts.UNSPACED}]).{{6,80}}?)\1\1")
_ECHO_WORDS = 4
_ECHO_SHARE = 0.6  # of the prompt's words, if the answer is a part of it
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


def is_refusal(text: str) -> bool:
    """Does it begin by refusing?  "Unable to" may be honest later on."""
    start = text[:_LOOKED_AT].lstrip("\"'“«「¡¿*( ")
    return any(pattern.match(start) for pattern in _refusals())


@cache
def _refusals() -> tuple[re.Pattern[str], ...]:
    """One pattern for each language, since "no" in one is a word of another."""
    return tuple(_refusal(language) for language in phrases.languages())


def _refusal(language: str) -> re.Pattern[str]:
    def words(key: str) -> str:
        return any_of(phrases.of(language, f"refusal.{key}"))

    sorry, machine, cannot, matters, no_picture = (
        words(key) for key in ("apologies", "machine", "cannot", "matters", "no_picture")
    )
    about = rf"[^\n]{{0,{_NEAR}}}?(?<!\w)(?:{matters})" if phrases.of(language, "refusal.matters") else _NEVER
    if _is_unspaced(language):
        about = about.replace(r"(?<!\w)", "")
    is_far = rf"[^\n]{{0,{_NEAR}}}?"
    edge = "" if _is_unspaced(language) else r"(?<!\w)"
    return re.compile(
        rf"(?:{sorry}){is_far}{edge}(?:{cannot}|{no_picture}|{machine})"
        rf"|(?:{machine})|(?:{no_picture})|(?:{cannot}){about}|(?:{sorry})[.!…。！]*\Z",
        re.IGNORECASE,
    )


_NEVER = r"(?!)"


def _is_unspaced(language: str) -> bool:
    return language in {"ja", "zh", "th", "ko"}  # Korean glues its endings on


def echo_of(text: str, prompt: str) -> str | None:
    """What remains of `text` behind an echo of `prompt`; None if it is no echo."""
    said, asked = scripts.words(text), scripts.words(prompt)
    if not said or not asked:
        return None
    if said == asked or _is_part(said, asked):
        return ""
    for sentence in (prompt, *_SENTENCE.split(prompt)):
        begin = scripts.words(sentence)
        if len(begin) >= _ECHO_WORDS and said[: len(begin)] == begin:
            rest = _behind(text, sentence)
            return rest if rest is not None else ""
    return None


def _is_part(said: list[str], asked: list[str]) -> bool:
    """Is it a run of the prompt's own words, and long enough for an echo?"""
    if len(said) < _ECHO_WORDS or len(said) < len(asked) * (1 - _ECHO_SHARE):
        return False
    first = said[0]
    return any(asked[at : at + len(said)] == said for at, word in enumerate(asked) if word == first)


def _behind(text: str, sentence: str) -> str | None:
    """`text` without `sentence` at its beginning, if it stands there letter by letter."""
    bare = sentence.strip().rstrip(".!?。！？")
    if not text.casefold().startswith(bare.casefold()) or len(bare.casefold()) != len(bare):
        return None
    return text[len(bare) :].lstrip(" .!?。！？:：\n")


def is_loop(text: str) -> bool:
    """Does it repeat itself: four words three times, a syllable without end, or hardly any new words?"""
    if _RUN.search(text) or is_compressible(text, _RATIO):
        return True
    if scripts.has_unspaced(text) and _UNSPACED_TIMES.search(text):
        return True
    words = [word for word in scripts.words(text) if not scripts.is_unspaced(word[0])]
    grams = Counter(zip(*(words[at:] for at in range(_GRAM)), strict=False))
    return any(times >= _TIMES for times in grams.values())


def is_compressible(text: str, ratio: float) -> bool:
    data = text.encode("utf-8", "replace")
    return len(data) > _LONG_BYTES and len(data) > ratio * len(zlib.compress(data))
