"""Keeps the book true by looking into the inbox: where hints point, at what is due, and everywhere in turn.

Reads names and lstat only.  Hints make it quick; the full scan makes it right.  Many files are looked at in
slices, so that files to be handed out, files that are due and a stop do not wait for all of them.
"""

from __future__ import annotations

import heapq
import itertools
import math
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from captiond.inbox.ignore import Ignore
from captiond.inbox.neighbours import Calls, note_call
from captiond.inbox.scan import list_folder, look_at
from captiond.inbox.settle import Book
from captiond.inbox.watch import Hints
from captiond.records import Fingerprint
from captiond.support import openat

_SLICE_SECONDS = 0.02  # how long a full scan may keep a waiting file from being handed out
_SLICE_FILES = 200  # looked at in one go; on a slow share, each is a request to its server
_GRACE_SECONDS = 5.0  # how late a hint may come before it counts as missed
_REVISIT_SECONDS = (0.5, 2.0)  # for a new folder: files may land in it before the kernel watches it


class Survey:
    """One thread looks; the counts may be read by any that holds the lock."""

    def __init__(self, book: Book, lock: threading.Lock, ignore: Ignore, clock: Callable[[], float]) -> None:
        self._book = book
        self._lock = lock
        self._ignore = ignore
        self._clock = clock

        self._folders: dict[str, set[str]] = {}  # every folder that we know of -> the names ignored in it
        self._calls: dict[str, Calls] = {}  # folder -> which names in it call a file unfinished
        self._closed: set[str] = set()  # folders that we may not look into
        self._missed_events = 0

        self._suspects: dict[str, float] = {}  # found by a full scan, and no hint has told of them yet
        self._revisits: list[tuple[float, str]] = []
        self._scan = _FullScan()

    @property
    def ignored(self) -> int:
        return sum(map(len, self._folders.values()))

    @property
    def closed_folders(self) -> int:
        return len(self._closed)

    @property
    def missed_events(self) -> int:
        return self._missed_events

    @property
    def folders(self) -> int:
        return len(self._folders)

    @property
    def is_complete(self) -> bool:
        """Whether everything was looked at since `start_over`."""
        return self._scan.is_over and self._scan.due_at > -math.inf

    def ignored_paths(self, most: int | None) -> list[str]:
        """Some of the files that are ignored, or all."""
        paths = (
            f"{folder}/{name}" if folder else name
            for folder in sorted(self._folders)
            for name in sorted(self._folders[folder])
        )
        return list(itertools.islice(paths, most))

    def unfinished_beside(self, path: str) -> frozenset[str]:
        """Names beside the file that say, or said, that it is unfinished."""
        folder, name = openat.split(path)
        with self._lock:
            return frozenset(self._calls.get(folder, {}).get(name, ()))

    def next_at(self) -> float:
        """When the next full scan or revisit is due."""
        return min(self._scan.due_at, self._revisits[0][0] if self._revisits else math.inf)

    def start_over(self) -> None:
        """Begin a full scan with the next look."""
        self._scan.start_over()

    def follow(self, ignore: Ignore) -> None:
        """Use other rules from now on.  Files that they let in were there before: no event was missed."""
        self._ignore = ignore
        self._scan = _FullScan()

    def look(self, root: int, hints: Hints, stop: threading.Event, *, interval_seconds: float) -> bool:
        """One round; True if it brought a full scan to its end."""
        if hints.everything:
            self.start_over()
        now = self._clock()
        self._visit(root, hints.folders | self._revisits_due(now))
        self._glance(root, hints.paths, hinted=True)
        with self._lock:
            due = self._book.due(now, _SLICE_FILES)
        self._glance(root, hints.own.union(due), hinted=False)
        return self._scan_on(root, stop, interval_seconds)

    def _visit(self, root: int, folders: Iterable[str]) -> None:
        """Look at folders that something happened to, with all that lies in them."""
        pending = [_Part(folder) for folder in folders if self._ignore.folders_above(f"{folder}/") is None]
        while pending:
            pending += self._take(root, pending.pop(), hinted=True)

    def _glance(self, root: int, paths: Iterable[str], *, hinted: bool) -> None:
        """Look at files that something happened to, or that are due."""
        by_folder = defaultdict(list)
        for path in paths:
            folder, name = openat.split(path)
            by_folder[folder].append(name)
        for folder, names in by_folder.items():
            if not hinted or self._ignore.folders_above(f"{folder}/") is None:
                for some in _slices(names):
                    self._look_at(root, folder, some, hinted=hinted)

    def _look_at(
        self, root: int, folder: str, names: Iterable[str], *, hinted: bool, scanned: bool = False
    ) -> None:
        prefix = f"{folder}/" if folder else ""
        earliest = self._clock()
        found = look_at(root, folder, names)
        latest = self._clock()
        with self._lock:
            ignored = self._folders.get(folder, set())
            for name, status in found:
                path = prefix + name
                if hinted:
                    self._suspects.pop(path, None)
                if status is None:
                    self._book.forget(path)
                    ignored.discard(name)
                elif not stat.S_ISREG(status.st_mode) or self._ignore.skips_file(name, path):
                    self._book.forget(path)
                    ignored.add(name)
                    note_call(name, self._calls.setdefault(folder, {}))
                else:
                    ignored.discard(name)
                    seen = Fingerprint.of(status)
                    is_first = self._book.observe(path, seen, earliest, latest, hinted=hinted)
                    if is_first and scanned and self._scan.is_news:
                        self._suspects[path] = latest

    def _scan_on(self, root: int, stop: threading.Event, interval_seconds: float) -> bool:
        scan = self._scan
        began = self._clock()
        if scan.is_over:
            if began < scan.due_at:
                return False
            scan.begin(began)
            with self._lock:
                self._book.begin_sweep()
        while scan.pending:
            if stop.is_set() or (self._clock() > began + _SLICE_SECONDS and self._is_wanted()):
                break
            scan.pending += self._take(root, scan.pending.pop(), hinted=False)
        now = self._clock()
        scan.spent_seconds += now - began
        if scan.pending:
            return False
        self._end_scan(now)
        scan.end(now, interval_seconds)
        return True

    def _end_scan(self, now: float) -> None:
        with self._lock:
            self._book.end_sweep()
            for folder in self._folders.keys() - self._scan.visited:
                del self._folders[folder]
                self._calls.pop(folder, None)
            self._closed &= self._scan.visited
            late = [path for path, at in self._suspects.items() if now >= at + _GRACE_SECONDS]
            self._missed_events += len(late)
        for path in late:
            del self._suspects[path]

    def _is_wanted(self) -> bool:
        """Whether files wait to be handed out, or to be looked at again."""
        with self._lock:
            return self._book.waiting > 0 or self._book.next_due() <= self._clock()

    def _take(self, root: int, part: _Part, *, hinted: bool) -> list[_Part]:
        """Take note of a part of the inbox; gives the parts that were found in it."""
        if part.names is None:
            return self._list(root, part.folder, hinted=hinted)
        self._look_at(root, part.folder, part.names, hinted=hinted, scanned=not hinted)
        return []

    def _list(self, root: int, folder: str, *, hinted: bool) -> list[_Part]:
        """Take note of the names in a folder; gives its files, in slices, and the folders in it."""
        listing = list_folder(root, folder, self._ignore)
        now = self._clock()
        if not hinted:
            self._scan.visited.add(folder)
        with self._lock:
            if listing is None:
                self._folders.pop(folder, None)
                self._calls.pop(folder, None)
                self._closed.discard(folder)
                return []
            (self._closed.add if listing.is_closed else self._closed.discard)(folder)
            is_new = folder not in self._folders
            self._folders[folder] = listing.ignored
            calls: Calls = {}
            self._calls[folder] = calls
            for name in listing.ignored:
                note_call(name, calls)
        if is_new and self._scan.is_news:
            for delay in _REVISIT_SECONDS:
                heapq.heappush(self._revisits, (now + delay, folder))
        parts = [_Part(folder, names) for names in _slices(listing.images)]
        return [*map(_Part, listing.folders), *parts]

    def _revisits_due(self, now: float) -> set[str]:
        due = set()
        while self._revisits and self._revisits[0][0] <= now:
            due.add(heapq.heappop(self._revisits)[1])
        return due


class _Part(NamedTuple):
    """A folder whose names are to be listed, or some of the files in it that are to be looked at."""

    folder: str
    names: Sequence[str] | None = None


class _FullScan:
    """One full scan under way, and when the next one is due."""

    def __init__(self) -> None:
        self.pending: list[_Part] = []
        self.visited: set[str] = set()
        self.due_at = -math.inf
        self.spent_seconds = 0.0
        self.is_over = True
        self.is_news = False  # whether what is found now was not there in an earlier full scan
        self._began_at = -math.inf

    def start_over(self) -> None:
        self.pending, self.is_over, self.due_at = [], True, -math.inf

    def begin(self, now: float) -> None:
        self.pending, self.visited = [_Part("")], set()
        self.is_over, self.spent_seconds, self._began_at = False, 0.0, now

    def end(self, now: float, interval_seconds: float) -> None:
        # On a slow share, scans take at most a tenth of the time.
        self.due_at = max(self._began_at + interval_seconds, now + 9 * self.spent_seconds)
        self.is_over = self.is_news = True


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[at : at + _SLICE_FILES] for at in range(0, len(names), _SLICE_FILES))
