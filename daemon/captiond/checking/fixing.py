"""From what came over the wire to a text: all that is no warning, since nothing is lost by it.  Pure."""

from __future__ import annotations

import re

from captiond import characters
from captiond.checking import limits, markup, openings, turns
from captiond.checking.records import Field

LONGEST = 4_000  # characters behind the thoughts that are looked at; the longest field holds half of that
_SAYS = re.compile(r"\w|[^\x00-\xff\u2000-\u206f\u3000-\u303f\uff00-\uff0f]")  # more than punctuation
_MOST_ROUNDS = 12  # what one fix uncovers, the next takes away: `"Caption: **A dog**"`


def fixed(said: str, field: Field) -> tuple[str, bool]:
    """What an answer says, and whether it was too long to be looked at whole: one line, but of keywords.

    Fixing it again changes nothing.  Empty where it says nothing, and where it is wrapped without end.
    """
    said = turns.without_thoughts(said)
    text = _settled(limits.shortened(said, LONGEST))
    for _ in range(_MOST_ROUNDS):
        before = text
        text = _once(text, field)
        if text == before and field != "keywords":
            text = one_line(text)  # which may make a heading of two lines
        if text == before:
            says = field == "visible_text" or _SAYS.search(text) is not None
            return text if says else "", len(said) > LONGEST
    return "", False


def one_line(text: str) -> str:
    return " ".join(characters.line(text).split())


def _settled(said: str) -> str:
    """Its lines, but for empty ones, each clean of what XML or a terminal cannot hold, with single blanks."""
    lines = (one_line(line) for line in said.replace("\r", "\n").split("\n"))
    return "\n".join(line for line in lines if line)


def _once(text: str, field: Field) -> str:
    is_ours = field != "visible_text"  # which is to be the picture's own, quotation marks and all
    text = turns.first_turn(text, by_names=is_ours)
    text = _settled(markup.unfenced(text))
    if is_ours:
        text = markup.unquoted(_settled(markup.plain(text)))
        text = openings.without_preamble(openings.unlabeled(text, field), is_list=field == "keywords")
        text = openings.without_closing(text)
    else:
        text = openings.own_label(markup.strong_only(text), field)
        text = "" if openings.is_none(text) else text
    return _settled(markup.decoded(text))
