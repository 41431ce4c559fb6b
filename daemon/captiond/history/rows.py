"""How lines of the history lie in SQLite: tables, queries, and rows to entries and back.  No file, no thread.

A path is kept as text if it is UTF-8, else as bytes, so that both come back exactly.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from captiond.names import is_utf8, shown
from captiond.records import Outcome, Timings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

COLUMNS = (
    "id, at, folder, path, delivered, sha256, caption, model, kind, message, advice, format, width, height, "
    "queued, decode, asked, publish, attempts, edited_at, first_caption, needs_look, "
    "awaits_approval, of_library"
)
_TABLES = (
    """CREATE TABLE IF NOT EXISTS pictures (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, folder TEXT NOT NULL, path NOT NULL, delivered NOT NULL,
        sha256 BLOB, caption TEXT, model TEXT, kind TEXT, message TEXT, advice TEXT,
        format TEXT, width INTEGER, height INTEGER,
        queued REAL, decode REAL, asked REAL, publish REAL, attempts INTEGER,
        edited_at INTEGER, first_caption TEXT, needs_look INTEGER NOT NULL DEFAULT 0,
        awaits_approval INTEGER NOT NULL DEFAULT 0, of_library INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX IF NOT EXISTS by_path ON pictures (path)",
    "CREATE INDEX IF NOT EXISTS by_folder ON pictures (folder)",
    "CREATE INDEX IF NOT EXISTS by_delivered ON pictures (delivered)",
    # Counting a million lines takes a tenth of a second, and a page that shows the numbers asks each second.
    "CREATE TABLE IF NOT EXISTS totals (folder TEXT PRIMARY KEY, pictures INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TRIGGER IF NOT EXISTS counted AFTER INSERT ON pictures BEGIN
        INSERT INTO totals VALUES (new.folder, 1) ON CONFLICT DO UPDATE SET pictures = pictures + 1;
    END""",
)
_WORDS = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS words "
    "USING fts5(says, called, content = '', tokenize = 'unicode61 remove_diacritics 2')"
)
# Columns that a table of an earlier version lacks, and the value that its lines get.
_LATER = {"needs_look": "0", "awaits_approval": "0", "of_library": "0"}
# Few lines need a look, or wait: these indexes are small, and a query for the newest of them reads no others.
_FEW = {"look": "needs_look", "approval": "awaits_approval"}
_BY_FEW = tuple(
    f"CREATE INDEX IF NOT EXISTS by_{name} ON pictures ({columns}) WHERE {condition}"
    for few, condition in _FEW.items()
    for name, columns in ((few, "id"), (f"{few}_in", "folder"))
)
PROBE = "SELECT id, at, folder, path, delivered, caption, first_caption FROM pictures LIMIT 1"

# A start may record once more what the last run had delivered and recorded already.
INSERT = """
INSERT INTO pictures (at, folder, path, delivered, sha256, caption, model, kind, message, advice,
    format, width, height, queued, decode, asked, publish, attempts, needs_look, awaits_approval, of_library)
SELECT :at, :folder, :path, :delivered, :sha256, :caption, :model, :kind, :message, :advice,
    :format, :width, :height, :queued, :decode, :asked, :publish, :attempts, :needs_look,
    :awaits_approval, :of_library
WHERE NOT EXISTS (
    SELECT 1 FROM pictures
    WHERE delivered = :delivered AND folder = :folder AND path = :path AND at = :at AND sha256 IS :sha256
        AND of_library = :of_library
)
"""
REVISE = """
UPDATE pictures
SET first_caption = coalesce(first_caption, caption), caption = ?, edited_at = ?, needs_look = 0,
    awaits_approval = 0
WHERE id = ?
"""
# By days of a clock that is `:ahead` microseconds ahead of UTC.
DAYS = """
SELECT (at + :ahead) / 86400000000, sum(folder = 'done'), sum(folder = 'failed'),
    avg(decode + asked + publish)
FROM pictures WHERE at >= :since GROUP BY 1 ORDER BY 1
"""
KINDS = """
SELECT coalesce(kind, ''), count(*) FROM pictures WHERE folder = 'failed' AND at >= :since
GROUP BY 1 ORDER BY 2 DESC, 1
"""
# No longer a person's edit: a model said it, now or before.
RESTORE = """
UPDATE pictures SET first_caption = NULL, caption = ?, edited_at = NULL, model = coalesce(?, model)
WHERE id = ?
"""
BY_DELIVERED = """
SELECT id, caption FROM pictures WHERE delivered = ? AND folder = 'done' AND path = ? AND of_library = ?
ORDER BY id DESC LIMIT 1
"""
MARK = "UPDATE pictures SET needs_look = ?, awaits_approval = ? WHERE id = ?"
COUNTS = "SELECT folder, pictures FROM totals"
COUNT_NEEDING_A_LOOK = "SELECT count(*) FROM pictures WHERE needs_look"
COUNT_AWAITING_APPROVAL = "SELECT count(*) FROM pictures WHERE awaits_approval"
# Each half by its small index.
TO_REVIEW = "SELECT id FROM pictures WHERE needs_look UNION SELECT id FROM pictures WHERE awaits_approval"
COUNT_TO_REVIEW = f"SELECT count(*) FROM ({TO_REVIEW})"
WORDS_ADD = "INSERT INTO words (rowid, says, called) VALUES (?, ?, ?)"
WORDS_REMOVE = "INSERT INTO words (words, rowid, says, called) VALUES ('delete', ?, ?, ?)"
_LAST_WITH_WORDS = "SELECT coalesce(max(id), 0) FROM words_docsize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Outcome):
    """One line of the history."""

    id: int
    edited_at: datetime | None = None  # when a person put another caption in place of the model's
    first_caption: str | None = None  # what the model said, if a person changed it


@dataclass(frozen=True, slots=True)
class Day:
    """What left the inbox on one day."""

    day: date
    captioned: int
    failed: int
    seconds: float | None  # the average for a captioned picture, without its wait


@dataclass(frozen=True, slots=True)
class Numbers:
    days: tuple[Day, ...]  # those on which there was anything, in order
    failures: Mapping[str, int]  # by kind, the most frequent first


def day_of(row: Sequence[Any]) -> Day:
    number, captioned, failed, seconds = row
    return Day((_EPOCH + timedelta(days=number)).date(), captioned, failed, seconds)


def prepare(connection: sqlite3.Connection) -> None:
    """Make what is missing.  A power cut may cost the last lines, since no commit waits for the disk."""
    connection.execute("PRAGMA synchronous = NORMAL")
    for statement in _TABLES:
        connection.execute(statement)
    for column in _missing(connection):
        connection.execute(
            f"ALTER TABLE pictures ADD COLUMN {column} INTEGER NOT NULL DEFAULT {_LATER[column]}"
        )
    for statement in _BY_FEW:
        connection.execute(statement)
    try:
        connection.execute(_WORDS)
    except sqlite3.OperationalError:
        return  # this SQLite was built without FTS5
    _index_what_is_not(connection)


def as_if_prepared(connection: sqlite3.Connection) -> None:
    """For readers: add the columns that a table of an earlier version lacks, in a view; write nothing."""
    missing = _missing(connection)
    if missing:
        added = ", ".join(f"{_LATER[column]} AS {column}" for column in missing)
        connection.execute(f"CREATE TEMP VIEW pictures AS SELECT *, {added} FROM main.pictures")


def _missing(connection: sqlite3.Connection) -> list[str]:
    there = {row[1] for row in connection.execute("PRAGMA main.table_info(pictures)")}
    return [column for column in _LATER if column not in there]


def _index_what_is_not(connection: sqlite3.Connection) -> None:
    """Index the lines that were written by a SQLite without FTS5."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        (last,) = connection.execute(_LAST_WITH_WORDS).fetchone()
        rows = connection.execute("SELECT id, caption, path FROM pictures WHERE id > ?", (last,))
        connection.executemany(WORDS_ADD, ((id, caption, shown(name_of(path))) for id, caption, path in rows))


def row_of(outcome: Outcome) -> dict[str, object]:
    timings = outcome.timings
    return {
        "at": instant(outcome.at),
        "folder": outcome.folder,
        "path": stored(outcome.path),
        "delivered": stored(outcome.delivered),
        "sha256": bytes.fromhex(outcome.sha256) if outcome.sha256 is not None else None,
        "caption": outcome.caption,
        "model": outcome.model,
        "kind": outcome.kind,
        "message": outcome.message,
        "advice": outcome.advice,
        "format": outcome.format,
        "width": outcome.width,
        "height": outcome.height,
        "queued": timings.queued if timings else None,
        "decode": timings.decode if timings else None,
        "asked": timings.caption if timings else None,
        "publish": timings.publish if timings else None,
        "attempts": outcome.attempts,
        "needs_look": outcome.needs_look,
        "awaits_approval": outcome.awaits_approval,
        "of_library": outcome.library is not None,  # whose name is the first part of the paths
    }


def entry_of(row: Sequence[Any]) -> Entry:
    (
        id, at, folder, path, delivered, sha256, caption, model, kind, message, advice,
        format, width, height, queued, decode, asked, publish, attempts, edited_at, first_caption,
        needs_look, awaits_approval, of_library,
    ) = row  # fmt: skip
    path, delivered = name_of(path), name_of(delivered)
    return Entry(
        id=id,
        at=_moment(at),
        folder=folder,
        path=path,
        delivered=delivered,
        sha256=sha256.hex() if sha256 is not None else None,
        caption=caption,
        model=model,
        kind=kind,
        message=message,
        advice=advice,
        format=format,
        width=width,
        height=height,
        timings=Timings(queued, decode, asked, publish) if queued is not None else None,
        attempts=attempts,
        edited_at=_moment(edited_at) if edited_at is not None else None,
        first_caption=first_caption,
        needs_look=bool(needs_look),
        awaits_approval=bool(awaits_approval),
        library=delivered.partition("/")[0] if of_library else None,
    )


def stored(name: str) -> str | bytes:
    return name if is_utf8(name) else os.fsencode(name)


def name_of(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else os.fsdecode(stored)


def instant(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(instant: int) -> datetime:
    return _EPOCH + instant * _MICROSECOND
