"""What `status`, `explain` and `health` find out from a process of their own, whether a daemon runs or not.

It asks the daemon if there is one, else looks into its history, and into the folders by the daemon's rules.
It opens regular files only, reads no more of them than a record may have, and changes nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from captiond import sidecar
from captiond.commands import library_files
from captiond.commands.folders import refuse_missing
from captiond.commands.sentences import sentence
from captiond.commands.status import moment, of
from captiond.delivery import folders as delivery_folders
from captiond.delivery import retry
from captiond.errors import Surroundings
from captiond.formats import raw
from captiond.history import Entry, Looking, looked_into
from captiond.inbox import root, scan, unserved
from captiond.names import shown, utc_text
from captiond.service import client
from captiond.service.build import inbox_of
from captiond.service.resting import resting_of
from captiond.service.rules import ignore_of
from captiond.sidecar.companions import Names, pictures_among, pictures_of
from captiond.status import Standing, Status, Where
from captiond.support import openat, wire

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.settings.library import Library
    from captiond.settings.schema import Folders

Answer = TypeVar("Answer")
_LONGEST_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a file is where it is; `is_known`: whether there is, or was, such a file."""

    message: str
    advice: str | None = None
    is_known: bool = True
    standing: Standing | None = None  # of a file in the inbox

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def status(settings: Settings) -> Status:
    """The status of the daemon of the inbox; if it is stopped, what waits and what its history knows.

    Raises: Surroundings, if there is a daemon and it does not answer, or if the folders cannot be seen.
    """
    folders = settings.folders
    try:
        return of(client.ask(folders.state, folders.inbox, {"ask": "status"}), folders.inbox)
    except client.NotRunning:
        refuse_missing(settings, "inbox")
        _refuse_silent(folders.inbox)
    rules = ignore_of(settings)
    with root.opened(folders.inbox) as descriptor:
        images, ignored = scan.count(descriptor, rules)
        pictures = unserved.beneath(descriptor, rules, lambda _: bool(settings.output.text_sidecar))
    counts = {
        "waiting": images,
        "settling": 0,
        "incomplete": 0,
        "held": 0,
        "in_work": 0,
        "duplicates": 0,
        "needs_look": 0,
        "awaits_approval": 0,
        "cached": 0,
        **(_remembered(settings, _known_counts) or _lying(folders)),
        "ignored": ignored,
        "unreadable": 0,
        "missed_events": 0,
    }
    rest = resting_of(settings).look()
    return Status(
        state="stopped",
        pause_reason=rest.reason if rest is not None else None,
        pause_advice=rest.advice if rest is not None else None,
        pause_wanted=rest is not None,
        pause_until=utc_text(rest.until) if rest is not None and rest.until is not None else None,
        counts=counts,
        rate_per_second=0.0,
        seconds_to_finish=None,
        watch={"method": settings.watch.method, "degraded": None},
        model={"id": settings.model.id, "device": None, "loaded": False},
        last_error=None,
        started_at=None,
        process=None,
        hanging=None,
        libraries=library_files.at_rest(settings),
        unserved=pictures,
    )


def _known_counts(history: Looking) -> dict[str, int]:
    return {**history.counts(), "awaits_approval": history.to_review()["awaits_approval"]}


def explain(settings: Settings, path: Path, cwd: Path) -> Explanation:
    """Why the file is still in the inbox, or where it went.

    `path` lies in one of the folders, or is a path beneath the inbox.
    """
    folders = settings.folders
    absolute = Path(os.path.abspath(cwd / path))  # noqa: PTH100 - resolve would follow links
    for name, suffix in sidecar.SUFFIXES.items():
        folder = getattr(folders, name)
        if absolute.is_relative_to(folder):
            refuse_missing(settings, name)
            return _in_results(settings, name, str(absolute.relative_to(folder)).removesuffix(suffix))
    found = library_files.within(settings, absolute)
    if found is not None:
        return _in_library(settings, *found)
    inside = str(absolute.relative_to(folders.inbox)) if absolute.is_relative_to(folders.inbox) else str(path)
    explained = _in_inbox(settings, inside)
    if explained is None and (found := library_files.named(settings, path)) is not None:
        return _in_library(settings, *found)
    if explained is not None and raw.has_ending(inside):
        explained = replace(explained, message=explained.message + _its_shot(folders, inside))
    return (
        explained or _left(settings, inside) or Explanation(f"{shown(str(path))} is not known", None, False)
    )


def _its_shot(folders: Folders, path: str) -> str:
    """A sentence about a RAW whose JPEG was delivered before it came."""
    lies = (one for picture in _pictures_of(path) for one in _delivered_as(folders, "done", picture))
    found = next(lies, None)
    return (
        f" The picture of its shot was delivered before it: {folders.done / shown(found)}." if found else ""
    )


def _in_inbox(settings: Settings, path: str) -> Explanation | None:
    folders = settings.folders
    try:
        answer = client.ask(folders.state, folders.inbox, {"ask": "explain", "path": path})
    except client.NotRunning:
        refuse_missing(settings, "inbox")
        _refuse_silent(folders.inbox)
        standing = inbox_of(settings).standing(path, takes_text=bool(settings.output.text_sidecar))
        return _explained(standing, None)
    try:
        standing = wire.decoded(Standing, answer.get("standing"))
    except ValueError as error:
        raise client.not_understood(folders.inbox, error) from error
    return _explained(standing, of(answer, folders.inbox))


def _in_library(settings: Settings, library: Library, path: str) -> Explanation:
    """Explain a picture that lies in a library, whether it was described or not."""
    standing, status = library_files.asked(settings, library, path)
    if standing.state == "failed":
        advice = "It is tried again when it changes, or by `captiond retry`."
        return Explanation(f"It failed where it lies: {standing.reason}", advice, standing=standing)
    if standing.state == "described":
        said = library_files.caption_of(library, path)
        return Explanation(f"It is described where it lies: {said}", standing=standing)
    explained = _explained(standing, status)
    where = f"there is no {shown(path)} in {library.path}"
    return explained if explained is not None else Explanation(where, None, False)


def _explained(standing: Standing, status: Status | None) -> Explanation | None:
    """Where a file stands in the inbox, given the daemon's status; None if it is not in the inbox."""
    if standing.state == "not_there":
        return None
    if standing.state == "unseen":
        raise Surroundings(standing.reason or "the inbox cannot be seen", advice="captiond check says more.")
    is_alone = standing.state == "companion" and standing.companion_of is None
    is_left_alone = standing.state in ("ignored", "unserved") or is_alone
    said = f"It is {sentence(standing)}"
    if status is None:
        if is_left_alone:
            return Explanation(f"{said}.", "captiond is not running either.", standing=standing)
        return Explanation(f"{said}; captiond is not running.", "Start it: captiond run", standing=standing)
    if is_left_alone:
        return Explanation(f"{said}.", _LEFT_ALONE[standing.state], standing=standing)
    if status.state == "starting":
        return Explanation(f"{said}; captiond is starting and loads its model.", standing=standing)
    if status.pause_reason is not None:
        until = f" (until {moment(status.pause_until)})" if status.pause_until is not None else ""
        why = f"{said}; all work is paused: {status.pause_reason}{until}"
        return Explanation(why, status.pause_advice, standing=standing)
    return Explanation(f"{said}.", standing=standing)


_LEFT_ALONE: dict[Where, str] = {
    "ignored": "It stays untouched; rename it if it is an image after all.",
    "unserved": "It stays untouched until then; afterwards, start captiond anew.",
    "companion": "It stays untouched until its picture comes.",
}


def _left(settings: Settings, path: str) -> Explanation | None:
    """Where a file that has left the inbox went: by the history, else by names like its own."""
    folders = settings.folders
    last = _remembered(settings, lambda history: history.last_of(path))
    if last is not None and _tells_of(folders, last.folder, last.delivered, path):
        return _lies(folders, last.folder, last.delivered)
    for name in sidecar.SUFFIXES:
        for candidate in _delivered_as(folders, name, path):
            return _lies(folders, name, candidate)
    for picture in (*_pictures_of(path), *_delivered_beside(folders, path)):
        for candidate in _delivered_as(folders, "done", picture):
            told = _record(folders, "done", candidate)
            if told is not None and openat.split(path)[1] in {one.name for one in told.companions}:
                return Explanation(
                    f"It came along with {folders.done / shown(candidate)} and lies beside it."
                )
    return None if last is None else _was(last, folders)


def _in_results(settings: Settings, name: str, delivered: str) -> Explanation:
    """Explain a file in done/ or failed/; if its record is gone, the history may know it."""
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
    return Explanation(f"It {what} on {moment(entry.at)}{by}: {words}", where)


def _pictures_of(path: str) -> Iterator[str]:
    return pictures_of(path, text=True)


def _delivered_beside(folders: Folders, path: str) -> list[str]:
    """The delivered pictures that took the file along, though its own name does not tell theirs."""
    inner, base = openat.split(path)
    try:
        names = os.listdir(folders.done / inner)
    except OSError:
        return []
    suffix = sidecar.CAPTION_SUFFIX
    pictures = [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
    prefix = f"{inner}/" if inner else ""
    return [prefix + picture for picture in pictures_among(base, Names(pictures))]


def _remembered(settings: Settings, ask: Callable[[Looking], Answer]) -> Answer | None:
    """What the history says; None if there is none that can be read."""
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
    if told.awaits_approval:
        return Explanation(
            f"It was captioned and lies in {folder / shown(path)} as it was dropped; its texts wait for "
            f"approval: {told.caption}",
            f"`captiond approve {shown(path)}` writes them into it.",
        )
    if told.caption is not None:
        return Explanation(f"It was captioned and lies in {folder / shown(path)}: {told.caption}")
    advice = " ".join(filter(None, (told.advice, "Then run `captiond retry`.")))
    return Explanation(f"It failed and lies in {folder / shown(path)}: {told.message}", advice)


def _record(folders: Folders, name: str, delivered: str) -> sidecar.Record | None:
    try:
        return sidecar.decode(_contents(getattr(folders, name), delivered + sidecar.SUFFIXES[name]))
    except (OSError, ValueError):
        return None


def _contents(folder: Path, path: str) -> bytes:
    """All of a small regular file beneath a folder.  Raises: OSError; ValueError, if it is no such file."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = openat.open_file(root, path)
    finally:
        os.close(root)
    with os.fdopen(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LONGEST_RECORD_BYTES:
            raise ValueError(f"no record: {path!r}")
        return opened.read(_LONGEST_RECORD_BYTES)


def _lying(folders: Folders) -> dict[str, int]:
    """How many pictures lie in the folders with a record of ours beside them."""
    done = 0
    for _, inner, names in os.walk(folders.done):
        inner[:] = [name for name in inner if name != delivery_folders.WORK]
        done += sum(name.endswith(sidecar.CAPTION_SUFFIX) for name in names)
    return {"done": done, "failed": len(retry.failures(folders.failed))}


def _refuse_silent(inbox: Path) -> None:
    """Raises: Surroundings, if a daemon holds the inbox's lock but has no socket: it does run."""
    holder = delivery_folders.lock_holder(inbox)
    if holder is not None:
        raise Surroundings(
            f"a daemon (process {holder}) serves {inbox}, but it cannot be asked",
            advice="It may be starting; else its log says why it has no socket in the state folder.",
        )
