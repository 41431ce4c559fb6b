"""What a text may hold, wherever it comes from and wherever it goes."""

from __future__ import annotations

import json
import re
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond import characters, logs
from captiond.captioners import text as answers
from captiond.checking import by_person
from captiond.metadata import policy

FAMILY = "👨\u200d👩\u200d👧"
PERSIAN = "می\u200cخواهم"
CLEANERS = [characters.line, answers.clean, policy.clean, by_person.cleaned]
UNFIT = [
    ("Two\ufffe dogs\uffff.", "Two dogs."),
    ("Two \ufffe dogs \U0001fffe.", "Two dogs ."),
    ("\x1b[31mTwo\x1b[0m dogs.", "Two dogs."),
    ("Two\x1b[2J\x1b[1;1H dogs.", "Two dogs."),
    ("\x9b31mTwo dogs.", "Two dogs."),
    ("Two dogs.\x1b[31", "Two dogs."),
    ("Two\x1b[1\x1b[2m dogs.\x1b[", "Two dogs."),
    ("Two\x9b3\ndogs.\x1b\x1b[0m", "Two dogs."),
    ("\x1b]0;a title\x07Two \x1b]8;;http://example.org\x1b\\dogs\x1b]8;;\x1b\\.", "Two dogs."),
    ("\x1b(BTwo dogs\x1bc.", "Two dogs."),
    ("Two dogs\x1b", "Two dogs"),
    ("Two\x00 do\x01gs.\x7f\x9f", "Two dogs."),
    ("Two\ndogs\r\n\ton\u2028a\u2029beach\x85.", "Two dogs on a beach ."),
    ("\u202eTwo\u202c \u2066dogs\u2069.", "Two dogs."),
    ("\ufeffTwo d\u200bogs.", "Two dogs."),
    ("Cafe\u0301", "Café"),
]


@pytest.mark.parametrize("clean", CLEANERS)
@pytest.mark.parametrize(("raw", "cleaned"), UNFIT, ids=ascii)
def test_every_cleaner_takes_away_the_same(clean: object, raw: str, cleaned: str) -> None:
    """What XML or a terminal cannot hold goes, with the whole of an escape sequence; each word stays."""
    assert clean(raw) == cleaned  # type: ignore[operator]


def test_half_a_character_is_marked_or_refused() -> None:
    """What a model or a file says keeps its other characters; a person is told."""
    for clean in (characters.line, answers.clean, policy.clean):
        assert clean("Two \ud800dogs.") == "Two \ufffddogs."
    with pytest.raises(by_person.Unfit):
        by_person.cleaned("Two \ud800dogs.")


@pytest.mark.parametrize("clean", CLEANERS)
@pytest.mark.parametrize(
    "text", [FAMILY, PERSIAN, "שלום\u200f!", "夕日", "🏴\U000e0067\U000e0062\U000e007f", "1 < 2"]
)
def test_what_people_write_stays(clean: object, text: str) -> None:
    """Joined emoji, Persian and Hebrew letters, flags and signs are no fault."""
    assert clean(text) == text  # type: ignore[operator]


@given(
    st.text(alphabet=st.characters(exclude_categories=()))
    | st.text("\x1b\x9b[]0;m\\ \x07\u200b\ufffea\u0301")
)
def test_a_cleaned_text_stays_as_it_is(raw: str) -> None:
    """It is one line of NFC that XML holds and that cleaning leaves alone."""
    cleaned = characters.line(raw)
    assert characters.line(cleaned) == cleaned == unicodedata.normalize("NFC", cleaned).strip()
    assert not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in cleaned)
    element = ElementTree.Element("text")
    element.text = cleaned
    assert (ElementTree.fromstring(ElementTree.tostring(element, "utf-8")).text or "") == cleaned


def test_the_log_shows_joiners_and_nothing_that_acts() -> None:
    """A joined emoji is one in the log, too; what turns a line or moves the cursor is spelt out."""
    assert logs.escape(f"{FAMILY}\u202e\x1b[31m\ufffe\u200b") == f"{FAMILY}\\u202e\\x1b[31m\\ufffe\\u200b"


def test_a_terminal_gets_texts_as_they_are_written() -> None:
    """Captions in any script are shown as they are, in their lines; what acts or hides is spelt out."""
    for text in (FAMILY, PERSIAN, "שלום\u200f!", "夕日\u3000と海", "a\u00a0b", "one\ntwo"):
        assert characters.printable(text) == text
    assert characters.printable("\u202e\x1b[31m\x9b\u200b\ufeff\r\u2028") == (
        r"\u202e\x1b[31m\x9b\u200b\ufeff\r\u2028"
    )


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_json_for_a_terminal_is_the_same_json(text: str) -> None:
    """Escaped as JSON escapes, what a program reads is what was said (half characters aside)."""
    said = json.dumps(text, ensure_ascii=False)
    printed = characters.printable(said, escape=lambda char: json.dumps(char)[1:-1])
    assert json.loads(printed) == re.sub("[\ud800-\udfff]", "\ufffd", text)
    assert not any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in printed
                   if one not in "\u200c\u200d\u200e\u200f")  # fmt: skip
