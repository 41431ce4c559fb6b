"""From a raw answer to a text: every fix that needs no warning, since nothing is lost by it.  Pure."""

from __future__ import annotations

import re

from captiond import characters
from captiond.checking import limits, markup, openings, turns
from captiond.records import FieldName

LONGEST = 4_000  # characters behind the thoughts that are read; the longest field holds half of that
_SAYS = re.compile(r"\w|[^\x00-\xff\u2000-\u206f\u3000-\u303f\uff00-\uff0f]")  # more than punctuation
_ONE = frozenset(("title", "alt_text"))  # a model that lists several offers a choice: the first is taken
_MOST_ROUNDS = 12  # one fix may uncover work for the next: `"Caption: **A dog**"`


def fixed(said: str, field: FieldName) -> tuple[str, bool]:
    """What an answer says, in one line except for keywords; and whether it was too long to be read whole.

    Fixing it again changes nothing.  Empty if it says nothing, or if its wrapping does not end.
    """
    said = turns.without_thoughts(said)
    text = _settled(limits.shortened(said, LONGEST))
    for _ in range(_MOST_ROUNDS):
        before = text
        text = _once(text, field)
        if text == before and field != "keywords":
            text = one_line(text)  # two lines joined may look like a heading, so another round follows
        if text == before:
            says = field == "visible_text" or _SAYS.search(text) is not None
            says = says and (field == "visible_text" or not openings.is_nothing(text, field))
            return text if says else "", len(said) > LONGEST
    return "", False


def one_line(text: str) -> str:
    return " ".join(characters.line(text).split())


def _settled(said: str) -> str:
    """Its lines without empty ones, each without what XML or a terminal cannot hold, with single blanks."""
    lines = (one_line(line) for line in said.replace("\r", "\n").split("\n"))
    return "\n".join(line for line in lines if line)


def _once(text: str, field: FieldName) -> str:
    is_ours = field != "visible_text"  # visible text stays as it is in the picture, quotation marks and all
    is_list = field == "keywords"
    text = turns.first_turn(text, by_names=is_ours, is_list=is_list)
    text = openings.out_of_json(_settled(markup.unfenced(text)), field)
    if is_ours:
        text = markup.plain(_settled(markup.unescaped(text)))
        text = markup.unquoted(
            _settled(text if is_list else markup.unnumbered(text, only_first=field in _ONE))
        )
        text = openings.without_preamble(openings.unlabeled(text, field), is_list=is_list)
        text = openings.without_closing(text)
    else:
        text = openings.own_label(markup.strong_only(text), field)
        text = "" if openings.is_none(text) else openings.read_words(text)
    return _settled(markup.decoded(text))
