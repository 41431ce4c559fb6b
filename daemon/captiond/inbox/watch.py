"""Hints that something may have changed, by watchdog.  Never the truth: the inbox is scanned regardless.

watchdog loses events in bursts and while the interpreter is busy, its threads end without a word, and past
the kernel's limits it watches only some folders.  So its events only fill a set and ring a bell here; `tend`
starts dead threads again, and `state` says what is wrong.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from captiond.inbox import mounts
from captiond.names import OWN_FOLDER

# Not modifications: each write of a growing file would be an event, the queue would overflow and lose names.
# Growing files are looked at when they are due.  Not opening and closing for reading: we do that ourselves.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileMovedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
_MANY_HINTS = 50_000
_RETRY_SECONDS = 60.0
_LOST_FOLDERS = 1000  # more than programs make and remove before the watcher is started again
_END_SECONDS = 5.0
_DEATHS_TOLERATED = 3


@dataclass(frozen=True, slots=True)
class WatchState:
    """How changes reach us, and what is wrong with that."""

    method: str  # native | polling
    degraded: str | None


@dataclass(slots=True)
class Hints:
    """Where to look; paths relative to the inbox."""

    paths: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)  # paths that the inbox itself asked for, without an event
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.paths or self.folders or self.own or self.everything)


class Watcher:
    """One watchdog observer, or none if the file system sends no events."""

    def __init__(self, inbox: Path, method: str, clock: Callable[[], float]) -> None:
        self._inbox = inbox
        self._clock = clock
        self._native = method == "native" or (
            method == "auto" and not mounts.is_silent(mounts.filesystem_of(inbox))
        )
        self._observer: BaseObserver | None = None
        self._started_at = 0.0
        self._deaths = 0
        self._short_sweeps = 0
        self._trouble: str | None = None  # over when a hint arrives, or after a while without more
        self._blind: str | None = None  # over when every folder is watched
        self._lock = threading.Lock()
        self._hints = Hints()
        self.bell = threading.Event()

    @property
    def state(self) -> WatchState:
        method = "native" if self._observer is not None else "polling"
        return WatchState(method, self._trouble or self._blind)

    def start(self) -> None:
        if self._native and self._observer is None:
            self._begin()

    def close(self) -> None:
        self._native = False
        self._end()

    def begin_anew(self) -> None:
        """Watch the folder that is at our path now: the observer still watches the one that was there."""
        if self._native:
            self._end()
            self._begin()

    def tend(self) -> None:
        """Starts again what has died; to be called about once a second."""
        if not self._native:
            return
        now = self._clock()
        if self._observer is None:
            if now - self._started_at >= _RETRY_SECONDS:
                self._begin()
        elif not _is_alive(self._observer):
            self._deaths = self._deaths + 1 if now - self._started_at < _RETRY_SECONDS else 1
            self._end()
            if self._deaths < _DEATHS_TOLERATED:
                self._begin()
                self._trouble = self._trouble or "the watcher stopped and was started again"
            else:
                self._started_at = now
                self._trouble = "the watcher keeps stopping; polling instead"
            self._look_everywhere()
        elif now - self._started_at >= _RETRY_SECONDS:
            self._trouble = None

    def compare(self, folders: int) -> None:
        """After a full scan that found so many folders: does the kernel watch all of them?"""
        if self._observer is None:
            return
        watched = watched_folders()
        is_short = watched is not None and watched < folders
        # Folders made a moment ago are found by the scan before they are watched.
        self._short_sweeps = self._short_sweeps + 1 if is_short else 0
        if not is_short:
            self._blind = None
        elif self._short_sweeps > 1:
            self._blind = f"{watched} of {folders} folders are watched: {_raise('max_user_watches', 524_288)}"
            if self._clock() - self._started_at >= 5 * _RETRY_SECONDS:
                self.begin_anew()

    def ask(self, path: str) -> None:
        """Let the inbox look at this file, although no event told of it."""
        with self._lock:
            self._hints.own.add(path)
        self.bell.set()

    def take(self) -> Hints:
        with self._lock:
            self.bell.clear()
            hints, self._hints = self._hints, Hints()
        return hints

    def _heard(self, path: str, *, is_folder: bool) -> None:
        self._trouble = None
        with self._lock:
            hints = self._hints
            (hints.folders if is_folder else hints.paths).add(path)
            if len(hints.paths) + len(hints.folders) > _MANY_HINTS:
                self._hints = Hints(own=hints.own, everything=True)
        self.bell.set()

    def _look_everywhere(self) -> None:
        with self._lock:
            self._hints.everything = True
        self.bell.set()

    def _begin(self) -> None:
        self._started_at = self._clock()
        self._look_everywhere()
        # A watch never follows a link, not even one that the inbox's own path is.
        folder = os.path.realpath(self._inbox)
        observer: BaseObserver | None = None
        try:
            observer = Observer()  # which already takes an inotify instance
            observer.schedule(_Handler(folder, self._heard), folder, recursive=True, event_filter=_EVENTS)
            observer.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
            if observer is not None:
                _stop(observer)
            self._trouble = why_not(error)
        else:
            self._observer = observer
            self._trouble = None

    def _end(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            _stop(observer)


class _Handler(FileSystemEventHandler):
    """Passes events on.  An exception here would end watchdog's thread, so nothing here may fail."""

    def __init__(self, folder: str, heard: Callable[..., None]) -> None:
        self._prefix = f"{folder}/"
        self._own = (OWN_FOLDER, f"{OWN_FOLDER}/")
        self._heard = heard

    def on_any_event(self, event: FileSystemEvent) -> None:
        target = os.fsdecode(event.dest_path or event.src_path)
        if not target.startswith(self._prefix):
            return
        path = target[len(self._prefix) :]
        if path != self._own[0] and not path.startswith(self._own[1]):
            self._heard(path, is_folder=event.is_directory)


def _is_alive(observer: BaseObserver) -> bool:
    # Since 7.0 one more thread reads from the kernel; watchdog has no public name for it.
    reader = getattr(observer, "_inotify_fd", None)
    threads: list[object] = [observer, *observer.emitters, reader]
    return bool(observer.emitters) and all(
        thread.is_alive() for thread in threads if isinstance(thread, threading.Thread)
    )


def _stop(observer: BaseObserver) -> None:
    """End its threads and give its inotify instance back, but wait at most _END_SECONDS for that."""
    ending = threading.Thread(target=_end, args=(observer,), name="end of the watcher", daemon=True)
    ending.start()
    ending.join(_END_SECONDS)


def _end(observer: BaseObserver) -> None:
    for emitter in observer.emitters:
        _forget_folders(getattr(emitter, "_inotify", None))  # watchdog has no public name for it
    observer.stop()
    if observer.is_alive():
        observer.join(_END_SECONDS)


def _forget_folders(watched: Any) -> None:
    """Let watchdog forget its folders, also those that it has lost track of.

    Version 7.1 loses a folder that is made, removed and made again faster than it reads: its thread ends with
    a KeyError (`tend` starts another), and `stop` would raise one too and leave the other threads running.
    Each further call of `deactivate` gets past one lost folder.
    """
    if not hasattr(watched, "deactivate"):
        return
    for _ in range(_LOST_FOLDERS):
        with suppress(KeyError):
            watched.deactivate()
            return


def why_not(error: Exception) -> str:
    """Why the watcher cannot start, with what to type."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC:
        return f"inotify watches are used up: {_raise('max_user_watches', 524_288)}; polling instead"
    if number == errno.EMFILE and _may_open_more():
        return f"inotify instances are used up: {_raise('max_user_instances', 1024)}; polling instead"
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many files are open for another watcher: raise the limit (ulimit -n); polling instead"
    return f"the watcher cannot start: {error}; polling instead"


def _raise(limit: str, at_least: int) -> str:
    """What to type, as root (of a container: on its host)."""
    try:
        now = int(Path("/proc/sys/fs/inotify", limit).read_text())
    except (OSError, ValueError):
        now = 0
    told = f" (now {now})" if now else ""
    return f"`sysctl fs.inotify.{limit}={max(at_least, 2 * now)}` on the host raises their number{told}"


def _may_open_more() -> bool:
    """EMFILE means two things: no more inotify instances for this user, or no more files for this process."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def watched_folders() -> int | None:
    """How many inotify watches this process has, by the kernel's count; None if it does not tell."""
    count = None
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if str(descriptor.readlink()) == "anon_inode:inotify":
                lines = Path("/proc/self/fdinfo", descriptor.name).read_text().splitlines()
                count = (count or 0) + sum(line.startswith("inotify ") for line in lines)
        except OSError:
            continue  # closed meanwhile
    return count
