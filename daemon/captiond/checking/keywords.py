"""From an answer's list to keywords: split, cleaned, folded, limited, mapped to the vocabulary.  Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from captiond import characters
from captiond.checking import phrases, scripts
from captiond.checking.phrases import any_of, every
from captiond.checking.plurals import are_forms_of_one
from captiond.checking.records import Dropped, KeywordRules

MOST_ITEMS = 500  # of one answer that are read
_LIST_WORDS, _SENTENCE_WORDS, _FEW = 3, 4, 3  # words of an item; parts of a line
_LONGEST_UNSPACED = 12  # letters; in scripts without spaces between words, more are a sentence

_NUMBERED = re.compile(
    r"(?:^|(?<=\s))[ \t]*\(?\d{1,2}(?:[.)]|[、．:：]|\s?[-–](?=\s|[^\W\d]))[ \t]*(?=\D)", re.MULTILINE
)
_SEPARATORS = re.compile(
    r"[,、，;；،؛\n|]|[ \t][•‣·*–—][ \t]|[•‣·・](?=\s)|(?:^|(?<=\s))[•‣·・]|[ \t]*(?<!\w)#(?=\w)"
    r"|(?<=\w)[.。](?=\s+#)"
)
_EDGES = " \t・\r\"'`“”„‘’«»‹›「」『』*_•‣·-–—()[]{}<>:：#./\\。．!！?？…"
_SENTENCE_END = re.compile(r"[.!?。！？]\s*\Z")


@dataclass(slots=True)
class _Kept:
    """What was kept so far, and what was not."""

    words: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)

    def drop(self, text: str, reason: str) -> None:
        self.dropped.append(Dropped("keywords", text, reason))


@dataclass(frozen=True, slots=True)
class Keywords:
    """`words` in the order of the answer; `paths` of the words that are in a tree of the vocabulary."""

    words: tuple[str, ...]
    paths: tuple[str, ...]
    dropped: tuple[Dropped, ...]


def taken_from(
    text: str, rules: KeywordRules, *, prompt: str, language: str | None, is_cut: bool = False
) -> Keywords:
    """The keywords of an answer.  Duplicates go silently; every other dropped item is kept with its reason.

    `is_cut`: the token limit ended it, so that the last of several may be half a word.
    """
    kept = _Kept()
    asked = _Asked.of(prompt, language)
    english = language is None or language.casefold().startswith("en")
    items = list(_items(text, kept))
    if is_cut and len(items) > 1 and text.rstrip()[-1:].isalnum():
        kept.drop(items.pop(), "cut off")
    for item in items:
        reason = _reason_against(item, asked, rules)
        term = rules.vocabulary.find(item, english=english) if rules.vocabulary is not None else None
        if term is not None and reason != _NOTHING:
            item, reason = term.name, None
        elif reason is None and rules.vocabulary_only and rules.vocabulary is not None:
            reason = "not in the vocabulary"
        if reason is not None:
            kept.drop(item, reason)
            continue
        path = term.path if term is not None and term.is_in_tree else None
        _keep(item, path, kept, rules.most, english=english)
    return Keywords(tuple(kept.words), tuple(kept.paths), tuple(kept.dropped))


def _keep(item: str, path: str | None, kept: _Kept, most: int, *, english: bool) -> None:
    key = item.casefold()
    is_known = key in kept.keys or (english and any(are_forms_of_one(key, one) for one in kept.keys))
    if is_known:
        return
    if len(kept.words) >= most:
        kept.drop(item, f"more than {most} keywords")
        return
    kept.words.append(item)
    kept.keys.append(key)
    if path is not None:
        kept.paths.append(path)


def _items(text: str, kept: _Kept) -> Iterator[str]:
    """The parts of an answer, without markup around them; whole sentences are dropped."""
    count = 0
    for line in text.splitlines():
        parts = [_bare(part) for part in _SEPARATORS.split(_NUMBERED.sub("\n", line.strip().strip("[]{}")))]
        parts = [part for part in parts if part]
        if _SENTENCE_END.search(line) and _is_sentence(parts):
            kept.drop(characters.line(line)[:200], "a sentence")
            continue
        if len(parts) > 1:
            parts[-1] = _without_and(parts[-1])
        for part in parts:
            count += 1
            if count > MOST_ITEMS:
                return
            yield part


def _is_sentence(parts: list[str]) -> bool:
    """For a line that ends like a sentence: does it begin like one, or has it few parts, one of them long?"""
    lengths = [len(part.split()) for part in parts]
    return lengths[:1] > [_LIST_WORDS] or (len(parts) <= _FEW and max(lengths, default=0) > _SENTENCE_WORDS)


def _bare(part: str) -> str:
    """`part` without quotation marks, numbers, bullets and full stops around it."""
    part = unicodedata.normalize("NFC", " ".join(part.split()))
    bare = part.strip(_EDGES)
    if part.endswith(".") and re.search(r"(?:^|\s)(?:\w\.)+\w\.\Z", part):
        bare = part.lstrip(_EDGES)  # U.S.A. and p.m. keep their last full stop
    if "(" in bare and ")" not in bare and part.rstrip(" .").endswith(")"):
        bare += ")"
    return bare


def _without_and(part: str) -> str:
    """`part` without its "and": lists end with `and a fence`."""
    return _list_end().sub("", part) or part


@cache
def _list_end() -> re.Pattern[str]:
    return re.compile(rf"\A(?:{any_of(every('list_ends'))})\s+", re.IGNORECASE)


_NOTHING = "says nothing"


def _reason_against(item: str, asked: _Asked, rules: KeywordRules) -> str | None:
    key = item.casefold()
    if key in _nothing() or not any(char.isalnum() for char in item):
        return _NOTHING
    if key in asked.stop_words:
        return "says nothing by itself"
    if asked.says(key):
        return "a word of the prompt"
    if len(item.split()) > rules.words:
        return f"more than {rules.words} words"
    if len(item.encode("utf-8", "replace")) > rules.bytes:
        return f"more than {rules.bytes} bytes"
    if sum(scripts.is_unspaced(char) for char in item) > _LONGEST_UNSPACED:
        return "a sentence"
    return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """The prompt's words, which a model may give back as keywords, and the language's stop words."""

    words: str  # each word between blanks
    text: str
    stop_words: frozenset[str]

    @classmethod
    def of(cls, prompt: str, language: str | None) -> _Asked:
        return cls(f" {' '.join(scripts.words(prompt))} ", prompt.casefold(), _stop_words(language))

    def says(self, key: str) -> bool:
        if any(scripts.is_unspaced(char) for char in key):
            return len(key) > 1 and key in self.text
        return f" {' '.join(scripts.words(key))} " in self.words


@cache
def _stop_words(language: str | None) -> frozenset[str]:
    """The stop words of the language and of English; of every language if none was asked for."""
    if language is None:
        return frozenset(every("stop_words"))
    return frozenset((*phrases.of(language, "stop_words"), *phrases.of("en", "stop_words")))


@cache
def _nothing() -> frozenset[str]:
    return frozenset(every("nothing"))
