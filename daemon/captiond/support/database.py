"""One SQLite file in the state folder, kept usable whatever becomes of it.

A file that is missing is begun anew, also if it is deleted while it is open.  A broken one is left where it
is, for a person to look at, and the next number is used: `name.sqlite3`, `name-2.sqlite3`.  A reader creates
nothing, and uses the file with the highest number, as a writer does.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

Answer = TypeVar("Answer")

# What SQLite answers if the file is no longer a database of ours; all other errors come from outside it.
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY_SECONDS = 10.0
_LOOKING_BUSY_SECONDS = 2.0


class Database:
    """Safe to call from every thread; one connection is shared by all, behind a lock."""

    def __init__(
        self, folder: Path, name: str, prepare: Callable[[sqlite3.Connection], None], *, probe: str
    ) -> None:
        """`prepare` makes the tables; `probe` is a query that fails if they are not ours."""
        self.folder = folder
        self._name = name
        self._prepare = prepare
        self._probe = probe
        self.lock = threading.Lock()  # held while `do` acts
        self._database: sqlite3.Connection | None = None
        self._number = 0
        self._least = 1  # the files with lower numbers are broken
        self._inode: int | None = None

    def do(self, act: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """What `act` returns; if the file turns out to be broken, once more with a new file.

        Raises: sqlite3.Error or OSError, if the file cannot be used but is not broken.
        """
        with self.lock:
            try:
                return act(self._connection())
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                self._least = self._number + 1
                self._forget_connection()
            return act(self._connection())

    def close(self) -> None:
        with self.lock:
            self._forget_connection()

    def _connection(self) -> sqlite3.Connection:
        """The open database, opened again if its file was deleted or replaced meanwhile."""
        if self._database is not None and _inode(self._file(self._number)) == self._inode:
            return self._database
        self._forget_connection()
        for number in count(max(self._least, latest_number(self.folder, self._name))):
            file, self._number = self._file(number), number
            try:
                self._database = self._open(file)
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
            else:
                self._inode = _inode(file)
                return self._database
        raise AssertionError("unreachable: the numbers do not end")

    def _file(self, number: int) -> Path:
        return file_of(self.folder, self._name, number)

    def _forget_connection(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = self._inode = None

    def _open(self, file: Path) -> sqlite3.Connection:
        # autocommit; a caller that needs several statements together begins a transaction
        database = sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        with ExitStack() as undo:
            undo.callback(database.close)
            database.execute("PRAGMA journal_mode = WAL").fetchone()
            try:
                self._prepare(database)
                database.execute(self._probe).fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # a table with other columns
                    raise broken(f"{file} is not a database of ours") from error
                raise
            _sync_folder(file.parent)
            undo.pop_all()
        return database


@contextmanager
def looked_into(folder: Path, name: str, *, probe: str) -> Iterator[sqlite3.Connection | None]:
    """The database for reading, from any process; None if there is none that can be read."""
    file = file_of(folder, name, latest_number(folder, name))
    with ExitStack() as opened:
        try:
            database = opened.enter_context(closing(_open_to_look(file)))
            database.execute(probe).fetchone()
        except sqlite3.Error:
            yield None
            return
        yield database


def _open_to_look(file: Path) -> sqlite3.Connection:
    """If no journal lies beside it, no process has it open: `immutable` keeps SQLite from making one."""
    journal = file.with_name(file.name + "-wal")
    has_journal = _size(journal) > 0 or _inode(file.with_name(file.name + "-shm")) is not None
    how = "mode=ro" if has_journal else "mode=ro&immutable=1"
    uri = f"file:{quote(os.fsencode(file))}?{how}"
    return sqlite3.connect(uri, uri=True, timeout=_LOOKING_BUSY_SECONDS, isolation_level=None)


def file_of(folder: Path, name: str, number: int) -> Path:
    return folder / (f"{name}.sqlite3" if number == 1 else f"{name}-{number}.sqlite3")


def latest_number(folder: Path, name: str) -> int:
    """The number of the file in use: those with lower numbers are broken."""
    pattern = re.compile(re.escape(name) + r"-([1-9]\d{0,8})\.sqlite3")
    try:
        found = [int(match[1]) for entry in os.listdir(folder) if (match := pattern.fullmatch(entry))]
    except OSError:
        return 1  # opening that file will report what is wrong
    return max(found, default=1)


def broken(message: str) -> sqlite3.DatabaseError:
    """An error for `prepare` to raise if the next file is to be used instead."""
    error = sqlite3.DatabaseError(message)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except OSError:
        return None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
