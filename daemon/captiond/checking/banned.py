"""What the user bans: words, or regular expressions between slashes, each tried within a time limit.

A word matches whole words only, in any case; in scripts that are written without spaces it matches anywhere.
The library `regex` tries the patterns, since the standard one cannot be stopped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import regex

from captiond.checking.scripts import is_unspaced

SECONDS_EACH = 0.05
LONGEST_PATTERN = 1000


class WrongPattern(ValueError):
    """One of the user's banned words cannot be understood; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Banned:
    """Patterns, each with how the user wrote it."""

    patterns: tuple[tuple[str, regex.Pattern[str]], ...] = ()

    @classmethod
    def of(cls, written: Iterable[str]) -> Banned:
        """Raises: WrongPattern, if one of them cannot be understood."""
        return cls(tuple((one, _compiled(one)) for one in written if one.strip()))

    def found_in(self, text: str) -> tuple[str | None, tuple[str, ...]]:
        """The first one that `text` holds, as the user wrote it; and those that ran out of time."""
        slow: list[str] = []
        for written, pattern in self.patterns:
            try:
                if pattern.search(text, timeout=SECONDS_EACH):
                    return written, tuple(slow)
            except TimeoutError:
                slow.append(written)
        return None, tuple(slow)


def _compiled(written: str) -> regex.Pattern[str]:
    one = unicodedata.normalize("NFC", written.strip())
    if len(one) > LONGEST_PATTERN:
        raise WrongPattern(f"a banned pattern has more than {LONGEST_PATTERN} characters: {one[:40]}...")
    try:
        if len(one) > 2 and one[0] == one[-1] == "/":
            return regex.compile(one[1:-1], regex.IGNORECASE)
        return regex.compile(_whole(one), regex.IGNORECASE)
    except (regex.error, RecursionError, OverflowError) as error:
        raise WrongPattern(f"{written!r} is no regular expression: {error}") from error


def _whole(word: str) -> str:
    """A pattern for `word` as a whole word, if its ends are letters of a script that has spaces."""
    before = "" if is_unspaced(word[0]) or not word[0].isalnum() else r"(?<!\w)"
    after = "" if is_unspaced(word[-1]) or not word[-1].isalnum() else r"(?!\w)"
    return before + r"\s+".join(regex.escape(part) for part in word.split()) + after


NOTHING_BANNED = Banned()
