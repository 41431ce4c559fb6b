"""Is a text in the wanted language?  Its letters tell, and a library if it has enough words.  Pure.

py3langid ranks 139 languages; only the wanted one and its neighbours are compared, so that a short Portuguese
caption is not taken for Galician.  Its tables (76 MB of memory) are read at the first text for which a
language was wanted, never before.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from captiond.checking import scripts

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

FEWEST_LETTERS = 6  # for the script to count
FEWEST_WORDS = 5  # for the language to count
ENOUGH = 300  # characters that are read to tell the language
FEWEST_HAN = 8  # fewer Han letters without any kana may still be a Japanese name
_SYLLABIC, _LETTERS_PER_SYLLABLE = frozenset(("han", "kana", "hangul")), 3
_ASCII_RUN = re.compile(r"[!-~]+")
_IN_ADDRESS = re.compile(r"@|//|www\.|\w\.\w", re.ASCII)
_KANA_SHARE = 0.15
_SURE, _UNLIKELY = 0.85, 0.03

# For each script, the languages that models answer in.
_NEIGHBOURS = {
    "latin": frozenset(
        (
            "en",
            "de",
            "fr",
            "es",
            "it",
            "pt",
            "nl",
            "da",
            "sv",
            "no",
            "fi",
            "pl",
            "cs",
            "ro",
            "hu",
            "tr",
            "id",
            "vi",
        )
    ),
    "cyrillic": frozenset(("ru", "uk", "bg", "sr")),
    "arabic": frozenset(("ar", "fa", "ur")),
    "han": frozenset(("zh", "ja")),
    "devanagari": frozenset(("hi", "mr", "ne")),
}
_KNOWN_AS = {"nb": "no", "nn": "no", "iw": "he", "in": "id", "cmn": "zh", "yue": "zh"}


def is_wrong(text: str, wanted: str) -> bool:
    """Is it surely in another language than `wanted` (en, pt-BR)?  A text too short to tell is not."""
    if is_in_foreign_letters(text, wanted):
        return True
    language = base_of(wanted)
    return _is_told_by_words(text, language, scripts.of_language(language)[0])


def is_in_foreign_letters(text: str, wanted: str) -> bool:
    """Are most of its letters foreign to the language?  Addresses do not count."""
    letters = scripts.counted(_ASCII_RUN.sub(_unless_address, text))
    if letters.total() < FEWEST_LETTERS:
        return False
    language = base_of(wanted)
    own = scripts.of_language(language)
    mine = sum(times for script, times in letters.items() if script in own)
    foreign = letters.total() - mine
    if own[0] in _SYLLABIC:  # one syllabic letter says as much as several of an alphabet
        mine *= _LETTERS_PER_SYLLABLE
    is_japanese = language == "zh" and letters["kana"] > letters.total() * _KANA_SHARE
    return foreign > mine or is_japanese


def _unless_address(run: re.Match[str]) -> str:
    return " " if _IN_ADDRESS.search(run[0]) else run[0]


def base_of(language: str) -> str:
    """`pt` for pt-BR."""
    base = language.replace("_", "-").partition("-")[0].casefold()
    return _KNOWN_AS.get(base, base)


def _is_told_by_words(text: str, language: str, script: str) -> bool:
    if language == "ja":
        letters = scripts.counted(text)
        if letters["kana"] or letters["han"] < FEWEST_HAN:
            return False
    elif scripts.word_count(text) < FEWEST_WORDS:
        return False
    among = _NEIGHBOURS.get("han" if language == "ja" else script, frozenset())
    chances = dict(_identifier().rank(text[:ENOUGH]))
    if language not in chances or not among - {language}:
        return False
    compared = {one: chances[one] for one in among | {language} if one in chances}
    whole = sum(compared.values()) or 1.0
    best = max(compared.values()) / whole
    return bool(best >= _SURE and compared[language] / whole <= _UNLIKELY)


@cache
def _identifier() -> LanguageIdentifier:
    # Imported here: with numpy it takes a sixth of the time in which a command that asks nothing starts.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
