"""What `status`, `explain` and `health` find out from a process of their own, whether a daemon runs or not.

Asks the daemon where there is one, else looks into its history, and into the folders by its own rules.
Changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from captiond import sidecar
from captiond.delivery import folders as delivery_folders
from captiond.delivery import retry
from captiond.errors import Surroundings
from captiond.history import Entry, Looking, looked_into
from captiond.inbox import NOT_THERE, Inbox, root, scan
from captiond.inbox.ignore import IMAGE_EXTENSIONS, Ignore
from captiond.names import shown
from captiond.service import control
from captiond.sidecar.companions import pictures_of
from captiond.status import Status
from captiond.support import openat

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.settings.schema import Folders

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a file is where it is; `is_known` where there is, or was, such a file."""

    message: str
    advice: str | None = None
    is_known: bool = True


def status(settings: Settings) -> Status:
    """Of the daemon that serves the inbox; of a stopped one, what waits and what its history knows.

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
        "incomplete": 0,
        "in_work": 0,
        **(_remembered(settings, Looking.counts) or _lying(folders)),
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
    for name, suffix in sidecar.SUFFIXES.items():
        folder = getattr(folders, name)
        if absolute.is_relative_to(folder):
            return _in_results(settings, name, str(absolute.relative_to(folder)).removesuffix(suffix))
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
    """Where a file went that is not in the inbox any more: by the history, else by names like its own."""
    folders = settings.folders
    last = _remembered(settings, lambda history: history.last_of(path))
    if last is not None and _tells_of(folders, last.folder, last.delivered, path):
        return _lies(folders, last.folder, last.delivered)
    for name in sidecar.SUFFIXES:
        for candidate in _delivered_as(folders, name, path):
            return _lies(folders, name, candidate)
    for picture in _pictures_of(path):
        for candidate in _delivered_as(folders, "done", picture):
            told = _record(folders, "done", candidate)
            if told is not None and openat.split(path)[1] in {one.name for one in told.companions}:
                return Explanation(
                    f"It came along with {folders.done / shown(candidate)} and lies beside it."
                )
    return None if last is None else _was(last, folders)


def _in_results(settings: Settings, name: str, delivered: str) -> Explanation:
    """Of a file in done/ or failed/; where its record is gone the history may know it."""
    folders = settings.folders
    if _record(folders, name, delivered) is None:
        entry = _remembered(settings, lambda history: history.by_delivered(name, delivered))
        if entry is not None:
            return _was(entry, folders)
    return _lies(folders, name, delivered)


def _was(entry: Entry, folders: Folders) -> Explanation:
    file = getattr(folders, entry.folder) / entry.delivered
    here = "there without its record" if os.path.lexists(file) else "not there any more"
    where = f"It was put into {shown(str(file.parent))} as {shown(file.name)}, and is {here}."
    what = "failed" if entry.folder == "failed" else "was captioned"
    by = f" by {entry.model}" if entry.model is not None else ""
    words = entry.caption or entry.message or "its record was gone before it was told"
    return Explanation(f"It {what} on {entry.at:%Y-%m-%d %H:%M} UTC{by}: {words}", where)


def _pictures_of(path: str) -> Iterator[str]:
    return pictures_of(path, IMAGE_EXTENSIONS, text=True)


def _remembered(settings: Settings, ask: Callable[[Looking], Answer]) -> Answer | None:
    """What the history says; None where there is none that can be read."""
    try:
        with looked_into(settings.folders.state) as history:
            return None if history is None else ask(history)
    except Surroundings:
        return None


def _delivered_as(folders: Folders, name: str, path: str) -> Iterator[str]:
    inner, base = openat.split(path)
    stem, suffix = base.rpartition(".")[0] or base, sidecar.SUFFIXES[name]
    try:
        records = sorted(os.listdir(getattr(folders, name) / inner))
    except OSError:
        return
    for record in records:
        delivered = f"{inner}/{record}" if inner else record
        if record.startswith(stem) and record.endswith(suffix):
            delivered = delivered.removesuffix(suffix)
            if _tells_of(folders, name, delivered, path):
                yield delivered


def _tells_of(folders: Folders, name: str, delivered: str, path: str) -> bool:
    """Whether the record beside a delivered file says that it was dropped as `path`."""
    told = _record(folders, name, delivered)
    return told is not None and told.path == path


def _lies(folders: Folders, name: str, path: str) -> Explanation:
    folder: Path = getattr(folders, name)
    told = _record(folders, name, path)
    if told is None:
        if not os.path.lexists(folder / path):
            return Explanation(f"there is no {shown(path)} in {folder}", None, False)
        for picture in _pictures_of(path) if name == "done" else ():
            if _record(folders, name, picture) is not None:
                return Explanation(f"It belongs to {folder / shown(picture)}, which was captioned.")
        return Explanation(f"It lies in {folder} without a record of captiond's: it was not put there by it.")
    if told.caption is not None:
        return Explanation(f"It was captioned and lies in {folder / shown(path)}: {told.caption}")
    advice = " ".join(filter(None, (told.advice, "Then run `captiond retry`.")))
    return Explanation(f"It failed and lies in {folder / shown(path)}: {told.message}", advice)


def _record(folders: Folders, name: str, delivered: str) -> sidecar.Record | None:
    return _read(getattr(folders, name) / (delivered + sidecar.SUFFIXES[name]))


def _read(record: Path) -> sidecar.Record | None:
    try:
        return sidecar.decode(record.read_bytes())
    except (OSError, ValueError):
        return None


def _lying(folders: Folders) -> dict[str, int]:
    """What lies in the folders with a record of ours beside it."""
    done = 0
    for _, inner, names in os.walk(folders.done):
        inner[:] = [name for name in inner if name != delivery_folders.WORK]
        done += sum(name.endswith(sidecar.CAPTION_SUFFIX) for name in names)
    return {"done": done, "failed": len(retry.failures(folders.failed))}


def _unstarted(settings: Settings) -> Inbox:
    watch = settings.watch
    return Inbox(
        settings.folders.inbox,
        settle_seconds=watch.settle_seconds,
        settle_untold_seconds=watch.settle_untold_seconds,
        incomplete_after_seconds=watch.incomplete_after_seconds,
        rescan_seconds=watch.rescan_seconds,
        poll_interval_seconds=watch.poll_interval_seconds,
        ignore=watch.ignore,
    )


def _refuse_silent(inbox: Path) -> None:
    """A daemon that holds the lock and could not make its socket must not be taken for none."""
    holder = delivery_folders.lock_holder(inbox)
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
    incomplete = f" ({counts['incomplete']} not complete)" if counts["incomplete"] else ""
    settling = f"{counts['settling']} settling{incomplete}"
    waiting = f"{counts['waiting']} waiting, {settling}, {counts['in_work']} in work"
    unreadable = f", {counts['unreadable']} unreadable" if counts["unreadable"] else ""
    yield "inbox", f"{waiting}, {counts['ignored']} ignored{unreadable}"
    since = f" since {found.started_at}" if found.started_at is not None else " in all"
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
