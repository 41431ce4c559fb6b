"""One library: its pictures as settled files, one at a time, and what became of each.

A thread of its own looks through it, as the inbox is looked through: events are hints, a slow scan is the
truth.  It passes over pictures that are described; new ones wait in `_ready` until the pipeline takes them.
If a library is away, or cannot be written, it waits without holding up others, and forgets nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from captiond import sidecar
from captiond.delivery import Look
from captiond.delivery.attempts import Attempts
from captiond.delivery.edit import Revise
from captiond.errors import LibraryAway, NotThere, Rejected, Surroundings, TryLater
from captiond.inbox import Inbox
from captiond.inbox.ignore import Ignore
from captiond.libraries.candidates import Candidates
from captiond.libraries.desk import Desk
from captiond.libraries.index import Index, Row, Seen
from captiond.libraries.knowing import Knowing, left_behind
from captiond.libraries.marker import Marker, Place
from captiond.libraries.revising import Revising
from captiond.libraries.trees import Root, as_away, fingerprint_of
from captiond.libraries.walk import Walked, walked
from captiond.names import shown
from captiond.records import Delivered, Described, Fingerprint, Job, Outcome, RulesOf, SettledFile, Stamp
from captiond.sidecar import Record
from captiond.sidecar.companions import pictures_of
from captiond.status import LibraryState, LibraryStatus, Standing

log = structlog.get_logger(__name__)

READY = 16  # pictures that are looked into and wait to be taken
SCANS_APART = 6  # a library is looked through this much less often than the inbox
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0
_TICK_SECONDS = 0.2  # a stop is noticed within this time
_LATER_SECONDS = 5.0
MOST_RAWS_AT_ONCE = 500  # that are looked into at one look through the library


@dataclass(frozen=True, slots=True)
class Watching:
    """How a folder is looked through."""

    settle_seconds: float
    settle_untold_seconds: float
    incomplete_after_seconds: float
    rescan_seconds: float
    method: str = "auto"


class Library:
    """`run` is called by one thread; every other method may be called from any."""

    def __init__(
        self,
        place: Place,
        index: Index,
        attempts: Attempts,
        rules_of: RulesOf,
        ignore: Ignore,
        watching: Watching,
        *,
        describes_existing: bool,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake`: is called when a picture is ready."""
        self.name, self._place, self._index, self._ignore = place.name, place, index, ignore
        folder = place.mirror if place.mirror is not None else place.path
        self._knowing = Knowing(place.name, folder, index, rules_of, describes_existing)
        self._desk = Desk(place, self._knowing, attempts, self._keep, clock)
        self._revising = Revising(place, rules_of, attempts.folder, self._desk.takers, self._keep)
        self.rules_of = rules_of  # by paths in the library
        self._wake = wake
        self._marker = Marker(0)  # until it is seen
        self._ready: queue.Queue[SettledFile] = queue.Queue(READY)
        self._trouble: LibraryAway | None = None
        self._is_unwritable = False
        self._is_started = self.is_at_rest = False
        self.scans = 0  # how often it was looked through from end to end
        self._counting = threading.Lock()
        self._counts: Counter[str] = Counter()
        apart_seconds = SCANS_APART * watching.rescan_seconds
        self._inbox = Inbox(
            place.path,
            settle_seconds=watching.settle_seconds,
            incomplete_after_seconds=watching.incomplete_after_seconds,
            rescan_seconds=apart_seconds,
            poll_interval_seconds=apart_seconds,
            method=watching.method,
            ignore=ignore,
            clock=clock,
            place=Root(place, self._see),
            book=Candidates(
                self._is_known,
                settle_seconds=watching.settle_seconds,
                incomplete_after_seconds=watching.incomplete_after_seconds,
                settle_untold_seconds=watching.settle_untold_seconds,
            ),
            on_scanned=self._scanned,
        )

    # What the thread does

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Look through it until `stop`, or with `once` until nothing in it waits, or it is away."""
        wait_seconds = FIRST_RETRY_SECONDS
        while not stop.is_set() and not self.is_at_rest:
            try:
                self._begin()
                for settled in self._inbox.settled(stop, once=once):
                    wait_seconds = FIRST_RETRY_SECONDS
                    self._hand_out(settled, stop)
                self.is_at_rest = once
            except (Surroundings, OSError, ValueError, MemoryError) as error:
                self._set_trouble(as_away(self.name, error))
                self.is_at_rest = once
                if not once:
                    stop.wait(wait_seconds)
                wait_seconds = min(2 * wait_seconds, LONGEST_RETRY_SECONDS)
        self._wake()

    def _begin(self) -> None:
        """Start, or start again, the look at the library.

        Raises: LibraryAway, if it cannot be seen, or written into.
        """
        with self._desk.opened() as trees:
            self._marker = self._place.marker(trees.library.root)
            if not self._is_started:
                self._look_around(trees.library.root)
                self._inbox.start()
                self._is_started = True
        if self._is_unwritable:
            self._desk.try_writing()
            self._is_unwritable = False
        self._set_trouble(None)

    def _hand_out(self, settled: SettledFile, stop: threading.Event) -> None:
        """Offer the picture to the pipeline, unless it is described already.  Raises: Surroundings."""
        path = settled.path
        try:
            if self._is_unwritable and self._trouble is not None:
                raise self._trouble
            known = self._desk.known(path, settled.fingerprint)
            self._set_trouble(None)
            offered = replace(settled, path=f"{self.name}/{path}", library=self.name)
            if known.twin is not None:
                self._desk.carry(offered, path, known.twin)
                log.info("described by its content", library=self.name, file=shown(path))
            elif known.row is not None:
                self._keep(known.row)
            else:
                self._offer(offered, stop)
                return
        except TryLater as later:
            after = max(later.after_seconds, _LATER_SECONDS)
            self._inbox.release(path, after_seconds=after, reason=later.message)
            return
        except (Surroundings, OSError, ValueError, MemoryError):
            self._inbox.release(path)
            raise
        self._inbox.done(path)

    def _offer(self, settled: SettledFile, stop: threading.Event) -> None:
        while not stop.is_set():
            if self._trouble is not None:
                raise self._trouble
            try:
                self._ready.put(settled, timeout=_TICK_SECONDS)
            except queue.Full:
                continue
            self._wake()
            return

    def close(self) -> None:
        self._inbox.close()

    # As a source of settled files, and as the desk that serves them: see `pipeline.sources`

    def take(self) -> SettledFile | None:
        """A picture to be described, if one is ready."""
        if self._trouble is not None:
            return None
        try:
            return self._ready.get_nowait()
        except queue.Empty:
            return None

    def done(self, path: str) -> None:
        self._inbox.done(self._inner(path))

    def release(self, path: str, *, after_seconds: float = 0.0, reason: str = "") -> None:
        self._inbox.release(self._inner(path), after_seconds=after_seconds, reason=reason)

    def claim(self, settled: SettledFile) -> Job | Delivered:
        with self._told():
            return self._desk.claim(settled, self._inner(settled.path))

    def publish(self, job: Job, described: Described, record: Record) -> Delivered:
        with self._told(is_writing=True):
            return self._desk.publish(job, self._inner(job.path), described, record)

    def set_aside(
        self, path: str, fingerprint: Fingerprint, rejected: Rejected, attempt: int, stamp: Stamp
    ) -> tuple[Delivered, Record | None]:
        with self._told():
            delivered = self._desk.set_aside(self._inner(path), fingerprint, rejected)
        return delivered, sidecar.compose_error(path, fingerprint, rejected, attempt, "", stamp)

    def forgive(self, work: Job | SettledFile) -> None:
        self._desk.forgive(work)

    def outcome(self, delivered: Delivered) -> Outcome:
        raise NotThere  # nothing is finished later

    # Other texts for what is described; paths begin with the library's name, too

    def must_be_there(self) -> None:
        """Raises: LibraryAway, if it cannot be seen now."""
        with self._desk.opened():
            pass

    def look(self, path: str) -> Look:
        """See `Revising.look`."""
        return self._revising.look(self._inner(path))

    def record(self, path: str) -> Record:
        """See `Revising.record`."""
        return self._revising.record(self._inner(path))

    def seen(self, path: str) -> Outcome:
        """See `Revising.seen`."""
        return self._revising.seen(self._inner(path))

    def opened(self, path: str) -> AbstractContextManager[int]:
        """See `Revising.opened`."""
        return self._revising.opened(self._inner(path))

    def rewrite(self, path: str, revise: Revise, at: datetime) -> tuple[Delivered, Record]:
        """See `Revising.rewrite`."""
        return self._revising.rewrite(self._inner(path), revise, at)

    # What to say about it

    def status(self) -> LibraryStatus:
        counts, trouble = self._inbox.counts(), self._trouble
        state: LibraryState = "watching" if self._is_started else "starting"
        with self._counting:
            kept = Counter(self._counts)
        waiting = counts.waiting + counts.settling + counts.in_work
        return LibraryStatus(
            name=self.name,
            state=state if trouble is None else "unavailable",
            pictures=max(kept["pictures"], kept["described"] + kept["failed"]),
            described=kept["described"],
            waiting=waiting,
            failed=kept["failed"],
            left_behind=kept["left"],
            reason=trouble.message if trouble is not None else None,
            advice=trouble.advice if trouble is not None else None,
        )

    def standing(self, path: str) -> Standing:
        """Where the picture `path`, in the library, stands."""
        if self._ignore.rule(path) is not None:
            return self._inbox.standing(path)
        try:
            with self._desk.opened() as trees:
                seen = fingerprint_of(trees, path)
        except (TryLater, ValueError):
            return Standing("not_there")
        except Surroundings as trouble:
            return Standing("unseen", trouble.message)
        failed = self._knowing.failed(path, Seen.of(seen))
        if failed is not None:
            return Standing("failed", failed.message)
        if not self._is_known(path, seen):
            return self._inbox.standing(path)
        is_described = self._index.get(self.name, path) is not None
        return Standing("described" if is_described else "existing")

    def follow(self, ignore: Ignore) -> None:
        """Use other patterns from now on."""
        self._ignore = ignore
        self._inbox.ignore(ignore)

    # Inside

    def _see(self, marker: Marker) -> None:
        self._marker = marker

    def _is_known(self, path: str, picture: Fingerprint) -> bool:
        return self._knowing.at_a_glance(path, picture, self._marker)

    def _scanned(self, root: int) -> None:
        self._look_around(root)
        self.scans += 1

    def _look_around(self, root: int) -> None:
        """By names alone: count the pictures, and find records whose picture is gone."""
        with self._place.written_into(root) as target:
            found = walked(root, target, self._ignore)
        if not found.pictures and self._place.mirror is not None and (self._marker.pictures or found.records):
            raise self._place.all_gone()
        if not self._is_started:
            for path in self._desk.finish_earlier(found.traces):
                log.info("finished what an earlier run began", library=self.name, file=shown(path))
        self._keep_up(found)

    def _keep_up(self, found: Walked) -> None:
        """Bring the index up to date: pictures that are gone, and records that lost their picture."""
        states = self._index.states(self.name)
        left = set(found.left_behind)
        with self._desk.opened() as trees:
            new = [path for path in found.left_behind if states.get(path) != "left"]
            rows = [row for path in new if (row := left_behind(trees.target, path)) is not None]
        if rows:
            self._index.put(self.name, rows)
        self._index.drop(
            self.name, [path for path in states if path not in found.pictures and path not in left]
        )
        self._index.put(self.name, list(self._late_raws(found, states)))
        counts = Counter(
            state for path, state in states.items() if path in found.pictures and state != "left"
        )
        with_others = {path for path in found.travelling if states.get(path) in (None, "travels")}
        with self._counting:
            self._counts = counts + Counter(pictures=len(found.pictures - with_others), left=len(left))

    def _late_raws(self, found: Walked, states: Mapping[str, str]) -> Iterator[Row]:
        """RAW files that came after the picture of their shot was described: their .xmp says it now."""
        late = [path for path in found.travelling if path not in states]
        for raw in late[:MOST_RAWS_AT_ONCE]:
            of_shot = next(one for one in pictures_of(raw, text=False) if one in found.pictures)
            try:
                if states.get(of_shot) == "described" and self._revising.lay_beside_raw(of_shot):
                    yield Row(raw, "travels", Seen())
            except (NotThere, TryLater):
                continue  # at the next look
            except LibraryAway:
                return  # likewise: whoever describes a picture finds out whether all have to wait

    def _keep(self, row: Row) -> None:
        """Put what became of a picture into the index, and count it."""
        former = self._index.get(self.name, row.path)
        self._index.put(self.name, [row])
        with self._counting:
            self._counts.update([row.state])
            if former is not None:
                self._counts.subtract([former.state])

    def _inner(self, path: str) -> str:
        return path.removeprefix(f"{self.name}/")

    @contextmanager
    def _told(self, *, is_writing: bool = False) -> Iterator[None]:
        """If the library is away for one picture, it is for all of its pictures."""
        try:
            yield
        except LibraryAway as trouble:
            self._is_unwritable |= is_writing
            self._set_trouble(trouble)
            raise

    def _set_trouble(self, trouble: LibraryAway | None) -> None:
        former, self._trouble = self._trouble, trouble
        if trouble is None:
            if former is not None:
                log.info("the library is back", library=self.name)
        elif former is None or former.message != trouble.message:
            log.error("a library waits", library=self.name, reason=trouble.message, advice=trouble.advice)
