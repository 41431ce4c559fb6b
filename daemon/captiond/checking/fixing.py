"""From what came over the wire to a text: all that is no warning, since nothing is lost by it.  Pure."""

from __future__ import annotations

from captiond import characters
from captiond.checking import markup, openings, turns
from captiond.checking.records import Field

LONGEST = 16_000  # characters behind the thoughts that are looked at
_MOST_ROUNDS = 12  # what one fix uncovers, the next takes away: `"Caption: **A dog**"`


def fixed(said: str, field: Field) -> str:
    """What an answer says, in lines; fixing it again changes nothing.  Empty where it says nothing."""
    text = turns.without_thoughts(_settled(said))
    for _ in range(_MOST_ROUNDS):
        before = text
        text = _once(text, field)
        if text == before:
            break
    return text


def one_line(text: str) -> str:
    return " ".join(characters.line(text).split())


def _settled(said: str) -> str:
    """Lines of their own, each without what XML or a terminal cannot hold."""
    lines = (characters.line(line) for line in said.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return "\n".join(lines).strip()


def _once(text: str, field: Field) -> str:
    is_ours = field != "visible_text"  # which is to be the picture's own, quotation marks and all
    text = turns.first_turn(text, by_names=is_ours).strip()
    text = markup.unfenced(text).strip()
    if is_ours:
        text = markup.unquoted(markup.plain(text).strip())
        text = openings.without_preamble(openings.unlabeled(text, field), is_list=field == "keywords")
        text = openings.without_closing(text)
    else:
        text = openings.own_label(markup.strong_only(text), field)
        text = "" if openings.is_none(text) else text
    return _settled(markup.decoded(text))
