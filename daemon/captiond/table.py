"""All texts as a table, one picture a line: CSV for spreadsheets, JSON lines for programs, and both back.

Pure.  A cell that a spreadsheet would take for a formula gets an apostrophe before it, and so does a cell
that begins with an apostrophe, so that reading gives back exactly what was written.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from captiond.names import checked_path, name_keys
from captiond.records import FieldName, Texts
from captiond.sidecar import Record, checked
from captiond.sidecar.decode import read_json
from captiond.sidecar.plain import plain

FIELDS: tuple[FieldName, ...] = get_args(FieldName)
COLUMNS = (
    "path", "published_sha256", *FIELDS, "model", "revision", "edited", "needs_look", "library", "path_hex",
)  # fmt: skip
LONGEST_LINE = 1 << 20  # characters
_RISKY = ("=", "+", "-", "@", "\t", "\r", "'")
_BETWEEN = "; "
_DELIMITERS = ",;\t"

Value = str | list[str] | None


class Unreadable(Exception):
    """The file is no table of ours."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture that goes out."""

    path: str  # beneath done/; in a library, its name and the path there
    record: Record
    library: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One picture as the table has it, or the fault of its line."""

    number: int  # in the file, from 1
    path: str = ""
    published_sha256: str = ""
    cells: Mapping[FieldName, Value] | None = None  # of the columns that are there
    is_csv: bool = True
    fault: str | None = None
    library: str | None = None  # the one in which the picture lies; empty: in done/; None: it is not told


def as_csv(pictures: Iterable[Row]) -> Iterator[str]:
    """A line of column names, then a line for each picture."""
    yield _csv_line(COLUMNS)
    for row in pictures:
        told = _told(row)
        yield _csv_line([guarded(_cell(told.get(name))) for name in COLUMNS])


def as_jsonl(pictures: Iterable[Row]) -> Iterator[str]:
    for row in pictures:
        yield json.dumps(plain(_told(row)), ensure_ascii=False) + "\n"


def guarded(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_RISKY) else cell


def bared(cell: str) -> str:
    """Undo `guarded`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_RISKY) else cell


def read(text: io.TextIOBase) -> Iterator[Line]:
    """The lines of a table.  Raises: Unreadable, if it is no table of ours at all."""
    first = text.readline(LONGEST_LINE)
    if first.lstrip().startswith("{"):
        yield from _json_lines(first, text)
    else:
        yield from _csv_lines(first, text)


def changes(line: Line, record: Record) -> dict[FieldName, Value]:
    """The texts of the line that differ from the record's."""
    assert line.cells is not None and record.texts is not None
    present = _values(record.texts)
    if not line.is_csv:
        return {name: new for name, new in line.cells.items() if (new or None) != (present[name] or None)}
    return {
        name: (_split(str(new)) if name == "keywords" else str(new) or None)
        for name, new in line.cells.items()
        if new != _cell(present[name])
    }


def _values(texts: Texts) -> dict[FieldName, Value]:
    told: dict[FieldName, Value] = {name: getattr(texts, name) for name in FIELDS if name != "keywords"}
    return told | {"keywords": list(texts.keywords)}


def _told(row: Row) -> dict[str, Any]:
    record = row.record
    assert record.texts is not None
    model = checked.mapping(record.rest.get("model"))
    values = _values(record.texts)
    named = name_keys("path", row.path)
    return {
        "path": named.pop("path"),
        "published_sha256": record.published_sha256,
        **{name: values[name] for name in FIELDS},
        "model": checked.text(model.get("id")),
        "revision": checked.text(model.get("revision")),
        "edited": record.edited is not None,
        "needs_look": record.rest.get("needs_look") is True,
        "library": row.library,
        **named,
    }


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return _BETWEEN.join(value)
    return "" if value is None else str(plain(value))


def _split(cell: str) -> list[str]:
    return [word.strip() for word in cell.split(_BETWEEN.strip()) if word.strip()]


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()


def _csv_lines(first: str, rest: io.TextIOBase) -> Iterator[Line]:
    delimiter = max(_DELIMITERS, key=first.count)
    head = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    if not {"path", "published_sha256"} <= set(head):
        raise Unreadable("its first line names no columns `path` and `published_sha256`")
    reader = csv.reader(rest, delimiter=delimiter)
    while True:
        number = reader.line_num + 2
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Line(number, fault=f"it is no line of CSV: {error}")
            continue
        if not any(cells):
            continue
        if len(cells) != len(head):
            yield Line(number, fault=f"it has {len(cells)} cells, and the first line {len(head)}")
            continue
        told = dict(zip(head, map(bared, cells), strict=True))
        yield _line(number, told, {name: told[name] for name in FIELDS if name in told}, is_csv=True)


def _json_lines(first: str, rest: io.TextIOBase) -> Iterator[Line]:
    number, text = 1, first
    while text:
        if text.strip():
            try:
                told = read_json(text.encode(errors="surrogatepass"))
                yield _line(number, told, _json_cells(told), is_csv=False)
            except (ValueError, UnicodeError) as error:
                yield Line(number, fault=f"it is no line of JSON: {error}")
        number, text = number + 1, rest.readline(LONGEST_LINE)


def _json_cells(told: Mapping[str, Any]) -> dict[FieldName, Value]:
    """Raises: ValueError, if a value is no text."""
    cells: dict[FieldName, Value] = {}
    for name in FIELDS:
        value = told.get(name)
        is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if value is not None and not (is_list if name == "keywords" else isinstance(value, str)):
            raise ValueError(f"{name} is no text")
        if name in told:
            cells[name] = value
    return cells


def _line(number: int, told: Mapping[str, Any], cells: Mapping[FieldName, Value], *, is_csv: bool) -> Line:
    try:
        exact = told.get("path_hex")
        path = checked_path(os.fsdecode(bytes.fromhex(str(exact))) if exact else told.get("path"))
        sha256 = checked.digest(told.get("published_sha256"))
    except ValueError as error:
        return Line(number, fault=f"it names no picture: {error}")
    library = (told["library"] or "") if "library" in told else None
    if library is not None and not isinstance(library, str):
        return Line(number, fault="it names no library: not a text")
    return Line(number, path, sha256, cells, is_csv, library=library)
