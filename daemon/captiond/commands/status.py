"""What `status` and `health` ask a running daemon, and how a status reads.  Imports next to nothing.

`quick` answers in a tenth of a second if a daemon runs by the settings that we would read; in every other
case the settings are read in full and `inspect` looks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from captiond.service import client
from captiond.status import LibraryStatus, Status, Unserved, downloading
from captiond.support import settings_file, wire

Answer = TypeVar("Answer")

SYSTEM_FILE = Path("/etc/captiond/captiond.yaml")
WATCH_SECONDS = 1.0


def quick(
    named: Path | None, environ: Mapping[str, str], cwd: Path, *, system_file: Path = SYSTEM_FILE
) -> Status | None:
    """The status of the daemon that runs by the settings these arguments name; None if that is unknown.

    Raises: Surroundings, if there is such a daemon and it does not answer.
    """
    file = settings_file.choose(named, environ, cwd, system_file)
    places = settings_file.whereabouts(file, environ, cwd) if file is not None else None
    if places is None:
        return None
    inbox, state = places
    try:
        answer = client.ask(state, inbox, {"ask": "status"})
    except client.NotRunning:
        return None
    expected = settings_file.fingerprint(file, environ)
    return of(answer, inbox) if expected is not None and answer.get("settings") == expected else None


def of(answer: Mapping[str, Any], inbox: Path) -> Status:
    """The status in a daemon's answer.  Raises: Surroundings, if the daemon's version answers otherwise."""
    try:
        return wire.decoded(Status, answer.get("status"))
    except ValueError as error:
        raise client.not_understood(inbox, error) from error


def again_and_again(ask: Callable[[], Answer]) -> Iterator[Answer]:
    """What `ask` gives now and each second, for as long as the caller wants it."""
    while True:
        began = time.monotonic()
        yield ask()
        time.sleep(max(WATCH_SECONDS - (time.monotonic() - began), 0.1))


def lines(found: Status) -> Iterator[str]:
    """What `status` prints, for people."""
    return (f"{name:8}  {text}" for name, text in _rows(found))


def _rows(found: Status) -> Iterator[tuple[str, str]]:
    model, counts = found.model, Counter(found.counts)
    yield "state", found.state if found.process is None else f"{found.state} (process {found.process})"
    if found.pause_reason is not None:
        until = f"(until {moment(found.pause_until)})" if found.pause_until is not None else None
        yield "paused", " ".join(filter(None, (found.pause_reason, until, found.pause_advice)))
    yield "inbox", ", ".join(_inbox(counts, found.gives_up_seconds))
    if found.unserved:
        yield "unserved", ", ".join(map(unserved, found.unserved))
    since = f" since {moment(found.started_at)}" if found.started_at is not None else " in all"
    again = f", {counts['duplicates']} sent again" if counts["duplicates"] else ""
    look = f" ({counts['needs_look']} to be looked at)" if counts["needs_look"] else ""
    cached = f" ({counts['cached']} as copies of others)" if counts["cached"] else ""
    yield "so far", f"{counts['done']} done{cached}{look}, {counts['failed']} failed{again}{since}"
    if counts["awaits_approval"]:
        yield "approval", f"waiting for approval: {counts['awaits_approval']} (`captiond approve` lists them)"
    if found.process is not None:
        left = f", {duration(found.seconds_to_finish)} left" if found.seconds_to_finish else ""
        yield "speed", f"{found.rate_per_second:.2f} pictures a second{left}"
    where = f"loaded, on {model['device']}" if model.get("device") else "loaded"
    if found.download is not None:
        where = downloading(found.download)
    elif not model.get("loaded"):
        where = "not loaded"
    yield "model", f"{model.get('id')}, {where}"
    yield "watch", " ".join(filter(None, (found.watch.get("method"), found.watch.get("degraded"))))
    for library in found.libraries:
        yield "library", ", ".join(_library(library))
    if counts["missed_events"]:
        yield "missed", f"{counts['missed_events']} events; the scan found these files"
    if found.last_error is not None:
        yield "trouble", found.last_error


def _library(library: LibraryStatus) -> Iterator[str]:
    """What is known of one library; if it is away, the last line says why."""
    state = "" if library.state == "unknown" else f" {library.state}"
    yield f"{library.name}:{state}, {library.described} of {library.pictures} described".replace(":,", ":")
    if library.state != "unknown":
        yield f"{library.waiting} waiting"
    if library.failed:
        yield f"{library.failed} failed"
    if library.left_behind:
        yield f"{library.left_behind} sidecars left behind"
    if library.reason is not None:
        yield " ".join(filter(None, (library.reason, library.advice)))


def _inbox(counts: Mapping[str, int], gives_up_seconds: float | None) -> Iterator[str]:
    """What lies in the inbox, by kind: files that move, and files that wait for another program."""
    yield f"{counts['waiting']} waiting"
    yield f"{counts['settling'] - counts['incomplete']} settling"
    if counts["held"]:
        yield f"{counts['held']} being written"
    if counts["incomplete"] > counts["held"]:
        yield not_whole(counts["incomplete"] - counts["held"], gives_up_seconds)
    yield f"{counts['in_work']} in work"
    yield f"{counts['ignored']} ignored"
    if counts["unreadable"]:
        yield f"{counts['unreadable']} unreadable"


def unserved(one: Unserved) -> str:
    """`63 RAW (pip install 'captiond[raw]')`."""
    return f"{one.files:,} {one.kind} ({one.advice})"


def not_whole(count: int, gives_up_seconds: float | None) -> str:
    """`1 not whole (given up in 9:50)`."""
    first = "" if count == 1 else "the first "
    fate = "" if gives_up_seconds is None else f" ({first}given up in {duration(gives_up_seconds)})"
    return f"{count} not whole{fate}"


def duration(seconds: float) -> str:
    """`9:50` or `1:09:50`, and never `0:00` for what is still to come."""
    minutes, rest = divmod(max(round(seconds), 1), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(at: datetime | str) -> str:
    """A time by the reader's clock and, if that is another, in UTC: `2026-11-23 11:00 CET, 10:00 UTC`."""
    try:
        known = datetime.fromisoformat(at) if isinstance(at, str) else at
        utc, here = known.astimezone(UTC), known.astimezone()
    except (ValueError, OverflowError):
        return str(at)
    if not here.utcoffset():
        return f"{utc:%Y-%m-%d %H:%M} UTC"
    day = "" if here.date() == utc.date() else f"{utc:%Y-%m-%d} "
    return f"{here:%Y-%m-%d %H:%M %Z}, {day}{utc:%H:%M} UTC"
