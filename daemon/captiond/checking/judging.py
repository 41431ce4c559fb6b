"""One answer, fixed and judged, in the order that the package's docstring gives.

Under 2 ms a text, 0.4 ms on average: `python benchmarks/checks.py` measures it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from captiond.checking import faults, fixing, keywords, languages, limits, notes, turns
from captiond.checking.records import NO_FACTS, Again, Code, Facts, Finding, Judged, Question
from captiond.records import FieldName

TOO_LONG = 1.5  # times the limit: shortening would lose too much
_STUCK_RATIO = 8.0  # zlib's ratio for a text in the picture, which may repeat itself
_MOST_ECHOES = 20
_EVERY_WAY = (
    "Sure! The image shows two dogs. They play on a beach.",
    "dogs, a beach, and a fence",
    'A sign at 12 Main Street says "Open", phone 555 0100 100.',
)
_LOOSE: frozenset[FieldName] = frozenset(("visible_text", "keywords"))  # fields without sentences


def judge(
    said: str,
    question: Question,
    *,
    finish_reason: str = "stop",
    facts: Facts = NO_FACTS,
    has_thoughts: bool = False,
) -> Judged:
    """Fix and judge the answer `said`.  Never raises.

    `has_thoughts`: the model's thoughts came apart from it.
    """
    text, is_cut = fixing.fixed(said, question.field)
    is_cut = is_cut or finish_reason == "length"
    if not text and (question.field != "visible_text" or is_only_thoughts(said, has_thoughts=has_thoughts)):
        return _empty(said, question, has_thoughts=has_thoughts, is_cut=is_cut)
    if question.field == "keywords":
        return _judged_keywords(text, question, is_cut=is_cut)
    if not text:
        return Judged("")  # there is nothing to be read in the picture
    return _judged_text(text, question, facts, is_cut=is_cut)


def warm_up() -> None:
    """Compile the phrases of all languages, which takes 0.3 s, so that no answer waits for it."""
    for field in get_args(FieldName):
        for said in _EVERY_WAY:
            judge(said, Question(field, "What is shown?"))


def _judged_text(text: str, question: Question, facts: Facts, *, is_cut: bool) -> Judged:
    judged = _worth_asking_again(Judged(text), question, is_cut=is_cut)
    judged = _cut_at_sentence(judged, question) if is_cut else judged
    judged = _within_limit(judged, question)
    found = tuple(
        _told(question, code, message) for code, message in _notes(judged.text, question.field, facts)
    )
    return replace(judged, findings=(*judged.findings, *found))


def _told(question: Question, code: Code, message: str) -> Finding:
    return Finding(code, question.field, message)


def _again(judged: Judged, question: Question, code: Code, message: str, again: Again = "another") -> Judged:
    """`judged` with one more reason to ask again; the first reason decides how."""
    found = (*judged.findings, _told(question, code, message))
    return replace(judged, findings=found, again=judged.again or again)


def _empty(said: str, question: Question, *, has_thoughts: bool, is_cut: bool) -> Judged:
    message = "the model said nothing"
    if is_only_thoughts(said, has_thoughts=has_thoughts):
        message = f"the model only thought, and gave no answer: {_against_thoughts(question.field, is_cut)}"
    elif said.strip():
        message = "nothing was left of what the model said"
    return replace(_again(Judged(""), question, "empty", message), is_usable=False)


def is_only_thoughts(said: str, *, has_thoughts: bool = False) -> bool:
    """Whether the model thought, before `said` or apart from it, and said no more."""
    rest = turns.without_thoughts(said).strip()
    if has_thoughts:  # only the token that ends the turn may be left
        rest = turns.first_turn(rest, by_names=False).strip()
    return (has_thoughts or bool(said.strip())) and not rest


def _against_thoughts(field: FieldName, is_cut: bool) -> str:
    """Which setting to change; if the limit cut nothing, the server may have taken an answer for thoughts."""
    if not is_cut:
        return "turn its thinking off, or start the server without its reasoning parser"
    key = "caption.max_new_tokens" if field == "caption" else f"fields.{field}_max_new_tokens"
    return f"raise {key}, or turn its thinking off"


def _worth_asking_again(judged: Judged, question: Question, *, is_cut: bool) -> Judged:
    text, field = judged.text, question.field
    if faults.is_refusal(text):
        judged = replace(_again(judged, question, "refusal", "the model refuses"), is_usable=False)
    rest = _behind_echoes(text, question)
    if rest is not None:
        judged = _again(judged, question, "echo", "the model repeats the question")
        judged = replace(judged, text=rest or text, is_usable=judged.is_usable and bool(rest))
    if _turns_in_circles(text, field, is_cut=is_cut):
        judged = _again(judged, question, "loop", "the model says the same again and again")
    if question.language and field not in _LOOSE and languages.is_wrong(text, question.language):
        judged = _again(
            judged, question, "wrong_language", f"the text is not in the language {question.language}"
        )
    limit = question.limit_characters
    if limit is not None and field not in _LOOSE and len(text) > limit * TOO_LONG:
        message = f"the text has {len(text)} characters, and {limit} are allowed"
        judged = _again(judged, question, "too_long", message, "shorter")
    return _without_banned(judged, question)


def _behind_echoes(text: str, question: Question) -> str | None:
    """What remains behind all echoes of the prompt; None if there is none."""
    rest: str | None = None
    for _ in range(_MOST_ECHOES):
        further = faults.echo_of(text, question.prompt)
        if further is None:
            return rest
        text = rest = fixing.fixed(further, question.field)[0]
        if not rest:
            break
    return ""


def _turns_in_circles(text: str, field: FieldName, *, is_cut: bool) -> bool:
    if field == "visible_text":
        return is_cut and faults.is_compressible(text, _STUCK_RATIO)
    return faults.is_loop(text)


def _without_banned(judged: Judged, question: Question) -> Judged:
    if not question.banned.patterns:
        return judged
    found, slow = question.banned.found_in(judged.text)
    judged = replace(judged, slow_patterns=slow)
    return (
        judged
        if found is None
        else _again(judged, question, "banned", f"the text holds {found!r}, which is banned")
    )


def _cut_at_sentence(judged: Judged, question: Question) -> Judged:
    """An answer that the token limit cut, ended at its last whole sentence if enough words are left."""
    text = judged.text
    if question.field == "visible_text" or not limits.ends_whole(text):
        whole = ""
        if question.field != "visible_text":
            whole = fixing.fixed(limits.last_sentence(text), question.field)[0]
        is_enough = limits.has_enough_left(whole)
        message = "the answer reached its token limit" + (
            ", and ends with its last whole sentence" if is_enough else ""
        )
        found = (*judged.findings, _told(question, "cut_off", message))
        is_whole = is_enough or question.field == "visible_text"
        judged = replace(judged, text=whole if is_enough else text, findings=found, is_whole=is_whole)
    return judged


def _within_limit(judged: Judged, question: Question) -> Judged:
    limit = question.limit_characters
    if limit is None or len(judged.text) <= limit:
        return judged
    text = fixing.fixed(limits.shortened(judged.text, limit), question.field)[0]
    found = _told(
        question, "shortened", f"the text was shortened from {len(judged.text)} to {len(text)} characters"
    )
    judged = replace(judged, text=text, findings=(*judged.findings, found))
    if text:
        return judged
    judged = _again(judged, question, "too_long", "no word of the text fits into its limit", "shorter")
    return replace(judged, is_usable=False)


def _notes(text: str, field: FieldName, facts: Facts) -> list[tuple[Code, str]]:
    told: list[tuple[Code, str]] = []
    if field != "visible_text":
        if notes.has_contact_details(text):
            told.append(("contact_details", "the text has an address or a number that may be invented"))
        if notes.has_camera_jargon(text):
            told.append(
                ("camera_jargon", "the text says how the picture was taken, which the model cannot know")
            )
        if notes.quotes_at_length(text):
            told.append(("quoted_text", "the text quotes words that the model may have misread"))
        if notes.shows_little(facts):
            told.append(("low_information", "the picture is nearly black or of one colour"))
    if field == "alt_text" and facts.caption and notes.is_same(text, facts.caption):
        told.append(("same_as_caption", "the alternative text is the caption"))
    return told


def _judged_keywords(text: str, question: Question, *, is_cut: bool) -> Judged:
    if faults.is_refusal(text):
        judged = Judged(fixing.one_line(text), is_usable=False)
        return _again(judged, question, "refusal", "the model refuses")
    if faults.echo_of(text, question.prompt) == "":
        judged = Judged(fixing.one_line(text), is_usable=False)
        return _again(judged, question, "echo", "the model repeats the question")
    taken = keywords.taken_from(
        text, question.keywords, prompt=question.prompt, language=question.language, is_cut=is_cut
    )
    judged = Judged(
        ", ".join(taken.words), keywords=taken.words, keyword_paths=taken.paths, dropped=taken.dropped
    )
    if is_cut:
        judged = replace(judged, findings=(_told(question, "cut_off", "the list reached its token limit"),))
    if not taken.words:
        judged = replace(
            _again(judged, question, "empty", "no keyword was left of the answer"), is_usable=False
        )
    elif question.language and languages.is_in_foreign_letters(judged.text, question.language):
        message = f"the keywords are not in the language {question.language}"
        judged = _again(judged, question, "wrong_language", message)
    return _without_banned(judged, question)
