"""What is known of a library's pictures without reading them: one SQLite file in the state folder.

It is a cache: the sidecars are the truth.  If it is deleted, it is made anew: each described picture is read
once and the model is not asked, but the failures in it are forgotten and tried again.  Trouble with the file
costs time and nothing else, and is logged once.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog

from captiond.errors import Rejected, Surroundings
from captiond.records import Fingerprint
from captiond.support import database

Answer = TypeVar("Answer")
# left: a sidecar whose picture is gone; travels: a RAW whose .xmp says what the picture of its shot says
State = Literal["described", "failed", "left", "travels"]

log = structlog.get_logger(__name__)

NAME = "libraries"
_COLUMNS = (
    "library, path, state, inode, size, modified_ns, sha256, questions, record_inode, record_size, "
    "record_modified_ns, kind, message, advice"
)
_TABLES = (
    """CREATE TABLE IF NOT EXISTS pictures (
        library TEXT NOT NULL, path BLOB NOT NULL, state TEXT NOT NULL,
        inode INTEGER NOT NULL, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL, questions TEXT NOT NULL,
        record_inode INTEGER NOT NULL, record_size INTEGER NOT NULL, record_modified_ns INTEGER NOT NULL,
        kind TEXT, message TEXT, advice TEXT,
        PRIMARY KEY (library, path)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS by_sha256 ON pictures (library, sha256)",
    "CREATE INDEX IF NOT EXISTS by_size ON pictures (library, size)",
)
_PROBE = f"SELECT {_COLUMNS} FROM pictures LIMIT 1"
_SELECT = f"SELECT {_COLUMNS} FROM pictures WHERE library = ? AND "
_PUT = f"INSERT OR REPLACE INTO pictures ({_COLUMNS}) VALUES ({', '.join('?' * 14)})"
_FORGET_FAILURE = "DELETE FROM pictures WHERE library = ? AND path = ? AND state = 'failed'"


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was seen, without device and ctime: those differ after a remount, or after a rename."""

    inode: int = 0
    size: int = 0
    modified_ns: int = 0

    @classmethod
    def of(cls, file: Fingerprint | os.stat_result) -> Seen:
        if isinstance(file, Fingerprint):
            return cls(file.inode, file.size, file.modified_ns)
        return cls(file.st_ino, file.st_size, file.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Row:
    path: str  # in the library
    state: State
    picture: Seen
    sha256: str = ""
    questions: str = ""
    record: Seen = Seen()
    kind: str | None = None
    message: str | None = None
    advice: str | None = None

    @classmethod
    def failed(cls, path: str, picture: Seen, rejected: Rejected) -> Row:
        told = rejected.kind, rejected.message, rejected.advice
        return cls(path, "failed", picture, kind=told[0], message=told[1], advice=told[2])


class Index:
    """One for all libraries; safe to call from every thread.  Never raises for trouble with the file."""

    def __init__(self, state: Path) -> None:
        self._database = database.Database(state, NAME, _prepare, probe=_PROBE)
        self._is_troubled = False

    def get(self, library: str, path: str) -> Row | None:
        return next(iter(self._rows("path = ?", library, os.fsencode(path))), None)

    def of_sha256(self, library: str, sha256: str) -> list[Row]:
        """Pictures with these bytes that are described, or were."""
        return self._rows("sha256 = ? AND state != 'failed'", library, sha256)

    def has_size(self, library: str, size: int) -> bool:
        """Whether a picture of so many bytes is described, or was."""
        return bool(self._rows("size = ? AND state != 'failed' LIMIT 1", library, size))

    def put(self, library: str, rows: Sequence[Row]) -> None:
        values = [_values(library, row) for row in rows]

        def act(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_PUT, values)

        self._do(act, None)

    def drop(self, library: str, paths: Iterable[str]) -> None:
        keys = [(library, os.fsencode(path)) for path in paths]
        query = "DELETE FROM pictures WHERE library = ? AND path = ?"

        def act(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(query, keys)

        if keys:
            self._do(act, None)

    def states(self, library: str) -> dict[str, str]:
        """The state of every path that is known."""
        query = "SELECT path, state FROM pictures WHERE library = ?"
        rows: list[Any] = self._do(lambda connection: connection.execute(query, (library,)).fetchall(), [])
        return {os.fsdecode(path): state for path, state in rows}

    def close(self) -> None:
        self._database.close()

    def _rows(self, where: str, library: str, value: object) -> list[Row]:
        query = _SELECT + where
        rows: list[Any] = self._do(lambda one: one.execute(query, (library, value)).fetchall(), [])
        return [_row(row) for row in rows]

    def _do(self, act: Callable[[sqlite3.Connection], Answer], otherwise: Answer) -> Answer:
        try:
            answer = self._database.do(act)
        except (sqlite3.Error, OSError) as error:
            if not self._is_troubled:
                log.warning(
                    "the index of the libraries cannot be used; pictures are read again", reason=str(error)
                )
            self._is_troubled = True
            return otherwise
        self._is_troubled = False
        return answer


@contextmanager
def looked_into(state: Path) -> Iterator[Callable[[str], Counter[str]]]:
    """How many pictures of a library are in which state, for another process.  Creates nothing."""
    query = "SELECT state, count(*) FROM pictures WHERE library = ? GROUP BY state"
    with database.looked_into(state, NAME, probe=_PROBE) as connection:

        def counts(library: str) -> Counter[str]:
            rows = [] if connection is None else connection.execute(query, (library,)).fetchall()
            return Counter(dict(rows))

        yield counts


def failure_of(state: Path, library: str, path: str) -> Row | None:
    """Why the picture failed, for another process; None if it did not.  Creates nothing."""
    with database.looked_into(state, NAME, probe=_PROBE) as connection:
        if connection is None:
            return None
        query = f"{_SELECT} path = ? AND state = 'failed'"
        row = connection.execute(query, (library, os.fsencode(path))).fetchone()
    return None if row is None else _row(row)


def failures_of(state: Path, library: str) -> list[str]:
    """Which pictures failed, for another process.  Creates nothing."""
    query = "SELECT path FROM pictures WHERE library = ? AND state = 'failed' ORDER BY path"
    with database.looked_into(state, NAME, probe=_PROBE) as connection:
        rows = [] if connection is None else connection.execute(query, (library,)).fetchall()
    return [os.fsdecode(path) for (path,) in rows]


def forget_failure(state: Path, library: str, path: str) -> bool:
    """Let the daemon try the picture again at its next look; whether it had failed.

    Raises: Surroundings, if the index cannot be changed.
    """
    file = database.file_of(state, NAME, database.latest_number(state, NAME))
    if not file.exists():
        return False
    try:
        connection = sqlite3.connect(file, timeout=10.0, isolation_level=None)
        try:
            return connection.execute(_FORGET_FAILURE, (library, os.fsencode(path))).rowcount > 0
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise Surroundings(
            f"the index of the libraries ({file}) cannot be changed: {error}",
            advice="Run this as the daemon's user or as root.",
        ) from error


def _prepare(connection: sqlite3.Connection) -> None:
    """A power cut may cost the last rows: the next look finds out again what they said."""
    connection.execute("PRAGMA synchronous = NORMAL")
    for statement in _TABLES:
        connection.execute(statement)


def _values(library: str, row: Row) -> tuple[object, ...]:
    picture, record = row.picture, row.record
    return (
        library, os.fsencode(row.path), row.state, _signed(picture.inode), picture.size, picture.modified_ns,
        row.sha256, row.questions, _signed(record.inode), record.size, record.modified_ns,
        row.kind, row.message, row.advice,
    )  # fmt: skip


def _row(row: Sequence[Any]) -> Row:
    (
        _, path, state, inode, size, modified_ns, sha256, questions, record_inode, record_size,
        record_modified_ns, kind, message, advice,
    ) = row  # fmt: skip
    picture = Seen(_unsigned(inode), size, modified_ns)
    record = Seen(_unsigned(record_inode), record_size, record_modified_ns)
    return Row(os.fsdecode(path), state, picture, sha256, questions, record, kind, message, advice)


def _signed(number: int) -> int:
    """SQLite's numbers have 63 bits and a sign; some file systems give inodes of 64."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number
