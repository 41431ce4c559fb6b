"""Limits of length, held by code and never by cutting a word.  Pure.

The last whole sentence that fits wins, else the last clause, else the last word; nothing is put in its place.
If words have no spaces between them, a text may end behind any letter, but not within a grapheme.
"""

from __future__ import annotations

import re

import regex

from captiond.checking.scripts import is_unspaced, word_count

FEWEST_WORDS = 5  # that must remain of a text which is cut at its last sentence

_CLOSERS = "\"'”’»›」』）)\\]】"
_ENDS = re.compile(rf"[.!?…؟।][{_CLOSERS}]*(?=\s|\Z)|[。！？｡][{_CLOSERS}]*")
_ABBREVIATIONS = re.compile(
    r"(?:\b(?:St|Dr|Mr|Mrs|Ms|Prof|No|Nr|vs|ca|bzw|etc|approx|Sr|Sra|Jr|Mt|Ste|Mme|Mlle|Dott|Sig|z|B|d|h|u|a|e|g|i|p|m|Av|Ave|Str|Tel|Ph|D)"
    r"|\b[A-Z]|\b\d{1,2})\.\Z"
)
_CLAUSES = re.compile(r"[,;:](?=\s)|\s[–—-](?=\s)|[、，；：،؛]")
_TRAILING = " \t,;:、，；：،؛–—-(（[{«“„‘\"'「『"
_AHEAD = 64  # characters behind a limit that say whether it falls between words
_GRAPHEMES = regex.compile(r"\X")


def ends_whole(text: str) -> bool:
    """Does it end where a sentence ends?"""
    ends = [end.end() for end in _ENDS.finditer(text)]
    return bool(ends) and ends[-1] == len(text)


def last_sentence(text: str) -> str:
    """`text` up to the end of its last whole sentence; empty if it has none."""
    ends = _sentence_ends(text)
    return text[: ends[-1]] if ends else ""


def has_enough_left(text: str) -> bool:
    return word_count(text) >= FEWEST_WORDS


def shortened(text: str, most: int) -> str:
    """`text` in at most `most` characters, cut at a sentence, clause or word; empty if no word fits."""
    if len(text) <= most:
        return text
    text = text[: most + _AHEAD]
    sentences = [end for end in _sentence_ends(text) if end <= most]
    if sentences:
        return text[: sentences[-1]].rstrip()
    clauses = [
        end.start() for end in _CLAUSES.finditer(text, 0, min(len(text), most + 2)) if end.start() <= most
    ]
    for end in reversed(clauses):
        cut = text[:end].rstrip(_TRAILING)
        if cut and _is_balanced(cut):
            return cut
    return _to_word(text, most)


def _sentence_ends(text: str) -> list[int]:
    return [end.end() for end in _ENDS.finditer(text) if not _is_abbreviation(text, end)]


def _is_abbreviation(text: str, end: re.Match[str]) -> bool:
    """A full stop behind `St` or a number ends no sentence, unless it ends the text."""
    if end[0][0] != "." or end.end() == len(text):
        return False
    if _ABBREVIATIONS.search(text, max(0, end.start() - 12), end.start() + 1):
        return True
    return text[end.end() : end.end() + 8].lstrip()[:1].islower()


def _is_balanced(text: str) -> bool:
    """Are all brackets closed?  A text must not be cut at a clause within brackets."""
    return text.count("(") <= text.count(")") and text.count("（") <= text.count("）")


def _to_word(text: str, most: int) -> str:
    at = _boundary(text, most)
    return text[:at].rstrip(_TRAILING)


def _boundary(text: str, most: int) -> int:
    """The last place up to `most` where a word ends, not within a grapheme."""
    starts = {found.start() for found in _GRAPHEMES.finditer(text)}
    for at in range(most, 0, -1):
        if text[at].isspace():
            return at
        is_between = is_unspaced(text[at - 1]) or is_unspaced(text[at])
        if is_between and at in starts and text[at] not in _NEVER_FIRST:
            return at
    return 0


# Characters that must not begin a line, by the rules of Japanese and Chinese typesetting.
_NEVER_FIRST = "、。，．！？：；）」』】ーっゃゅょぁぃぅぇぉッャュョァィゥェォ々〜…"
