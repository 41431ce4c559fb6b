"""From names in a folder to settled files.

The folder is the truth and is scanned in full every so often; events are hints that make it quicker.
This room reads names, lstat and a few blocks of quiet files beneath the inbox.  It renames and deletes
nothing, does not decide what becomes of a file, and writes one thing: the marker `.captiond/inbox`, by which
it tells its inbox from a bare mount point.
"""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from captiond.errors import Surroundings, as_surroundings
from captiond.inbox import mounts, unserved
from captiond.inbox import root as root_folder
from captiond.inbox.ignore import Ignore
from captiond.inbox.look import look_into
from captiond.inbox.settle import SETTLE_UNTOLD_SECONDS, Book
from captiond.inbox.shots import pictures_beside, seen_with_its_shot
from captiond.inbox.standing import found_by_looking
from captiond.inbox.survey import Survey
from captiond.inbox.watch import Watcher, WatchState
from captiond.records import SettledFile
from captiond.sidecar.companions import pictures_of
from captiond.status import Standing, Unserved

__all__ = ["Inbox", "InboxCounts", "WatchState"]

_TICK_SECONDS = 0.1  # a stop is noticed within this time
_BREATH_SECONDS = 0.05  # between two looks at hints, so that a busy writer does not keep us busy
_TEND_SECONDS = 1.0


def _nothing(_: int) -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """How many files are in which state."""

    waiting: int
    settling: int  # not quiet yet, held by a writer, or not whole yet
    incomplete: int  # of the settling: wait for a writer or for their missing part, not for time to pass
    held: int  # of the incomplete: a writer has them open
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
        is_urgent: Callable[[str], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        place: root_folder.Root | None = None,
        book: Book | None = None,
        on_scanned: Callable[[int], None] = _nothing,
    ) -> None:
        """`place`, `book`: for a folder that is no inbox, how to recognize it and which files of it count.

        `on_scanned`: is given the opened folder after each full scan.
        """
        self._path = root.absolute()
        self._root = place if place is not None else root_folder.InboxRoot(self._path)
        self._on_scanned = on_scanned
        self._rescan_seconds = rescan_seconds
        self._poll_interval_seconds = poll_interval_seconds
        self._clock = clock
        self._ignore = ignore if ignore is not None else Ignore()
        self._next_ignore: Ignore | None = None  # given by another thread, taken at the next look
        self._watcher = Watcher(self._path, method, clock)
        self._trust_leases = False
        self._known = root_folder.Known()
        self._recognizing = threading.Lock()  # the thread that ends a pause is not the one that looks

        self._lock = threading.Lock()  # for the book and the survey's counts
        self._book = book or Book(
            settle_seconds=settle_seconds,
            incomplete_after_seconds=incomplete_after_seconds,
            settle_untold_seconds=settle_untold_seconds,
        )
        if is_urgent is not None:
            self._book.prefer(is_urgent)
        self._survey = Survey(self._book, self._lock, self._ignore, clock)
        self._strangers = unserved.Strangers()
        self._tend_at = -math.inf
        self._hints_at = -math.inf
        self.looked_at = clock()  # when the iteration over `settled` looked last

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
        """Use these patterns from the next look on, which looks at everything again."""
        self._next_ignore = rules

    def wake(self) -> None:
        """Let a waiting `settled` look again at once."""
        self._watcher.bell.set()

    def prefer(self, is_urgent: Callable[[str], bool]) -> None:
        """From now on these paths go before all others."""
        with self._lock:
            self._book.prefer(is_urgent)

    def settled(
        self,
        stop: threading.Event,
        *,
        once: bool = False,
        patience_seconds: float | None = None,
        is_held: Callable[[], bool] = _never,
        otherwise: Callable[[], SettledFile | None] = lambda: None,
        are_others_at_rest: Callable[[], bool] = lambda: True,
    ) -> Iterator[SettledFile]:
        """Files as they become complete: each `next` gives the one whose turn it is then.

        Waits while there is none.  Ends when `stop` is set; with `once`, also when nothing waits, settles or
        is in work (it does not wait for a file that may not be read, that has long been called unfinished, or
        that is not whole `patience_seconds` after it settled).  While `is_held` is true, it looks at the
        inbox but hands out nothing.
        `otherwise`: what to hand out if nothing in the inbox waits; `are_others_at_rest`: whether there will
        be no more of that, which `once` waits for.

        Raises: Surroundings, if the inbox cannot be seen; another call goes on.
        """
        is_last_look = False
        while not stop.is_set():
            with self._opened() as descriptor:
                self._look(descriptor, stop)
                settled = None if is_held() else self._pick(descriptor, stop)
            self.looked_at = self._clock()
            if settled is None and (settled := otherwise()) is not None:
                yield settled
            elif settled is not None:
                is_last_look = False
                yield settled
            elif once and are_others_at_rest() and self._is_empty(patience_seconds):
                if is_last_look:
                    return
                is_last_look = True
                self._survey.start_over()
            else:
                is_last_look = False
                self._wait(stop)

    def done(self, path: str) -> None:
        """The file has left the inbox; a file that has its name there now is a new one."""
        with self._lock:
            self._book.done(path)
        self._watcher.ask(path)

    def release(self, path: str, *, after_seconds: float = 0.0, reason: str = "") -> None:
        """The file stays: it is offered again, not before that time; if it changed, it settles anew."""
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
        """The files that wait for their missing part; each is told once."""
        with self._lock:
            now = self._clock()
            news = [(path, self._book.standing(path, now)) for path in self._book.newly_not_whole()]
        return [(path, standing) for path, standing in news if standing is not None]

    def look_for_unserved(self, takes_text: Callable[[str], bool], *, is_last: bool = False) -> None:
        """Look at what is ignored: to be called now and then by one thread, and once more at the end."""
        with self._lock:
            if not (is_last or self._strangers.is_due(self._survey.ignored)):
                return
            ignored = self._survey.ignored_paths(None)
        try:
            with root_folder.opened(self._path) as descriptor:
                self._strangers.round(descriptor, ignored, self._ignore, takes_text, is_last=is_last)
        except Surroundings:
            pass  # `settled` meets the same trouble, and raises it

    @property
    def unserved(self) -> tuple[Unserved, ...]:
        """Pictures among the ignored files, by kind, as far as they were looked at."""
        return self._strangers.counts()

    def gives_up_seconds(self) -> float | None:
        """How long until the first file that is not whole is handed out to be set aside, if one is."""
        with self._lock:
            at = self._book.gives_up_at()
        return None if at is None else round(max(at - self._clock(), 0.0), 1)

    def listing(self, most: int, takes_text: Callable[[str], bool]) -> list[tuple[str, Standing]]:
        """Where up to `most` files stand: first those that a person has to see to, the ignored ones last.

        `takes_text`: whether `photo.txt` of this path travels with `photo.jpg`.
        """
        with self._lock:
            known = self._book.listing(self._clock(), most)
            ignored = self._survey.ignored_paths(most)
        first = self._strangers.paths()
        told = dict.fromkeys([*first, *ignored])
        aside = [(path, self.standing(path, takes_text=takes_text(path))) for path in list(told)[:most]]
        pictures = [one for one in aside if one[1].state == "unserved"]
        return [*pictures, *known, *(one for one in aside if one[1].state != "unserved")][:most]

    def standing(self, path: str, *, takes_text: bool = False) -> Standing:
        """Where the file `path` (relative to the inbox) stands, or that it is not there.

        `takes_text`: whether `photo.txt` travels with `photo.jpg`.
        """
        with self._lock:
            standing = self._book.standing(path, self._clock())
        if standing is not None and standing.state == "in_work":
            return standing
        try:
            with self._root.opened() as descriptor:
                trust_leases = self._tells_of_writers()
                companion = partial(self._companion, descriptor, path, takes_text)
                return found_by_looking(
                    descriptor, path, standing, self._ignore, companion, trust_leases=trust_leases
                )
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return Standing("not_there")
        except Surroundings as trouble:
            return Standing("unseen", trouble.message)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # no file has such a name
                return Standing("not_there")
            return Standing("unreadable", f"cannot be looked at: {error.strerror}")

    def _companion(self, root: int, path: str, takes_text: bool) -> Standing | None:
        pictures = [
            picture for picture in pictures_of(path, text=takes_text) if self._ignore.rule(picture) is None
        ]
        for picture in (*pictures, *pictures_beside(root, path, self._ignore)):
            standing = self.standing(picture)
            if standing.state != "not_there":
                return Standing("companion", companion_of=picture, picture=standing)
        return Standing("companion") if pictures else None

    # A round of work

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The inbox, if it can be seen and is the right one."""
        try:
            with self._root.opened() as descriptor:
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
            self._root.must_be_it(descriptor, known)
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
            self._on_scanned(descriptor)

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
                finding = seen_with_its_shot(descriptor, path, finding, self._ignore)
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
        """Sleeps until something is due or a hint rings the bell, at most a tick, so that a stop is seen."""
        now = self._clock()
        with self._lock:
            due = self._book.next_due()
        left = min(due, self._survey.next_at(), self._tend_at) - now
        if self._watcher.bell.wait(min(max(left, 0.0), _TICK_SECONDS)):
            stop.wait(min(max(self._hints_at + _BREATH_SECONDS - self._clock(), 0.0), _BREATH_SECONDS))

    @property
    def has_looked_everywhere(self) -> bool:
        """Whether every folder was looked into since the start."""
        return self._survey.is_complete

    def _is_empty(self, patience_seconds: float | None) -> bool:
        with self._lock:
            is_at_rest = self._book.is_at_rest(self._clock(), patience_seconds)
        return is_at_rest and self.has_looked_everywhere
