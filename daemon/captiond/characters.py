"""Which characters a text may hold: the one place where captions and descriptions are cleaned.

Texts end up in XML, in tags that a NUL ends, on terminals and on pages.  A character that one of these cannot
hold, or acts upon, is removed; no word is changed.  Joiners of emoji and of Persian or Indic letters stay.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_ESCAPE, _CONTROL_SEQUENCE = "\x1b", "\x9b"
# ECMA-48, 5.4 and 8.3.89: CSI with its parameters; a string of OSC, DCS, SOS, PM or APC up to its end; ESC
# with what follows it.  A sequence that was cut off goes as far as it came.  If a string has no end, what
# follows its beginning stays.
_SEQUENCES = re.compile(
    r"(?:\x1b+\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-Z\\^-~]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = "\x00-\x1f\x7f-\x9f"
_LINE_BREAKS = "\u2028\u2029"
_DIRECTIONS = "\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing: Unicode 16, 23.2
_INVISIBLE = "\u200b\ufeff"
# Unicode 16, 23.7; XML 1.0 forbids the first two alone.
_NONCHARACTERS = "\ufffe\uffff\ufdd0-\ufdef" + "".join(
    f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(1, 17)
)
_FORBIDDEN = f"[{_CONTROLS}{_LINE_BREAKS}{_DIRECTIONS}{_INVISIBLE}{_NONCHARACTERS}]"
_HAS_FORBIDDEN = re.compile(_FORBIDDEN)
_RUNS = re.compile(rf"(?:\s|{_FORBIDDEN})+")

JOINERS = "\u200c\u200d"  # they join several emoji into one, and keep apart letters that would join


def line(text: str) -> str:
    """`text` as one line in NFC, without what XML or a terminal cannot hold.  Idempotent."""
    if _ESCAPE in text or _CONTROL_SEQUENCE in text or _HAS_FORBIDDEN.search(text):
        text = _RUNS.sub(_settled, _SEQUENCES.sub("", text))
    text = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)
    return unicodedata.normalize("NFC", text).strip()


def is_harmless(char: str) -> bool:
    """Can a terminal show it without acting upon it?"""
    return char.isprintable() or char in JOINERS


def printable(text: str, *, escape: Callable[[str], str] | None = None) -> str:
    """`text` for a terminal, in lines: characters that it would obey or hide are escaped, such as \\u202e.

    `escape`: another way to escape a character, for text that is code.
    """
    text, escape = _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text), escape or _escaped
    if text.isprintable():
        return text
    return "".join(char if _is_text(char) else escape(char) for char in text)


def _is_text(char: str) -> bool:
    """Also line breaks, every blank (Python calls only one of them printable), and marks in Hebrew words."""
    return is_harmless(char) or char in "\n\u200e\u200f" or unicodedata.category(char) == "Zs"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _settled(run: re.Match[str]) -> str:
    """What a run with a forbidden character becomes: one blank if it has white space, else nothing."""
    if not _HAS_FORBIDDEN.search(run[0]):
        return run[0]
    return " " if any(char.isspace() for char in run[0]) else ""
