"""Removes the words around an answer: labels, preambles, and offers of more help at the end.  Pure.

`phrases` has the words; this module says how they may follow each other.  All languages are tried, since a
model may introduce a German caption in English.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache

from captiond.checking import markup, phrases, scripts
from captiond.checking.phrases import any_of, every

_LABELED = ("caption", "alt_text", "title", "keywords", "visible_text")
_FEWEST_LEFT = 2  # words behind "The image shows"; if fewer, it was the sentence itself


def unlabeled(text: str, field: str) -> str:
    """`text` without its label.  Of several labelled parts the field's own counts, else the first."""
    parts = _parts(text, needs_colon=field == "keywords")
    if not parts:
        return text
    own = next((body for name, body in parts if name == field and body.strip()), None)
    if own is not None:
        return own
    first_name, first = parts[0]
    return first if first_name and (first.strip() or len(parts) == 1) else text


def _parts(text: str, *, needs_colon: bool) -> list[tuple[str, str]]:
    """The labelled parts of an answer: the label's field, and the text; none if it begins without a label.

    A label that has a line for itself needs no colon, except among keywords, where it might be a keyword.
    """
    found = [one for one in _labels().finditer(text) if one["colon"] or not needs_colon]
    if not found or text[: found[0].start()].strip():
        return []
    ends = [*(label.start() for label in found[1:]), len(text)]
    return [(_of(label), text[label.end() : end]) for label, end in zip(found, ends, strict=True)]


def own_label(text: str, field: str) -> str:
    """`text` without a label of that very field: visible text may begin with any other label."""
    label = _labels().match(text)
    return text[label.end() :] if label is not None and _of(label) in {field, "any"} else text


def out_of_json(text: str, field: str) -> str:
    """The field's own text if the answer is a JSON object that has it; of an object with one text, that text.

    Visible text may be JSON on a screen, so there the key must be the field's name.
    """
    if not text.startswith("{"):
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text if field == "visible_text" else _out_of_broken_json(text, field)
    if not isinstance(found, dict) or (field == "visible_text" and [*found] != [field]):
        return text
    texts = {_key(key): _as_text(value) for key, value in found.items()}
    own = [value for key, value in texts.items() if value and _is_label(key, field)]
    if own:
        return own[0]
    return next(iter(texts.values())) or text if len(texts) == 1 else text


_BROKEN = re.compile(
    r"""\{\s*(["'])(?P<key>[^"'\n]{1,40})\1\s*:\s*(["'])(?P<text>.*?)(?:\3\s*(?:[,}].*)?)?\Z""", re.DOTALL
)


def _out_of_broken_json(text: str, field: str) -> str:
    """The same of an object that was cut off, or that has Python's quotation marks."""
    found = _BROKEN.match(text)
    return found["text"] if found is not None and _is_label(_key(found["key"]), field) else text


def _key(key: str) -> str:
    return key.replace("_", " ") + ":"


def _is_label(key: str, field: str) -> bool:
    label = _labels().fullmatch(key)
    return label is not None and _of(label) in {field, "any"}


def _as_text(value: object) -> str:
    """A string, or a list of strings as one."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else ""


def _of(label: re.Match[str]) -> str:
    return next(name for name in (*_LABELED, "any") if label[name] is not None)


@cache
def _labels() -> re.Pattern[str]:
    """A pattern for a label at the beginning of a line, with a colon or with the line for itself."""
    groups = "|".join(f"(?P<{name}>{any_of(every(f'labels.{name}'))})" for name in (*_LABELED, "any"))
    return re.compile(
        rf"^[ \t]*[\[【(]?(?:{groups})[ \t]*(?:\((?:[^()\n]{{1,30}})\))?[\]】)]?[ \t]*"
        rf"(?:(?P<colon>[:：](?!\S*//))|\n(?=\s*\S))\s*",
        re.IGNORECASE | re.MULTILINE,
    )


@dataclass(frozen=True, slots=True)
class _Openings:
    """The patterns of preambles, compiled once from the phrases of all languages."""

    polite: re.Pattern[str]  # Sure!
    here: re.Pattern[str]  # Here is a caption for the image:
    hands_over: re.Pattern[str]  # Sure, here you go:
    shows: re.Pattern[str]  # The image shows
    inside: re.Pattern[str]  # In the image,
    sees: re.Pattern[str]  # In the image we see; We can see
    not_before: re.Pattern[str]
    closings: re.Pattern[str]
    wraps: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]


def without_preamble(text: str, *, is_list: bool = False) -> str:
    """`text` without its preamble, and then with a capital letter; empty if nothing else was said.

    A list is not capitalized, and has no "The image shows".
    """
    text = text.strip()
    rest = _behind_announcement(text)
    if rest is None and not is_list:
        rest = _behind_showing(text)
    if rest is None:
        return text
    return rest.strip() if is_list else _capitalized(rest)


def _behind_announcement(text: str) -> str | None:
    """What follows "Sure! Here is a caption:"."""
    known = _openings()
    here = known.here.match(text) or known.hands_over.match(text)
    if here is not None:
        return text[here.end() :]
    polite = known.polite.match(text)
    return text[polite.end() :] if polite is not None and text[polite.end() :].strip() else None


def _behind_showing(text: str) -> str | None:
    """What follows "The image shows", if it is more than a word and no other sentence ("shows its age")."""
    known = _openings()
    for before, after in known.wraps:
        begin, end = before.match(text), after.search(text)
        if begin is not None and end is not None and end.start() > begin.end():
            inner = text[begin.end() : end.start()].strip() + end["stop"]
            if scripts.word_count(inner) >= _FEWEST_LEFT:
                return inner
    for pattern in (known.shows, known.sees, known.inside):
        found = pattern.match(text)
        rest = text[found.end() :].lstrip() if found is not None else ""
        if rest and not known.not_before.match(rest) and scripts.word_count(rest) >= _FEWEST_LEFT:
            return rest
    return None


def without_closing(text: str) -> str:
    """`text` without an offer of more help at its end."""
    for found in _openings().closings.finditer(text):
        before = text[: found.start()].rstrip()
        if scripts.word_count(before) >= _FEWEST_LEFT:
            return before
    return text


def read_words(text: str) -> str:
    """Visible text without "The text in the image reads", if a colon or quotation marks set off the words."""
    before = _reads().match(text)
    if before is None:
        return text
    rest = text[before.end() :].strip()
    return _within_marks(rest) or (rest if before["colon"] else text)


@cache
def _reads() -> re.Pattern[str]:
    return re.compile(rf"(?:{any_of(every('reads'))})\s*(?P<colon>[:：])?", re.IGNORECASE)


def _within_marks(text: str) -> str:
    """What quotation marks around all of it hold; nothing if there are none."""
    bare = text.rstrip(".。")
    inner = markup.unquoted(bare)
    return inner if inner != bare else ""


def is_none(text: str) -> bool:
    """Does it say that there is nothing to be read?"""
    return _says_none().fullmatch(text.strip()) is not None


def is_nothing(text: str, field: str) -> bool:
    """Does it say no more than "None" or "N/A"?  A title may well be "Nothing"."""
    return (_NO_VALUE if field == "title" else _names_nothing()).fullmatch(text.strip()) is not None


_NO_VALUE = re.compile(r"[\[(<]?(?:none|n/a|null|undefined|nan|nil)[\])>]?[.!]?", re.IGNORECASE)


@cache
def _names_nothing() -> re.Pattern[str]:
    return re.compile(
        rf"{_NO_VALUE.pattern}|[\[(]?(?:{any_of(every('nothing'))})[\])]?[.!。]?", re.IGNORECASE
    )


@cache
def _says_none() -> re.Pattern[str]:
    """A phrase may go on ("no text is visible in it"), a single word not: "Nothing to declare" is a sign."""
    words = [one for one in every("no_text") if one.isalpha() and not scripts.is_unspaced(one[0])]
    longer = [one for one in every("no_text") if one not in words]
    said = rf"(?:{any_of(words)})|(?:{any_of(longer)})[^.!?。\n]{{0,60}}"
    return re.compile(rf"[\[(\"'“]?(?:{said})[.!。]?[\])\"'”]?", re.IGNORECASE)


def _capitalized(text: str) -> str:
    text = text.strip()
    first = text[:1].upper()
    return first + text[1:] if len(first) == 1 else text


@cache
def _openings() -> _Openings:
    polite, here, nouns = (any_of(every(f"preamble.{key}")) for key in ("openers", "here", "nouns"))
    # An announcement lies within one sentence, up to the colon or line break before the answer.
    announced = (
        rf"(?:(?:{polite})[ \t]*[,!.:;~，。！、：…—–-]*\s*)?"
        rf"(?:{here})[^\n.!?。！？:：]{{0,100}}?(?:{nouns})[^\n.!?。！？:：]{{0,80}}"
        rf"(?:[:：]\s*|[.!。！]*[ \t]*(?:\n\s*|\Z))"
    )
    inside = any_of(every("preamble.inside"))
    shows, sees = _joined("pictures", r"\s*", "shows"), _joined("inside", r"[,，、]?\s*", "sees")
    pairs = [pair for one in phrases.languages() for pair in phrases.pairs(one, "preamble.wraps")]

    def compiled(pattern: str) -> re.Pattern[str]:
        return re.compile(pattern, re.IGNORECASE)

    return _Openings(
        polite=compiled(rf"(?:¡\s*)?(?:{polite})\s*[!.。！：:]+\s*"),
        here=compiled(r"(?:¡\s*)?" + announced),
        hands_over=compiled(
            rf"(?:¡\s*)?(?:(?:{polite})[ \t]*[,!.;~，。！、…—–-]*\s*)?"
            rf"(?:{any_of(every('preamble.hands_over'))})"
            r"[ \t]*(?:[:：]\s*|[.!。！]*[ \t]*\n\s*)(?=\S)"
        ),
        shows=compiled(rf"(?:{shows})[,:：，]?\s*"),
        inside=compiled(rf"(?:{inside})\s*[,，、:：]\s*"),
        sees=compiled(rf"(?:{sees}|{any_of(every('preamble.i_see'))})[,:：，]?\s*"),
        not_before=compiled(rf"(?:{any_of(every('preamble.not_before'))})"),
        closings=compiled(
            rf"(?:\n\s*|(?<=[.!?。！？])\s+|(?<=[。！？]))[\"(]?(?:{any_of(every('preamble.closings'))})"
        ),
        wraps=tuple(
            (
                compiled(rf"(?:{any_of([before])})\s*"),
                compiled(rf"\s*(?:{any_of([after])})(?P<stop>[.。]?)\s*\Z"),
            )
            for before, after in pairs
        ),
    )


def _joined(first: str, between: str, second: str) -> str:
    """A pattern for a phrase of one kind and one of another behind it, both in the same language."""

    def words(language: str, key: str) -> str:
        return any_of(phrases.of(language, f"preamble.{key}"))

    return "|".join(
        rf"(?:{words(one, first)}){between}(?:{words(one, second)})"
        for one in phrases.languages()
        if phrases.of(one, f"preamble.{second}")
    )
