"""Answers of the model, kept so that the same picture costs one inference: in the state folder, bounded.

A convenience: if the file is lost, the model is asked about a picture once more and nothing else is lost.  It
may be deleted while the daemon runs, and a broken one is left beside the new one (`support.database`).  What
is read from it is checked before it is used.  It keeps only what a model said, never a person's edit of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from captiond.records import Answer, CaptionRequest, ModelIdentity, Remembered
from captiond.support import wire
from captiond.support.database import Database

log = structlog.get_logger(__name__)

NAME = "answers"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    "key BLOB NOT NULL UNIQUE, source TEXT NOT NULL, answer TEXT NOT NULL)"
)
_PROBE = "SELECT id, key, source, answer FROM answers LIMIT 1"
_GET = "SELECT source, answer FROM answers WHERE key = ?"
_PUT = "INSERT OR REPLACE INTO answers (key, source, answer) VALUES (?, ?, ?)"
_BOUND = "DELETE FROM answers WHERE id <= (SELECT max(id) FROM answers) - ?"


@dataclass(frozen=True, slots=True)
class _Stored:
    """An answer without its question, which the caller of `get` knows."""

    text: str
    raw_output: str | None
    model: ModelIdentity
    prompt_tokens: int | None
    new_tokens: int | None
    finish_reason: str


class Cache:
    """Safe to use from many threads and processes."""

    def __init__(self, folder: Path, entries: int) -> None:
        """`entries`: how many are kept; then the oldest are removed."""
        self._entries = entries
        self._database = Database(folder, NAME, _prepare, probe=_PROBE)
        self._told: str | None = None

    def close(self) -> None:
        self._database.close()

    def get(self, key: bytes, request: CaptionRequest) -> Remembered | None:
        """The answer to this request; None if there is none, or it cannot be read."""
        try:
            row = self._database.do(lambda database: database.execute(_GET, (key,)).fetchone())
            return None if row is None else _remembered(row, request)
        except (sqlite3.Error, OSError, ValueError) as error:
            self._tell(error)
            return None

    def put(self, answers: Sequence[tuple[bytes, Remembered]]) -> None:
        """Keep these answers; if they cannot be written, the model will be asked again."""
        rows = [(key, one.source, _stored(one.answer)) for key, one in answers]

        def write(database: sqlite3.Connection) -> None:
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(_PUT, rows)
                database.execute(_BOUND, (self._entries,))

        try:
            self._database.do(write)
        except (sqlite3.Error, OSError) as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        """Log a reason unless it was logged last: it may hold for every picture."""
        if str(error) != self._told:
            self._told = str(error)
            log.warning(
                "answers cannot be kept or found again; pictures are asked about anew", reason=str(error)
            )


def _prepare(database: sqlite3.Connection) -> None:
    # A power cut may cost the last answers: the model is asked for them again.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(_TABLE)


def _stored(answer: Answer) -> str:
    one = _Stored(
        answer.text,
        answer.raw_output,
        answer.model,
        answer.prompt_tokens,
        answer.new_tokens,
        answer.finish_reason,
    )
    return json.dumps(asdict(one))


def _remembered(row: tuple[object, object], request: CaptionRequest) -> Remembered:
    source, text = row
    if not isinstance(source, str) or not isinstance(text, str):
        raise ValueError("an answer of another kind")
    one = wire.decoded(_Stored, wire.parsed(text.encode()))
    answer = Answer(
        text=one.text,
        raw_output=one.raw_output,
        model=one.model,
        request=request,
        prompt_tokens=one.prompt_tokens,
        new_tokens=one.new_tokens,
        finish_reason=one.finish_reason,
    )
    return Remembered(answer, source)
