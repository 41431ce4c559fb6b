"""English plurals: what a word may be the plural of.  Pure."""

from __future__ import annotations

from functools import cache

from captiond.checking import phrases

_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "leaves": "leaf",
    "wolves": "wolf",
    "knives": "knife",
    "loaves": "loaf",
    "shelves": "shelf",
    "calves": "calf",
    "halves": "half",
    "scarves": "scarf",
    "wives": "wife",
    "lives": "life",
    "cacti": "cactus",
}
_NO_PLURALS = ("ss", "us", "is", "os'", "'s")
_SHORTEST = 4  # letters: `gas`, `bus` and `yes` are no plurals


def singulars(words: str) -> tuple[str, ...]:
    """What `words`, in lower case, may be the plural of, by its last word; nothing if it is no plural."""
    before, blank, last = words.rpartition(" ")
    return tuple(before + blank + one for one in _of_word(last))


def are_forms_of_one(one: str, other: str) -> bool:
    """Is one of two words, in lower case, the plural of the other?"""
    return one == other or one in singulars(other) or other in singulars(one)


def _of_word(word: str) -> tuple[str, ...]:
    if word in _IRREGULAR:
        return (_IRREGULAR[word],)
    if word.endswith("women"):
        return (word[:-3] + "man",)
    if word.endswith("men") and len(word) > _SHORTEST + 1:
        return (word[:-3] + "man",)
    if len(word) < _SHORTEST or not word.endswith("s") or word.endswith(_NO_PLURALS) or word in _never():
        return ()
    if word.endswith("ies") and len(word) > _SHORTEST:
        return (word[:-3] + "y", word[:-1])
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        return (word[:-2], word[:-1])
    return (word[:-1],)


@cache
def _never() -> frozenset[str]:
    return frozenset(phrases.of("en", "no_plurals"))
