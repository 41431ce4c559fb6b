"""Which script a letter belongs to, and what a word is if words have no spaces between them.  Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

_NAMES = {
    "LATIN": "latin",
    "FULLWIDTH": "latin",
    "CYRILLIC": "cyrillic",
    "GREEK": "greek",
    "ARABIC": "arabic",
    "HEBREW": "hebrew",
    "CJK": "han",
    "HIRAGANA": "kana",
    "KATAKANA": "kana",
    "HALFWIDTH": "kana",
    "HANGUL": "hangul",
    "THAI": "thai",
    "DEVANAGARI": "devanagari",
    "BENGALI": "bengali",
    "TAMIL": "tamil",
    "TELUGU": "telugu",
    "GEORGIAN": "georgian",
    "ARMENIAN": "armenian",
}
_OF_LANGUAGES = {
    "ru": ("cyrillic",),
    "uk": ("cyrillic",),
    "be": ("cyrillic",),
    "bg": ("cyrillic",),
    "mk": ("cyrillic",),
    "kk": ("cyrillic", "latin"),
    "mn": ("cyrillic",),
    "sr": ("cyrillic", "latin"),
    "el": ("greek",),
    "ar": ("arabic",),
    "fa": ("arabic",),
    "ur": ("arabic",),
    "ps": ("arabic",),
    "he": ("hebrew",),
    "zh": ("han",),
    "ja": ("kana", "han"),
    "ko": ("hangul", "han"),
    "th": ("thai",),
    "hi": ("devanagari",),
    "mr": ("devanagari",),
    "ne": ("devanagari",),
    "bn": ("bengali",),
    "ta": ("tamil",),
    "te": ("telugu",),
    "ka": ("georgian",),
    "hy": ("armenian",),
}
# Han, kana, Thai, Lao, Khmer and Burmese: written without spaces between words.
UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
UNSPACED += "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
# A letter or digit of a script with spaces: among Han letters, words begin and end everywhere.
SPACED_LETTER = rf"[^\W{UNSPACED}]"
_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W_])+(?:['’\-](?:(?![{UNSPACED}])[^\W_])+)*")
_LETTERS_PER_WORD = 2  # of scripts without spaces, on average


def is_unspaced(char: str) -> bool:
    """Does its script go without spaces between words?"""
    return _UNSPACED.match(char) is not None


def has_unspaced(text: str) -> bool:
    return _UNSPACED.search(text) is not None


@lru_cache(maxsize=4096)
def _script(char: str) -> str:
    name = unicodedata.name(char, "")
    if name.startswith("KATAKANA-HIRAGANA PROLONGED"):
        return ""
    return _NAMES.get(name.partition(" ")[0], "other")


def of_language(language: str) -> tuple[str, ...]:
    """The scripts that `language` is written in; Latin if we know no other."""
    return _OF_LANGUAGES.get(language, ("latin",))


def counted(text: str) -> Counter[str]:
    """How many letters of each script there are."""
    letters = Counter(char for char in text if char.isalpha())
    scripts: Counter[str] = Counter()
    for char, times in letters.items():
        scripts[_script(char)] += times
    del scripts[""]
    return scripts


def words(text: str) -> list[str]:
    """Its words, in lower case; in scripts without spaces each letter is one."""
    return _WORD.findall(text.casefold())


def word_count(text: str) -> int:
    """About how many words it has: in scripts without spaces, two letters count as one."""
    unspaced = len(_UNSPACED.findall(text))
    return len(_WORD.findall(_UNSPACED.sub(" ", text))) + unspaced // _LETTERS_PER_WORD
