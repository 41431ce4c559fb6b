"""The same answer to different pictures: when it is suspicious, and what settles the suspicion.

A server that drops pictures, or a broken model, says one thing about everything; so does an honest model
about a hundred blank scans.  Two plain test pictures tell which: here stands when to ask about them, and what
their answers mean.  Nothing here asks.  Several threads may tell at once.
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
    """One answer, and the different pictures in a row that it was given to."""

    answer: str
    pictures: set[str] = field(default_factory=set)
    ask_at: int = 0  # so many pictures make us ask


class Repeats:
    """Counts, for each server, how many different pictures in a row got one answer.

    `limit`: so many are suspicious; None or 0: never.  While one answer goes on after the test pictures were
    told apart, each test waits for twice as many pictures as the one before.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit or 0
        self._rows: Counter[str] = Counter()
        self._row_of: dict[str, _Row] = {}
        self._lock = Lock()

    def should_test(self, answer: str, picture: str, server: str = "") -> bool:
        """Is this the answer that makes `server` suspicious, so that it is to be asked about test pictures?

        `picture` names the picture by what it shows (its hash): the same one again says nothing new.
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
        """Start anew for a server, as after a pause that ended."""
        with self._lock:
            self._row_of.pop(server, None)


def are_one(first: str, second: str) -> bool:
    """Did two different test pictures get one answer?  Then the server does not see pictures."""
    return normal(first) == normal(second)


def normal(answer: str) -> str:
    """What is compared of an answer: its words, whatever their case and punctuation."""
    said = answer[:_LONGEST]
    return " ".join(words(said)) or said.strip()
