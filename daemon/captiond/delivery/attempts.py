"""How often work on a file was begun, kept so that the count outlives a crash and a power cut.

An image that kills the process leaves no other trace than this count.  It lies in the state folder, away from
the images; a database that is missing or broken is begun anew, which costs a few counts and harms no file
(see `support.database`).

A count is durable before its `begin` returns.  Threads that begin together share the wait for the disk: the
first one writes down the counts of all that wait, and the others find theirs done.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from captiond.errors import Surroundings
from captiond.records import Fingerprint
from captiond.support.database import Answer, Database, broken

_TABLE = """
CREATE TABLE IF NOT EXISTS attempts (
    path BLOB NOT NULL, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, begun INTEGER NOT NULL,
    PRIMARY KEY (path, size, modified_ns)
) WITHOUT ROWID
"""
_BEGIN = """
INSERT INTO attempts VALUES (?, ?, ?, 1)
ON CONFLICT DO UPDATE SET begun = begun + 1
"""
_FORGIVE = (
    "UPDATE attempts SET begun = begun - 1 WHERE path = ? AND size = ? AND modified_ns = ? AND begun > 0"
)
_COUNT = "SELECT begun FROM attempts WHERE path = ? AND size = ? AND modified_ns = ?"
_BEGUN = "SELECT DISTINCT path FROM attempts WHERE begun > 0"
_PROBE = "SELECT path, size, modified_ns, begun FROM attempts LIMIT 1"
_CLEAR = "DELETE FROM attempts WHERE path = ?"


@dataclass(slots=True, eq=False)
class _Asked:
    """A thread that waits in `begin`."""

    path: str
    fingerprint: Fingerprint
    begun: int | None = None  # once it is durable


class Attempts:
    """Safe to call from every thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = Database(folder, "attempts", _prepare, probe=_PROBE)
        self._asked: list[_Asked] = []  # not written down yet, the longest waiting first
        self._cleared: list[str] = []  # delivered, and not written down yet
        self._charged: dict[str, Fingerprint] = {}  # begun by this process, neither forgiven nor cleared
        self._owed: dict[str, Fingerprint] = {}  # forgiven while the database could not be written

    def begin(self, path: str, fingerprint: Fingerprint) -> int:
        """Count one more attempt and return how many there are; durable when this returns."""
        asked = _Asked(path, fingerprint)
        self._asked.append(asked)
        try:
            self._do(lambda database: self._count_all(database) if asked.begun is None else None)
        except Surroundings:
            with self._database.lock:
                if asked.begun is None:  # nor had another thread more luck meanwhile
                    self._asked.remove(asked)
                    raise
        assert asked.begun is not None
        self._charged[path] = fingerprint
        return asked.begun

    def _count_all(self, database: sqlite3.Connection) -> None:
        """Write down the attempts of all waiting threads, in one durable step."""
        asked = list(self._asked)
        cleared = list(self._cleared)  # taken last: what is begun anew after its delivery is cleared before
        with database:
            database.execute("BEGIN IMMEDIATE")
            _clear(database, cleared)
            begun = []
            for one in asked:
                if one.path in self._owed:
                    database.execute(_FORGIVE, _key(one.path, self._owed[one.path]))
                database.execute(_BEGIN, _key(one.path, one.fingerprint))
                begun.append(_count(database, one.path, one.fingerprint))
        for one, number in zip(asked, begun, strict=True):
            self._owed.pop(one.path, None)
            one.begun = number
        del self._asked[: len(asked)], self._cleared[: len(cleared)]

    def is_begun(self, path: str) -> bool:
        """Whether this process has counted an attempt that is neither forgiven nor cleared."""
        return path in self._charged

    def forgive(self, path: str, fingerprint: Fingerprint) -> None:
        """Take back what `begin` counted last, once: the image was not what failed.

        Never raises: if the database cannot be written, the next `begin` of this path takes it back first.
        """
        if self._charged.pop(path, None) is None:
            return
        try:
            self._do(lambda database: database.execute(_FORGIVE, _key(path, fingerprint)))
        except Surroundings:
            self._owed[path] = fingerprint

    def clear(self, path: str) -> None:
        """Forget the path: its image is delivered.

        Never raises, and need not be durable: a count that stays behind harms nobody.
        """

        self._charged.pop(path, None)
        self._owed.pop(path, None)
        self._cleared.append(path)
        if self._asked:
            return  # a thread in `begin` writes this down with its own count, or later when it clears that
        try:
            self._do(self._clear_all)
        except Surroundings:
            pass  # the next `begin` meets the same trouble and says so

    def _clear_all(self, database: sqlite3.Connection) -> None:
        cleared = list(self._cleared)
        if not cleared:
            return  # another thread's `begin` has written it down
        database.execute("PRAGMA synchronous = NORMAL")  # spares a wait for the disk
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                _clear(database, cleared)
        finally:
            database.execute("PRAGMA synchronous = FULL")
        del self._cleared[: len(cleared)]

    def count(self, path: str, fingerprint: Fingerprint) -> int:
        return self._do(lambda database: _count(database, path, fingerprint))

    def begun(self) -> set[str]:
        """Every path with a count; at a start, those at which an earlier process may have ended."""
        return {
            os.fsdecode(path) for (path,) in self._do(lambda database: database.execute(_BEGUN).fetchall())
        }

    def close(self) -> None:
        self._database.close()

    def _do(self, act: Callable[[sqlite3.Connection], Answer]) -> Answer:
        with _as_surroundings(self.folder):
            return self._database.do(act)


def _prepare(database: sqlite3.Connection) -> None:
    # NORMAL would lose the last counts to a power cut.
    database.execute("PRAGMA synchronous = FULL")
    database.execute(_TABLE)
    if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise broken("the database of attempts is damaged")


def _key(path: str, fingerprint: Fingerprint) -> tuple[bytes, int, int]:
    # Neither device nor inode: network and FUSE file systems number anew after a remount, and a file that
    # kills the process must not look like another one after each crash.
    return os.fsencode(path), fingerprint.size, fingerprint.modified_ns


def _clear(database: sqlite3.Connection, paths: list[str]) -> None:
    database.executemany(_CLEAR, [(os.fsencode(path),) for path in paths])


def _count(database: sqlite3.Connection, path: str, fingerprint: Fingerprint) -> int:
    row = database.execute(_COUNT, _key(path, fingerprint)).fetchone()
    return int(row[0]) if row is not None else 0


@contextmanager
def _as_surroundings(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise Surroundings(
            f"counting attempts in {folder}: {error}",
            advice="Is the state folder there, writable, and is there space left?",
        ) from error
