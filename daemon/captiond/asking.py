"""What `status`, `explain` and `health` find out from a process of their own, whether a daemon runs or not.

Asks the daemon where there is one, else looks into the folders by the daemon's own rules.  Changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captiond import beneath, control, sidecar
from captiond.companions import pictures_of
from captiond.delivery import places, returns
from captiond.errors import Surroundings
from captiond.inbox import NOT_THERE, Inbox, root, scan
from captiond.inbox.ignore import IMAGE_EXTENSIONS, Ignore
from captiond.names import shown
from captiond.status import Status

if TYPE_CHECKING:
    from captiond.settings import Settings


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a file is where it is; `is_known` where there is, or was, such a file."""

    message: str
    advice: str | None = None
    is_known: bool = True


def status(settings: Settings) -> Status:
    """Of the daemon that serves the inbox; of a stopped one, what lies in its folders.

    Raises Surroundings where there is a daemon and it does not answer, or where the folders cannot be seen.
    """
    folders = settings.folders
    try:
        return Status(**control.ask(folders.state, folders.inbox, {"ask": "status"}))
    except control.NotRunning:
        _refuse_silent(folders.inbox)
    with root.opened(folders.inbox) as descriptor:
        images, ignored = scan.count(descriptor, Ignore(settings.watch.ignore))
    counts = {
        "waiting": images,
        "settling": 0,
        "in_work": 0,
        "done": sum(1 for _ in _records(folders.done)),
        "failed": len(returns.failures(folders.failed)),
        "ignored": ignored,
        "unreadable": 0,
        "missed_events": 0,
    }
    return Status(
        state="stopped",
        pause_reason=None,
        pause_advice=None,
        counts=counts,
        rate_per_second=0.0,
        seconds_to_finish=None,
        watch={"method": settings.watch.method, "degraded": None},
        model={"id": settings.model.id, "device": None, "loaded": False},
        last_error=None,
        started_at=None,
        process=None,
        hanging=None,
    )


def explain(settings: Settings, path: Path, cwd: Path) -> Explanation:
    """Why the file is still in the inbox, or where it went.

    `path` lies in one of the folders, or is a path beneath the inbox.
    """
    folders = settings.folders
    absolute = Path(os.path.abspath(cwd / path))  # noqa: PTH100 - resolve would follow links
    if absolute.is_relative_to(folders.done):
        return _in_done(folders.done, str(absolute.relative_to(folders.done)))
    if absolute.is_relative_to(folders.failed):
        return _in_failed(folders.failed, str(absolute.relative_to(folders.failed)))
    inside = str(absolute.relative_to(folders.inbox)) if absolute.is_relative_to(folders.inbox) else str(path)
    explained = _in_inbox(settings, inside)
    return (
        explained or _left(settings, inside) or Explanation(f"{shown(str(path))} is not known", None, False)
    )


def _in_inbox(settings: Settings, path: str) -> Explanation | None:
    folders = settings.folders
    try:
        answer = control.ask(folders.state, folders.inbox, {"ask": "explain", "path": path})
    except control.NotRunning:
        _refuse_silent(folders.inbox)
        standing = _unstarted(settings).explain(path, takes_text=settings.output.text_sidecar)
        if standing == NOT_THERE:
            return None
        if standing.startswith("ignored"):
            return Explanation(f"It is {standing}.", "captiond is not running either.")
        return Explanation(f"It is {standing}; captiond is not running.", "Start it: captiond run.")
    standing, pause = answer["standing"], answer["pause_reason"]
    if standing == NOT_THERE:
        return None
    if standing.startswith("ignored"):
        return Explanation(f"It is {standing}.", "It stays untouched; rename it if it is an image after all.")
    if answer["state"] == "starting":
        return Explanation(f"It is {standing}; captiond is starting and loads its model.")
    if pause is not None:
        return Explanation(f"It is {standing}; all work is paused: {pause}", answer["pause_advice"])
    return Explanation(f"It is {standing}.")


def _left(settings: Settings, path: str) -> Explanation | None:
    """Where a file went that is not in the inbox any more: beside its name, or under one made from it."""
    folders = settings.folders
    for candidate in _delivered_as(folders.done, path, sidecar.CAPTION_SUFFIX):
        return _in_done(folders.done, candidate)
    for candidate in _delivered_as(folders.failed, path, sidecar.ERROR_SUFFIX):
        return _in_failed(folders.failed, candidate)
    for picture in _pictures_of(path):
        for candidate in _delivered_as(folders.done, picture, sidecar.CAPTION_SUFFIX):
            told = _read(folders.done / (candidate + sidecar.CAPTION_SUFFIX))
            if told is not None and beneath.split(path)[1] in told.companions:
                return Explanation(
                    f"It came along with {folders.done / shown(candidate)} and lies beside it."
                )
    return None


def _pictures_of(path: str) -> Iterator[str]:
    return pictures_of(path, IMAGE_EXTENSIONS, text=True)


def _delivered_as(folder: Path, path: str, suffix: str) -> Iterator[str]:
    inner, name = beneath.split(path)
    stem = name.rpartition(".")[0] or name
    try:
        names = sorted(os.listdir(folder / inner))
    except OSError:
        return
    for record in names:
        delivered = record.removesuffix(suffix)
        if delivered == record or not delivered.startswith(stem):
            continue
        told = _read(folder / inner / record)
        if told is not None and told.path == path:
            yield f"{inner}/{delivered}" if inner else delivered


def _in_done(done: Path, path: str) -> Explanation:
    path = path.removesuffix(sidecar.CAPTION_SUFFIX)
    told = _read(done / (path + sidecar.CAPTION_SUFFIX))
    if told is None:
        if not os.path.lexists(done / path):
            return Explanation(f"there is no {shown(path)} in {done}", None, False)
        for picture in _pictures_of(path):
            if _read(done / (picture + sidecar.CAPTION_SUFFIX)) is not None:
                return Explanation(f"It belongs to {done / shown(picture)}, which was captioned.")
        return Explanation(f"It lies in {done} without a sidecar of captiond's: it was not put there by it.")
    return Explanation(f"It was captioned and lies in {done / shown(path)}: {told.caption}")


def _in_failed(failed: Path, path: str) -> Explanation:
    path = path.removesuffix(sidecar.ERROR_SUFFIX)
    record = failed / (path + sidecar.ERROR_SUFFIX)
    if _read(record) is None:
        if not os.path.lexists(failed / path):
            return Explanation(f"there is no {shown(path)} in {failed}", None, False)
        return Explanation(f"It lies in {failed} without an error of captiond's: it was not put there by it.")
    error = json.loads(record.read_bytes())
    advice = " ".join(filter(None, (error.get("advice"), "Then run `captiond retry`.")))
    return Explanation(f"It failed and lies in {failed / shown(path)}: {error['message']}", advice)


def _read(record: Path) -> sidecar.Sidecar | None:
    try:
        return sidecar.read(record.read_bytes())
    except (OSError, ValueError):
        return None


def _records(done: Path) -> Iterator[str]:
    for _, folders, names in os.walk(done):
        folders[:] = [name for name in folders if name != places.WORK]
        yield from (name for name in names if name.endswith(sidecar.CAPTION_SUFFIX))


def _unstarted(settings: Settings) -> Inbox:
    watch = settings.watch
    return Inbox(
        settings.folders.inbox,
        settle_seconds=watch.settle_seconds,
        incomplete_after_seconds=watch.incomplete_after_seconds,
        rescan_seconds=watch.rescan_seconds,
        poll_interval_seconds=watch.poll_interval_seconds,
        ignore=watch.ignore,
    )


def _refuse_silent(inbox: Path) -> None:
    """A daemon that holds the lock and could not make its socket must not be taken for none."""
    holder = places.lock_holder(inbox)
    if holder is not None:
        raise Surroundings(
            f"a daemon (process {holder}) serves {inbox}, but it cannot be asked",
            advice="It may be starting; else its log says why it has no socket in the state folder.",
        )


def as_json(found: Status | Explanation) -> dict[str, Any]:
    """What `--json` prints."""
    return asdict(found)


def lines(found: Status) -> Iterator[tuple[str, str]]:
    """What `status` prints, for people: a name and a line."""
    counts, model = found.counts, found.model
    yield "state", found.state if found.process is None else f"{found.state} (process {found.process})"
    if found.pause_reason is not None:
        yield "paused", " ".join(filter(None, (found.pause_reason, found.pause_advice)))
    waiting = f"{counts['waiting']} waiting, {counts['settling']} settling, {counts['in_work']} in work"
    unreadable = f", {counts['unreadable']} unreadable" if counts["unreadable"] else ""
    yield "inbox", f"{waiting}, {counts['ignored']} ignored{unreadable}"
    since = f" since {found.started_at}" if found.started_at is not None else ""
    yield "so far", f"{counts['done']} done, {counts['failed']} failed{since}"
    if found.process is not None:
        left = ""
        if found.seconds_to_finish:
            left = f", {timedelta(seconds=round(found.seconds_to_finish))} left"
        yield "speed", f"{found.rate_per_second:.2f} pictures a second{left}"
    where = f"loaded, on {model['device']}" if model["device"] else "loaded"
    yield "model", f"{model['id']}, {where if model['loaded'] else 'not loaded'}"
    yield "watch", " ".join(filter(None, (found.watch["method"], found.watch["degraded"])))
    if counts["missed_events"]:
        yield "missed", f"{counts['missed_events']} events; the scan found these files"
    if found.last_error is not None:
        yield "trouble", found.last_error
