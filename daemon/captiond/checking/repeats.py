"""The same answer to different pictures: when it is suspicious, and what settles the suspicion.

A server that drops pictures, or a broken model, says one thing about everything; so does an honest model
about a hundred blank scans.  Two plain test pictures tell which: this module says when to ask about them, and
what their answers mean.  Nothing here asks.  Safe to call from several threads at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock

from captiond.checking.scripts import words

_LONGEST = 2000  # characters of an answer that are compared
_MOST_SERVERS = 1000


@dataclass(slots=True)
class _Row:
    """One answer, and the different pictures in a row that got it."""

    answer: str
    pictures: set[str] = field(default_factory=set)
    ask_at: int = 0  # the number of pictures at which to test the server


class Repeats:
    """Counts, for each server, how many different pictures in a row got one answer.

    `limit`: so many are suspicious; None or 0: never.  If the server tells the test pictures apart and the
    same answer goes on, each test waits for twice as many pictures as the one before.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit or 0
        self._rows: Counter[str] = Counter()
        self._row_of: dict[str, _Row] = {}
        self._lock = Lock()

    def should_test(self, answer: str, picture: str, server: str = "") -> bool:
        """Whether this answer makes `server` suspicious, so that it must be asked about the test pictures.

        `picture` is the picture's hash: the same one again does not count.
        """
        if not self._limit:
            return False
        with self._lock:
            row = self._row(normal(answer), server)
            row.pictures.add(picture)
            if len(row.pictures) < row.ask_at:
                return False
            row.ask_at *= 2
            row.pictures = set(list(row.pictures)[: row.ask_at // 2])
            return True

    def _row(self, answer: str, server: str) -> _Row:
        row = self._row_of.get(server)
        if row is None or row.answer != answer:
            if len(self._row_of) >= _MOST_SERVERS:
                self._row_of.clear()
            row = self._row_of[server] = _Row(answer, ask_at=self._limit)
        return row

    def forget(self, server: str = "") -> None:
        """Count from zero for a server, for example after a pause."""
        with self._lock:
            self._row_of.pop(server, None)


def are_one(first: str, second: str) -> bool:
    """Did two different test pictures get one answer?  Then the server does not see pictures."""
    return normal(first) == normal(second)


def normal(answer: str) -> str:
    """The form in which answers are compared: the words, without case and punctuation."""
    said = answer[:_LONGEST]
    return " ".join(words(said)) or said.strip()
