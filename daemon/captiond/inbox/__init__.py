"""From names in a folder to settled files.

The folder is the truth and is scanned in full every so often; events are hints that make it quicker.
This room reads names, lstat and a few blocks of quiet files beneath the inbox.  It renames and deletes
nothing, decides no file's fate, and writes one thing: the marker `.captiond/inbox`, by which it tells
its inbox from a bare mount point.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from captiond.errors import Surroundings, as_surroundings
from captiond.inbox import mounts
from captiond.inbox import root as root_folder
from captiond.inbox.ignore import IMAGE_EXTENSIONS, NOT_AN_IMAGE, Ignore
from captiond.inbox.look import look_into
from captiond.inbox.neighbours import calls_of
from captiond.inbox.settle import SETTLE_UNTOLD_SECONDS, Book, Kind
from captiond.inbox.survey import Survey
from captiond.inbox.watch import Watcher, WatchState
from captiond.records import Fingerprint, SettledFile
from captiond.sidecar.companions import pictures_of
from captiond.status import Standing, Where
from captiond.support import openat

__all__ = ["Inbox", "InboxCounts", "WatchState"]

_TICK_SECONDS = 0.1  # how long a stop may go unnoticed
_BREATH_SECONDS = 0.05  # between two looks at hints, so that a busy writer does not keep us busy
_TEND_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """How many files stand where."""

    waiting: int
    settling: int  # not quiet yet, held by a writer, or not whole yet
    incomplete: int  # those of them that wait for a writer or for their rest, and not for time to pass
    held: int  # those of the incomplete that a writer has open
    in_work: int
    ignored: int
    unreadable: int  # files and folders that we may not read
    missed_events: int


class Inbox:
    """The inbox as a source of settled files.

    One thread iterates over `settled`; every other method may be called from any thread.
    """

    def __init__(
        self,
        root: Path,
        *,
        settle_seconds: float,
        incomplete_after_seconds: float,
        settle_untold_seconds: float = SETTLE_UNTOLD_SECONDS,
        rescan_seconds: float,
        poll_interval_seconds: float,
        method: str = "auto",
        ignore: Ignore | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = root.absolute()
        self._rescan_seconds = rescan_seconds
        self._poll_interval_seconds = poll_interval_seconds
        self._clock = clock
        self._ignore = ignore if ignore is not None else Ignore()
        self._next_ignore: Ignore | None = None  # given by another thread, taken at the next look
        self._watcher = Watcher(self._path, method, clock)
        self._trust_leases = False
        self._known = root_folder.Known()
        self._recognizing = threading.Lock()  # a pause is ended by another thread than the one that looks

        self._lock = threading.Lock()  # for the book and the survey's counts
        self._book = Book(
            settle_seconds=settle_seconds,
            incomplete_after_seconds=incomplete_after_seconds,
            settle_untold_seconds=settle_untold_seconds,
        )
        self._survey = Survey(self._book, self._lock, self._ignore, clock)
        self._tend_at = -math.inf
        self._hints_at = -math.inf
        self.looked_at = clock()  # when somebody who iterates looked last

    # The life of an inbox

    def start(self) -> None:
        """Marks the folder as the inbox, if it is not marked yet, and begins to watch it."""
        with self._opened():
            self._watcher.start()

    def close(self) -> None:
        self._watcher.close()
        with self._recognizing:
            self._known.let_go()

    def ignore(self, rules: Ignore) -> None:
        """From the next look on these patterns count; everything is looked at again for it."""
        self._next_ignore = rules

    def settled(
        self, stop: threading.Event, *, once: bool = False, patience_seconds: float | None = None
    ) -> Iterator[SettledFile]:
        """Files as they become complete: each `next` gives the one whose turn it is then.

        Waits while there is none.  Ends when `stop` is set; with `once`, also when nothing waits, settles or
        is in work (what may not be read holds nothing up, nor what has long been called unfinished, nor what
        is not whole `patience_seconds` after it settled).  Raises Surroundings when the inbox cannot be seen;
        called again, it goes on.
        """
        is_last_look = False
        while not stop.is_set():
            with self._opened() as descriptor:
                self._look(descriptor, stop)
                settled = self._pick(descriptor, stop)
            self.looked_at = self._clock()
            if settled is not None:
                is_last_look = False
                yield settled
            elif once and self._is_empty(patience_seconds):
                if is_last_look:
                    return
                is_last_look = True
                self._survey.start_over()
            else:
                is_last_look = False
                self._wait(stop)

    def done(self, path: str) -> None:
        """The file has left the inbox; what lies there under its name now is another one."""
        with self._lock:
            self._book.done(path)
        self._watcher.ask(path)

    def release(self, path: str, *, after_seconds: float = 0.0, reason: str = "") -> None:
        """The file stays: it is offered again, not before that time, and settles anew if it changed."""
        with self._lock:
            self._book.release(path, self._clock() + after_seconds, reason)
        self._watcher.ask(path)

    # What to say about it

    @property
    def watch_state(self) -> WatchState:
        return self._watcher.state

    def counts(self) -> InboxCounts:
        with self._lock:
            return InboxCounts(
                waiting=self._book.waiting,
                settling=self._book.settling,
                incomplete=self._book.incomplete,
                held=self._book.held,
                in_work=self._book.in_work,
                ignored=self._survey.ignored,
                unreadable=self._book.unreadable + self._survey.closed_folders,
                missed_events=self._survey.missed_events,
            )

    def is_busy(self) -> bool:
        """Is a picture in work, or could one be begun?"""
        with self._lock:
            return self._book.begun_or_next > 0

    def newly_not_whole(self) -> list[tuple[str, Standing]]:
        """Each file that waits for its rest, once."""
        with self._lock:
            now = self._clock()
            news = [(path, self._book.standing(path, now)) for path in self._book.newly_not_whole()]
        return [(path, standing) for path, standing in news if standing is not None]

    def gives_up_seconds(self) -> float | None:
        """How long until the first file that is not whole is handed out to be set aside, if one is."""
        with self._lock:
            at = self._book.gives_up_at()
        return None if at is None else round(max(at - self._clock(), 0.0), 1)

    def listing(self, most: int, takes_text: Callable[[str], bool]) -> list[tuple[str, Standing]]:
        """Where up to `most` files stand: first those that somebody has to look after, the ignored ones last.

        `takes_text`: whether `photo.txt` of this path travels with `photo.jpg`.
        """
        with self._lock:
            found = self._book.listing(self._clock(), most)
            ignored = self._survey.ignored_paths(most - len(found))
        return found + [(path, self.standing(path, takes_text=takes_text(path))) for path in ignored]

    def standing(self, path: str, *, takes_text: bool = False) -> Standing:
        """Where the file `path` (relative to the inbox) stands, or that it is not there.

        `takes_text`: whether `photo.txt` travels with `photo.jpg`.
        """
        with self._lock:
            standing = self._book.standing(path, self._clock())
        if standing is not None and standing.state == "in_work":
            return standing
        try:
            with root_folder.opened(self._path) as descriptor:
                return self._standing_by_looking(descriptor, path, standing, takes_text)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return Standing("not_there")
        except Surroundings as trouble:
            return Standing("unseen", trouble.message)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # no file has such a name
                return Standing("not_there")
            return Standing("unreadable", f"cannot be looked at: {error.strerror}")

    def _standing_by_looking(
        self, root: int, path: str, standing: Standing | None, takes_text: bool
    ) -> Standing:
        with openat.folder_of(root, path) as (folder, name):
            if name in ("", ".", ".."):
                return Standing("not_there")  # no name of a file
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                return Standing("ignored", _kind(found.st_mode))
            if rule := self._ignore.rule(path):
                may_travel = rule == NOT_AN_IMAGE and not self._ignore.is_asked_for(path)
                of_picture = self._companion(path, takes_text) if may_travel else None
                return of_picture or Standing("ignored", rule)
            if standing is not None:
                return standing
            trust, beside = self._tells_of_writers(), calls_of(folder, name)
        finding = look_into(root, path, Fingerprint.of(found), trust_leases=trust, beside=beside)
        is_given_up = finding.kind is Kind.PARTIAL and finding.certain
        return Standing(_UNKNOWN[finding.kind], finding.reason or None, is_given_up=is_given_up)

    def _companion(self, path: str, takes_text: bool) -> Standing | None:
        pictures = [
            picture
            for picture in pictures_of(path, IMAGE_EXTENSIONS, text=takes_text)
            if self._ignore.rule(picture) is None
        ]
        for picture in pictures:
            standing = self.standing(picture)
            if standing.state != "not_there":
                return Standing("companion", companion_of=picture, picture=standing)
        return Standing("companion") if pictures else None

    # A round of work

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The inbox, if it can be seen and is the right one."""
        try:
            with root_folder.opened(self._path) as descriptor:
                self._recognize(descriptor)
                yield descriptor
        except OSError as error:
            self._survey.start_over()
            raise as_surroundings(error, f"Looking into the inbox {self._path}") from error
        except Surroundings:
            self._survey.start_over()
            raise

    def _recognize(self, descriptor: int) -> None:
        with self._recognizing:
            known = self._known
            if not root_folder.has_marker(descriptor):
                # Programs that mirror a folder (rsync --delete) also remove what they did not bring.
                if known and not known.is_it(descriptor):
                    raise root_folder.unmounted(self._path)
                root_folder.write_marker(self._path, descriptor)
            if known.is_it(descriptor):
                return
            is_another = bool(known)
            known.take(descriptor)
            self._trust_leases = self._tells_of_writers()
        if is_another:
            self._watcher.begin_anew()

    def _tells_of_writers(self) -> bool:
        return not mounts.is_silent(mounts.filesystem_of(self._path))

    def _look(self, descriptor: int, stop: threading.Event) -> None:
        """Brings the book up to date."""
        now = self._clock()
        if self._next_ignore is not None:
            self._ignore, self._next_ignore = self._next_ignore, None
            self._survey.follow(self._ignore)
        if now >= self._tend_at:
            self._watcher.tend()
            self._tend_at = now + _TEND_SECONDS
        hints = self._watcher.take()
        if hints:
            self._hints_at = now
        state = self._watcher.state
        sees_all = state.method == "native" and state.degraded is None
        interval_seconds = self._rescan_seconds if sees_all else self._poll_interval_seconds
        if self._survey.look(descriptor, hints, stop, interval_seconds=interval_seconds):
            self._watcher.compare(self._survey.folders)

    def _pick(self, descriptor: int, stop: threading.Event) -> SettledFile | None:
        """The first of the waiting files that a look inside finds complete."""
        device = os.fstat(descriptor).st_dev
        while not stop.is_set():
            with self._lock:
                best = self._book.best()
            if best is None:
                return None
            path, fingerprint = best
            trust = self._trust_leases and fingerprint.device == device
            try:
                beside = self._survey.unfinished_beside(path)
                finding = look_into(descriptor, path, fingerprint, trust_leases=trust, beside=beside)
            except Surroundings:
                with self._lock:
                    self._book.put_back(path)
                raise
            with self._lock:
                settled = self._book.judge(path, finding, self._clock())
            if settled is not None:
                return settled
        return None

    def _wait(self, stop: threading.Event) -> None:
        """Sleeps until something is due or a hint rings, and at most a tick, to see a stop."""
        now = self._clock()
        with self._lock:
            due = self._book.next_due()
        left = min(due, self._survey.next_at(), self._tend_at) - now
        if self._watcher.bell.wait(min(max(left, 0.0), _TICK_SECONDS)):
            stop.wait(min(max(self._hints_at + _BREATH_SECONDS - self._clock(), 0.0), _BREATH_SECONDS))

    def _is_empty(self, patience_seconds: float | None) -> bool:
        with self._lock:
            is_at_rest = self._book.is_at_rest(self._clock(), patience_seconds)
        return is_at_rest and self._survey.is_complete


# Of a file that is in no book: what a look at it says.
_UNKNOWN: dict[Kind, Where] = {
    Kind.WHOLE: "unlooked",
    Kind.PARTIAL: "partial",
    Kind.FAULTY: "faulty",
    Kind.UNFINISHED: "unfinished",
    Kind.HELD: "held",
    Kind.CHANGED: "changing",
    Kind.UNREADABLE: "unreadable",
    Kind.GONE: "not_there",
}


def _kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "not a regular file")


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a link, and links are never followed"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
