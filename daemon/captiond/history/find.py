"""Turns what is wanted of the history into SQL.  No file, no thread.

FTS5 finds words, if SQLite has it: upper and lower case and accents do not matter, and the beginning of a
word is enough.  Words in scripts that it cannot cut into words (Chinese, Japanese, Thai, ...), and all words
if SQLite lacks FTS5, are looked for anywhere in the text, one line after the other.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from captiond.history.rows import COLUMNS, TO_REVIEW, instant, name_of
from captiond.names import shown, well_formed

# Thai to Khmer and what the East Asian widths call wide: scripts that put no spaces between words.
_UNSPACED = range(0x0E00, 0x1800)
_QUOTE = '"'
_MOST_WORDS = 32  # FTS5 has a limit, too
MOST_CHOICES = 500

# What pictures can be filtered by; names that are not UTF-8 are bytes and left out.
CHOICES = {
    "beneath": "SELECT DISTINCT rtrim(rtrim(delivered, replace(delivered, '/', '')), '/') AS choice "
    "FROM pictures WHERE typeof(delivered) = 'text' AND choice != '' ORDER BY choice LIMIT ?",
    "model": "SELECT DISTINCT model FROM pictures WHERE model IS NOT NULL ORDER BY model LIMIT ?",
    "format": "SELECT DISTINCT format FROM pictures WHERE format IS NOT NULL ORDER BY format LIMIT ?",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter for pictures; a None does not restrict them."""

    folder: str | None = None  # done | failed
    search: str = ""  # words of caption or path
    beneath: str | None = None  # a folder in that folder, with all that lies below it
    model: str | None = None
    format: str | None = None
    since: datetime | None = None
    until: datetime | None = None  # exclusive
    is_edited: bool | None = None
    needs_look: bool | None = None
    awaits_approval: bool | None = None
    to_review: bool | None = None  # whether it needs a look, or waits for approval
    before: int | None = None  # older than this line
    after: int | None = None  # newer than this line


def has_words(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT rowid FROM words LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True


def finding(
    wanted: Wanted, *, limit: int, by_words: bool, columns: str = COLUMNS
) -> tuple[str, list[object]]:
    """The query for what is wanted, newest first, and its values."""
    words = well_formed(wanted.search).replace("\0", " ").split()[:_MOST_WORDS]
    indexed = [word for word in words if by_words and _is_indexed(word)]
    conditions: list[tuple[str, object]] = []
    if indexed:
        match = " AND ".join(f'"{word.replace(_QUOTE, _QUOTE * 2)}" *' for word in indexed)
        conditions.append(("words MATCH ?", match))
    others = [word.casefold() for word in words if word not in indexed]
    conditions += [("has_word(caption, path, ?)", word) for word in others]
    # In the order of the index that leads: newest first without sorting.
    number = "words.rowid" if indexed else "id"
    conditions += _limits(wanted, number) + _facts(wanted)
    source = "words JOIN pictures ON id = words.rowid" if indexed else "pictures"
    where = f"WHERE {' AND '.join(text for text, _ in conditions)} " if conditions else ""
    query = f"SELECT {columns} FROM {source} {where}ORDER BY {number} DESC LIMIT ?"
    return query, [*(value for _, value in conditions), limit]


def those(ids: Sequence[int]) -> tuple[str, list[object]]:
    """The query for lines by their numbers, in any order."""
    return f"SELECT {COLUMNS} FROM pictures WHERE id IN ({', '.join('?' * len(ids))})", list(ids)


def has_word(caption: str | None, path: str | bytes, word: str) -> bool:
    return word in (caption or "").casefold() or word in shown(name_of(path)).casefold()


def _limits(wanted: Wanted, number: str) -> list[tuple[str, object]]:
    given = ((f"{number} < ?", wanted.before), (f"{number} > ?", wanted.after))
    return [(text, value) for text, value in given if value is not None]


def _facts(wanted: Wanted) -> list[tuple[str, object]]:
    given = {name: getattr(wanted, name) for name in ("folder", "model", "format")}
    conditions = [(f"{name} = ?", value) for name, value in given.items() if value is not None]
    if wanted.beneath:
        # All paths that begin so, by the index; "0" is the character after "/".
        conditions += [("delivered > ?", f"{wanted.beneath}/"), ("delivered < ?", f"{wanted.beneath}0")]
    if wanted.since is not None:
        conditions.append(("at >= ?", instant(wanted.since)))
    if wanted.until is not None:
        conditions.append(("at < ?", instant(wanted.until)))
    if wanted.is_edited is not None:
        conditions.append(("(edited_at IS NOT NULL) = ?", wanted.is_edited))
    # Written so that SQLite uses the indexes of the few for which they hold.
    flags = {
        "needs_look": wanted.needs_look,
        "awaits_approval": wanted.awaits_approval,
        f"id IN ({TO_REVIEW})": wanted.to_review,
    }
    for flag, is_wanted in flags.items():
        if is_wanted is not None:
            conditions.append((f"{flag} AND ?" if is_wanted else f"NOT ({flag}) AND ?", True))
    return conditions


def _is_indexed(word: str) -> bool:
    """Whether FTS5 cuts texts in this word's script into words, and the word holds a letter or digit."""
    return any(char.isalnum() for char in word) and not any(
        ord(char) in _UNSPACED or unicodedata.east_asian_width(char) in "WF" for char in word
    )
