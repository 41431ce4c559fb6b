"""What became of every picture that left the inbox, kept in the state folder for people to look through.

A convenience: no picture depends on it.  Deleting the file, even while the daemon runs, costs the history and
nothing else; a broken one is left beside the new one (`support.database`).  No picture waits until it is
written: a thread of its own writes many lines together, and a crash costs at most the last of them.  A
person's later caption is kept beside what the model said.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog

from captiond.errors import Surroundings
from captiond.history.find import CHOICES, MOST_CHOICES, Wanted, finding, has_word, has_words, those
from captiond.history.rows import (
    BY_DELIVERED,
    COLUMNS,
    COUNT_AWAITING_APPROVAL,
    COUNT_NEEDING_A_LOOK,
    COUNT_TO_REVIEW,
    COUNTS,
    DAYS,
    INSERT,
    KINDS,
    MARK,
    PROBE,
    RESTORE,
    REVISE,
    WORDS_ADD,
    WORDS_REMOVE,
    Entry,
    Numbers,
    as_if_prepared,
    day_of,
    entry_of,
    instant,
    name_of,
    prepare,
    row_of,
    stored,
)
from captiond.names import shown, well_formed
from captiond.records import Outcome
from captiond.support import database
from captiond.support.background import Aside

__all__ = ["Entry", "History", "Looking", "Numbers", "Wanted", "looked_into"]

log = structlog.get_logger(__name__)

NAME = "history"
MOST_UNWRITTEN = 10_000
AT_ONCE = 500
CLOSING_SECONDS = 5.0


class Do(Protocol):
    def __call__(self, act: Callable[[sqlite3.Connection], database.Answer], /) -> database.Answer: ...


class Looking:
    """The questions that a history answers.  Each raises Surroundings, if the history cannot be read."""

    def __init__(self, folder: Path, do: Do) -> None:
        self._folder = folder
        self._read = do

    def entries(
        self, *, folder: str | None = None, search: str = "", before: int | None = None, limit: int = 50
    ) -> list[Entry]:
        """Newest first.  `before`: older than that entry; `search`: every word of it in caption or path."""
        return self.find(Wanted(folder, search, before=before), limit)

    def find(self, wanted: Wanted, limit: int) -> list[Entry]:
        """Newest first."""
        return [entry_of(row) for row in self._found(wanted, limit, COLUMNS)]

    def ids(self, wanted: Wanted, limit: int) -> list[int]:
        """Only the numbers of the wanted entries, newest first."""
        return [id for (id,) in self._found(wanted, limit, "id")]

    def those(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of these numbers, in this order, without those that are not there."""
        query, values = those(ids)
        rows = self._do(lambda connection: connection.execute(query, values).fetchall())
        found = {entry.id: entry for entry in map(entry_of, rows)}
        return [found[id] for id in ids if id in found]

    def choices(self) -> dict[str, list[str]]:
        """What a filter can offer: folders with pictures in them, models, formats."""

        def act(connection: sqlite3.Connection) -> dict[str, list[str]]:
            return {
                name: [row[0] for row in connection.execute(query, (MOST_CHOICES,))]
                for name, query in CHOICES.items()
            }

        return self._do(act)

    def _found(self, wanted: Wanted, limit: int, columns: str) -> list[Sequence[Any]]:
        def act(connection: sqlite3.Connection) -> list[Sequence[Any]]:
            connection.create_function("has_word", 3, has_word, deterministic=True)
            query, values = finding(wanted, limit=limit, by_words=has_words(connection), columns=columns)
            return connection.execute(query, values).fetchall()

        return self._do(act)

    def entry(self, id: int) -> Entry | None:
        return self._one("id = ?", id)

    def last_of(self, path: str) -> Entry | None:
        """The newest entry of a picture that was dropped as `path`."""
        return self._one("path = ? ORDER BY id DESC LIMIT 1", stored(path))

    def by_delivered(self, folder: str, delivered: str) -> Entry | None:
        """The newest entry of a picture that was delivered under this name."""
        return self._one("delivered = ? AND folder = ? ORDER BY id DESC LIMIT 1", stored(delivered), folder)

    def counts(self) -> dict[str, int]:
        """How many were captioned, how many failed, and how many of them a person should look at."""

        def act(connection: sqlite3.Connection) -> tuple[dict[str, int], int]:
            (needing,) = connection.execute(COUNT_NEEDING_A_LOOK).fetchone()
            return dict(connection.execute(COUNTS).fetchall()), needing

        found, needing = self._do(act)
        return {"done": found.get("done", 0), "failed": found.get("failed", 0), "needs_look": needing}

    def to_review(self) -> dict[str, int]:
        """How many wait for approval, and how many for that or for a look."""

        def act(connection: sqlite3.Connection) -> tuple[int, int]:
            (awaiting,), (all_of_them,) = (
                connection.execute(query).fetchone() for query in (COUNT_AWAITING_APPROVAL, COUNT_TO_REVIEW)
            )
            return awaiting, all_of_them

        awaiting, all_of_them = self._do(act)
        return {"awaits_approval": awaiting, "to_review": all_of_them}

    def numbers(self, since: datetime, ahead: timedelta) -> Numbers:
        """What became of the pictures of each day; `ahead`: how far the days' clock is ahead of UTC."""
        asked = {"since": instant(since), "ahead": ahead // timedelta(microseconds=1)}

        def act(connection: sqlite3.Connection) -> Numbers:
            days = connection.execute(DAYS, asked).fetchall()
            kinds = connection.execute(KINDS, asked).fetchall()
            return Numbers(tuple(day_of(row) for row in days), dict(kinds))

        return self._do(act)

    def _one(self, where: str, *values: object) -> Entry | None:
        query = f"SELECT {COLUMNS} FROM pictures WHERE {where}"
        row = self._do(lambda connection: connection.execute(query, values).fetchone())
        return entry_of(row) if row is not None else None

    def _do(self, act: Callable[[sqlite3.Connection], database.Answer]) -> database.Answer:
        try:
            return self._read(act)
        except (sqlite3.Error, OSError) as error:
            raise Surroundings(
                f"the history in {self._folder} cannot be used: {error}",
                advice="Is the state folder there, writable, and is there space left?",
            ) from error


class History(Looking):
    """The history that a daemon writes.  Safe to call from every thread."""

    def __init__(self, folder: Path) -> None:
        self._database = database.Database(folder, NAME, prepare, probe=PROBE)
        super().__init__(folder, self._database.do)
        self._aside = Aside("history", self._write, most=MOST_UNWRITTEN, at_once=AT_ONCE)
        self._is_troubled = False
        self.awaiting_approval = 0  # pictures, as of the last change or count

    def count(self) -> None:
        """Count what waits for approval; never raises."""
        with suppress(Surroundings):
            self._do(self._count)

    def _count(self, connection: sqlite3.Connection) -> None:
        (self.awaiting_approval,) = connection.execute(COUNT_AWAITING_APPROVAL).fetchone()

    def record(self, outcome: Outcome) -> None:
        """Never raises and never waits; the entry can be read a moment later, or after `flush`."""
        self._aside.put(outcome)

    def flush(self, seconds: float = CLOSING_SECONDS) -> bool:
        return self._aside.flush(seconds)

    def revise(self, id: int, caption: str, at: datetime) -> Entry | None:
        """Replace a caption by a person's, which needs no look; None if there is no such entry."""
        caption = well_formed(caption)
        return self._change(id, caption, REVISE, (caption, instant(at), id))

    def restore(self, id: int, caption: str, model: str | None = None) -> Entry | None:
        """Replace a caption by a model's, no longer marked as edited; None if there is no such entry."""
        caption = well_formed(caption)
        return self._change(id, caption, RESTORE, (caption, model, id))

    def _change(self, id: int, caption: str, statement: str, values: tuple[object, ...]) -> Entry | None:
        def act(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                row = connection.execute("SELECT caption, path FROM pictures WHERE id = ?", (id,)).fetchone()
                if row is None:
                    return
                connection.execute(statement, values)
                if has_words(connection):
                    path = shown(name_of(row[1]))
                    connection.execute(WORDS_REMOVE, (id, row[0], path))
                    connection.execute(WORDS_ADD, (id, caption, path))
            self._count(connection)

        self._do(act)
        return self.entry(id)

    def mark(self, id: int, *, needs_look: bool, awaits_approval: bool = False) -> Entry | None:
        """Note whether a person should look at its texts or approve them; None if there is no such entry."""

        def act(connection: sqlite3.Connection) -> None:
            connection.execute(MARK, (needs_look, awaits_approval, id))
            self._count(connection)

        self._do(act)
        return self.entry(id)

    def close(self) -> None:
        left = self._aside.close(CLOSING_SECONDS)
        if left:  # the connection is in use, by a thread that ends with the process
            log.warning("the last lines of the history were not written", lines=left)
        else:
            self._database.close()

    def _write(self, outcomes: list[Outcome]) -> None:
        """Write these lines; the log says once that it cannot be done, and once that it can be again."""

        def act(connection: sqlite3.Connection) -> None:
            _insert(connection, outcomes)
            self._count(connection)

        try:
            self._do(act)
        except Surroundings as trouble:
            if not self._is_troubled:
                log.warning("the history is not written", reason=trouble.message, advice=trouble.advice)
            self._is_troubled = True
        else:
            if self._is_troubled:
                log.info("the history is written again")
            self._is_troubled = False


@contextmanager
def looked_into(folder: Path) -> Iterator[Looking | None]:
    """The history as another process left or writes it; None if there is none.  Creates nothing."""
    with database.looked_into(folder, NAME, probe=PROBE) as connection:
        try:
            if connection is not None:
                as_if_prepared(connection)
        except sqlite3.Error:
            connection = None
        if connection is None:
            yield None
            return
        yield Looking(folder, lambda act: act(connection))


def _insert(connection: sqlite3.Connection, outcomes: list[Outcome]) -> None:
    by_words = has_words(connection)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for outcome in outcomes:
            if outcome.event is not None:
                _follow(connection, outcome, by_words=by_words)
                continue
            cursor = connection.execute(INSERT, row_of(outcome))
            if by_words and cursor.rowcount:
                connection.execute(WORDS_ADD, (cursor.lastrowid, outcome.caption, shown(outcome.path)))


def _follow(connection: sqlite3.Connection, outcome: Outcome, *, by_words: bool) -> None:
    """Change the line of a picture whose texts were changed or approved; an edit has changed its caption."""
    where = (stored(outcome.delivered), stored(outcome.path), outcome.library is not None)
    row = connection.execute(BY_DELIVERED, where).fetchone()
    if row is None:
        return
    id, former = row
    connection.execute(MARK, (outcome.needs_look, outcome.awaits_approval, id))
    if outcome.event != "redone" or outcome.caption is None:
        return
    connection.execute(RESTORE, (outcome.caption, outcome.model, id))
    if by_words:
        connection.execute(WORDS_REMOVE, (id, former, shown(outcome.path)))
        connection.execute(WORDS_ADD, (id, outcome.caption, shown(outcome.path)))
