"""What was asked to be described again, kept in `state/redo/` until it is done.

    <id>.json       which pictures, in their order, and how; written whole when asked for, never changed
    <id>.progress   how far it is; written by the daemon alone, and kept for a while when the list is done

Removing `<id>.json` cancels the list.  Both are data: what is read is bounded and checked, and all that a
forged list could do is to have pictures of done/ described again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, get_args

from captiond.delivery.files import enter, exists, give_to_owner_of, names_in, read, remove, write
from captiond.errors import NotThere
from captiond.names import checked_path, name_keys, shown, utc_text
from captiond.records import FieldName
from captiond.redo.filters import WHY, Skip
from captiond.sidecar import checked
from captiond.sidecar.decode import read_json
from captiond.support import openat

FOLDER = "redo"
MOST_ENTRIES = 50_000  # in one list; more make several
_LONGEST_BYTES = 8_000_000  # of one list; more make several
MOST_FINISHED = 20  # finished lists whose progress is kept
MOST_TOLD = 100  # pictures that were left out, the last ones
LONGEST_PROMPT = 4000
_SCHEMA = "captiond/redo"
_ID = re.compile(r"\d{8}-\d{6}(?:-\d{1,6})?")


@dataclass(frozen=True, slots=True)
class Entry:
    path: str  # beneath done/; of a picture in a library, the library's name and the path there
    sha256: str  # of the file as it was dropped: another file of that name is not meant


@dataclass(frozen=True, slots=True)
class Order:
    """One list."""

    id: str
    done: str  # the folder that is meant: several daemons may share a state folder
    asked_at: datetime
    entries: tuple[Entry, ...] = field(repr=False)
    field: FieldName | None = None  # only this text
    edited: bool = False  # people's texts, too
    prompt: str | None = None  # for the caption, in place of the settings'
    filters: str = ""  # for people
    library: str | None = None  # the one in which all of the pictures lie; None: in done/


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a list is."""

    id: str
    total: int
    next: int = 0  # all before it are over
    done: int = 0
    skipped: Mapping[Skip, int] = field(default_factory=dict)
    told: tuple[tuple[str, str], ...] = ()  # the last that were left out: paths as shown, and why
    finished_at: datetime | None = None
    filters: str = ""

    def over(self, path: str, skip: Skip | None, why: str | None = None) -> Progress:
        """One more picture is over."""
        if skip is None:
            return replace(self, done=self.done + 1)
        skipped = {**self.skipped, skip: self.skipped.get(skip, 0) + 1}
        told = (*self.told, (shown(path), why or WHY[skip]))[-MOST_TOLD:]
        return replace(self, skipped=skipped, told=told)


class Lists:
    """The folder of the lists; each call opens it anew, so that it may be deleted at any time."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def add(self, done: Path, chosen: Sequence[tuple[str, str]], now: datetime, **how: Any) -> list[str]:
        """Write lists for these pictures, durably; their ids."""
        with self._opened() as folder:
            return [
                self._add(folder, Order("", os.path.realpath(done), now, part, **how))
                for part in _parts([Entry(*one) for one in chosen])
            ]

    def _add(self, folder: int, order: Order) -> str:
        base, number = order.asked_at.strftime("%Y%m%d-%H%M%S"), 1
        id = base
        while exists(folder, f"{id}.json") or exists(folder, f"{id}.progress"):
            number += 1
            id = f"{base}-{number}"
        _write(folder, f"{id}.json", _order_keys(replace(order, id=id)))
        return id

    def waiting(self, done: Path) -> list[str]:
        """The ids of the lists for this folder, the oldest first; cheap if there is none."""
        if not (self._state / FOLDER).is_dir():
            return []
        with self._opened() as folder:
            return sorted(_ids(folder, ".json"), key=_by_age)

    def is_wanted(self, id: str) -> bool:
        """Whether the list is still there: `cancel` removes it."""
        return (self._state / FOLDER / f"{id}.json").exists()

    def order(self, id: str) -> Order | None:
        """The list; None if there is none, or it cannot be understood."""
        with self._opened() as folder:
            try:
                data = read(folder, f"{_checked(id)}.json")
                return _order_of(id, read_json(data)) if data is not None else None
            except (ValueError, KeyError, TypeError):
                return None

    def progress(self, order: Order) -> Progress:
        """How far the daemon was with the list; nothing done if that cannot be read."""
        with self._opened() as folder:
            found = _progress_at(folder, order.id)
        fresh = Progress(order.id, len(order.entries), filters=order.filters)
        return found if found is not None and found.total == fresh.total else fresh

    def keep(self, progress: Progress) -> None:
        """Write down how far the list is; if it is finished, remove the list itself."""
        with self._opened() as folder:
            _write(folder, f"{progress.id}.progress", _progress_keys(progress))
            if progress.finished_at is not None:
                remove(folder, f"{progress.id}.json")
                for id in sorted(_ids(folder, ".progress") - _ids(folder, ".json"), key=_by_age)[
                    :-MOST_FINISHED
                ]:
                    remove(folder, f"{id}.progress")

    def all(self) -> list[Progress]:
        """The progress of every list that is known, the oldest first."""
        if not (self._state / FOLDER).is_dir():
            return []
        with self._opened() as folder:
            ids = _ids(folder, ".json") | _ids(folder, ".progress")
            found = {id: _progress_at(folder, id) for id in ids}
        told = []
        for id in sorted(ids, key=_by_age):
            progress = found[id]
            if progress is None and (order := self.order(id)) is not None:
                progress = Progress(id, len(order.entries), filters=order.filters)
            told += [progress] if progress is not None else []
        return told

    def cancel(self, id: str) -> None:
        """Raises: NotThere, if no list of that id waits or is being worked on."""
        gone = NotThere(
            f"there is no list {id} (any more): `captiond redo --list` shows those that there are"
        )
        if not _ID.fullmatch(id) or not (self._state / FOLDER).is_dir():
            raise gone
        with self._opened() as folder:
            if not exists(folder, f"{id}.json"):
                raise gone
            remove(folder, f"{id}.json")
            remove(folder, f"{id}.progress")

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with openat.opened(self._state, f"the lists in {self._state / FOLDER}") as state:
            folder = enter(state, FOLDER, 0o700)
            try:
                yield folder
            finally:
                os.close(folder)


def _parts(entries: Sequence[Entry]) -> Iterator[tuple[Entry, ...]]:
    part: list[Entry] = []
    size = 0
    for entry in entries:
        size += 150 + 8 * len(os.fsencode(entry.path))  # the most bytes that it takes in the list
        if part and (len(part) == MOST_ENTRIES or size > _LONGEST_BYTES):
            yield tuple(part)
            part, size = [], 0
        part.append(entry)
    if part:
        yield tuple(part)


def _ids(folder: int, ending: str) -> set[str]:
    names = (name.removesuffix(ending) for name in names_in(folder) if name.endswith(ending))
    return {name for name in names if _ID.fullmatch(name)}


def _by_age(id: str) -> tuple[str, int]:
    """By the time in it, and then by the number behind that."""
    day, time, *number = id.split("-")
    return f"{day}-{time}", int(number[0]) if number else 0


def _checked(id: str) -> str:
    if not _ID.fullmatch(id):
        raise ValueError("not the id of a list")
    return id


def _write(folder: int, name: str, keys: Mapping[str, Any]) -> None:
    data = json.dumps(keys, ensure_ascii=True).encode()
    write(folder, name, [data], partial(give_to_owner_of, folder))
    os.fsync(folder)


def _order_keys(order: Order) -> dict[str, Any]:
    entries = [{**name_keys("path", one.path), "sha256": one.sha256} for one in order.entries]
    told = {name: getattr(order, name) for name in ("field", "edited", "prompt", "filters")}
    head = {"schema": _SCHEMA, "schema_version": 1, **name_keys("done", order.done)}
    head |= {} if order.library is None else {"library": order.library}
    return {**head, "asked_at": utc_text(order.asked_at), **told, "entries": entries}


def _order_of(id: str, told: Mapping[str, Any]) -> Order:
    """Raises: ValueError, KeyError or TypeError, if no `add` can have written this."""
    if told["schema"] != _SCHEMA or told["schema_version"] != 1:
        raise ValueError("not a list of ours")
    asked_at, field, prompt = checked.moment(told["asked_at"]), told["field"], checked.text(told["prompt"])
    if asked_at is None or field not in (None, *get_args(FieldName)) or len(prompt or "") > LONGEST_PROMPT:
        raise ValueError("not a list of ours")
    entries = tuple(
        Entry(checked_path(checked.exact(one, "path")), checked.digest(one["sha256"]))
        for one in told["entries"]
    )
    filters, library = checked.text(told["filters"]) or "", checked.text(told.get("library"))
    if library is not None and not all(one.path.startswith(f"{library}/") for one in entries):
        raise ValueError("not a list of ours")
    done, edited = checked.exact(told, "done"), told["edited"] is True
    return Order(id, done, asked_at, entries, field, edited, prompt, filters, library)


def _progress_keys(progress: Progress) -> dict[str, Any]:
    at = progress.finished_at
    return {**asdict(progress), "finished_at": utc_text(at) if at is not None else None}


def _progress_at(folder: int, id: str) -> Progress | None:
    try:
        told = read_json(read(folder, f"{id}.progress") or b"")
    except ValueError:
        return None
    total, after, done = (checked.count(told.get(key)) for key in ("total", "next", "done"))
    if total is None or after is None or done is None:
        return None
    skipped = {why: checked.count(checked.mapping(told.get("skipped")).get(why)) or 0 for why in WHY}
    pairs = told.get("told") if isinstance(told.get("told"), list) else []
    lines = tuple(
        (str(one[0]), str(one[1])) for one in pairs or () if isinstance(one, list) and len(one) == 2
    )
    return Progress(
        id,
        total,
        min(after, total),
        done,
        {why: count for why, count in skipped.items() if count},
        lines[-MOST_TOLD:],
        checked.moment(told.get("finished_at")),
        checked.text(told.get("filters")) or "",
    )
