"""The loop: a settled file is claimed, decoded, captioned, described and delivered; each verdict has its way.

Every picture is served from start to end by one thread of a pool, so its story reads from top to bottom in
`_deliver`.  Decoding runs ahead: there are more threads than the captioner can serve at once, and those that
wait for it have already let go of the decoded picture.  Files and pixels in memory are bounded together.  A
file that an earlier process may have died on is served alone, so that no other is charged for it.  This room
owns no folder and no device.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Generic

import structlog

from captiond import __version__, sidecar
from captiond.captioners import Captioner, Prepared
from captiond.delivery import Delivery
from captiond.errors import CannotStart, Kind, LibraryAway, Rejected, Surroundings, TryLater
from captiond.inbox import Inbox
from captiond.pipeline.gate import Gate
from captiond.pipeline.preparing import Preparing, Ready
from captiond.pipeline.remembering import Memory, Remembering
from captiond.pipeline.same_answer import SameAnswer
from captiond.pipeline.sources import Elsewhere, FromInbox, Nowhere, Source, key_of
from captiond.pipeline.turns import Turns
from captiond.records import (
    Delivered,
    Described,
    Job,
    Outcome,
    Rules,
    Said,
    SettledFile,
    Stamp,
    Timings,
)
from captiond.status import Tally
from captiond.support.budget import ALONE, Budget
from captiond.support.cores import cores

log = structlog.get_logger(__name__)

# An unforeseen error may pass by itself (a library's race, a file system's whim), or may not.
UNFORESEEN_RETRY_SECONDS = 10.0
NO_MEMORY_RETRY_SECONDS = 60.0
LEFT_ALONE_SECONDS = 300.0  # if even setting aside met an unforeseen error
LONGEST_STEP_BACK_SECONDS = 30.0
REMEMBERED_REASONS = 10_000
LEAST_PUBLISHING = 2  # deliveries at once, however few the cores: one may wait for the disk

# At least so many pictures are on their way to the model, or wait for a slow disk after it.
LEAST_BESIDE_DECODING = 6

# A file's bytes are in memory while it is in work, two or three times while it is described and written.
FILE_BYTES_TOGETHER = 512 * 1024 * 1024


class Pipeline(Generic[Prepared]):
    def __init__(
        self,
        inbox: Inbox,
        delivery: Delivery,
        captioner: Captioner[Prepared],
        preparing: Preparing[Prepared],
        *,
        gate: Gate,
        tally: Tally,
        tell: Callable[[Outcome], None],
        suspects: Collection[str] = (),
        same_answer_limit: int = 4,
        libraries: Elsewhere | None = None,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell`: is told of every picture that has left the inbox; it neither raises nor waits.

        `suspects`: the paths that an earlier process may have died on.  `same_answer_limit`: so many
        different pictures in a row with one answer are suspicious.  `libraries`: served when nothing of
        the inbox waits.  `memory`: the answers given before.
        """
        self._inbox = inbox
        self._from_inbox = FromInbox(inbox, delivery)
        self._libraries = libraries if libraries is not None else Nowhere()
        self._remembering = Remembering(captioner, memory)
        self._preparing = preparing
        self._same_answer = SameAnswer(captioner, same_answer_limit)
        self._gate = gate
        self._tally = tally
        self._tell = tell
        self._clock = clock
        at_once = cores()
        self._workers = max(captioner.capacity, LEAST_BESIDE_DECODING) + at_once
        # A delivery is two hundred small calls, and at each its thread releases the interpreter lock: more
        # deliveries at once only pass the lock to and fro, which took a sixth of all time on two cores.
        self._publishing = threading.BoundedSemaphore(max(at_once, LEAST_PUBLISHING))
        self._bytes = Budget(FILE_BYTES_TOGETHER)
        self._turns = Turns(captioner.capacity)
        # Pictures of libraries have places of their own: those that wait for their turn block no inbox file.
        self._most_elsewhere = captioner.capacity + at_once
        self._elsewhere = threading.BoundedSemaphore(self._most_elsewhere)
        self._suspects = set(suspects)
        self._troubled: dict[str, int] = {}  # by key, how often a picture met trouble
        self._told: dict[str, str] = {}  # key -> the reason last logged for its waiting
        self._ending: CannotStart | None = None

    def run(
        self, stop: threading.Event, *, once: bool = False, patience_seconds: float | None = None
    ) -> None:
        """Serve the inbox until `stop`, or with `once` until it is empty; then finish what is in work.

        `patience_seconds`: how long `once` waits for files that are not whole; None: until they are given up.

        Raises: CannotStart, if this process cannot work on; `stop` is set then.
        """
        free = threading.BoundedSemaphore(self._workers)
        threads = self._workers + self._most_elsewhere
        with ThreadPoolExecutor(threads, thread_name_prefix="picture") as pool:
            for settled in self._settled(stop, once, patience_seconds):
                size = self._size(settled)
                place = free if settled.library is None else self._elsewhere
                if settled.library is None:
                    place.acquire()
                held = self._bytes.take(size)
                serving = pool.submit(self._serve_in_turn, settled, stop)
                serving.add_done_callback(partial(self._report, settled, held))
                serving.add_done_callback(partial(self._leave_place, place))
        if self._ending is not None:
            raise self._ending

    def _leave_place(self, place: threading.BoundedSemaphore, _: Future[None]) -> None:
        place.release()
        if place is self._elsewhere:
            self._inbox.wake()  # there is room for another

    def _take_elsewhere(self) -> SettledFile | None:
        """A picture of a library, if one is ready and there is a place for it."""
        if self._is_resting() or not self._elsewhere.acquire(blocking=False):
            return None
        settled = self._libraries.take()
        if settled is None:
            self._elsewhere.release()
        return settled

    def _settled(
        self, stop: threading.Event, once: bool, patience_seconds: float | None
    ) -> Iterator[SettledFile]:
        """Yield the files to serve, each once the gate lets it pass; wait while the inbox cannot be read."""
        while not stop.is_set():
            try:
                for settled in self._inbox.settled(
                    stop,
                    once=once,
                    patience_seconds=patience_seconds,
                    is_held=self._is_resting,
                    otherwise=self._take_elsewhere,
                    are_others_at_rest=lambda: self._libraries.are_at_rest,
                ):
                    if not self._gate.wait(stop):
                        self._source(settled).release(settled.path)
                        return
                    yield settled
                return
            except Surroundings as trouble:
                self._gate.close(trouble)
                self._await_inbox(stop)

    def _source(self, work: SettledFile | Job) -> Source:
        return self._from_inbox if work.library is None else self._libraries[work.library]

    def _is_resting(self) -> bool:
        return self._gate.look() is not None

    def _await_inbox(self, stop: threading.Event) -> None:
        """Wait until the inbox can be read again, then open the gate: no picture is needed to find out."""
        while self._gate.wait(stop):
            try:
                self._inbox.start()
            except Surroundings as trouble:
                self._gate.close(trouble)
            else:
                self._gate.open()
                return

    def _size(self, settled: SettledFile) -> float:
        """The file's share of the memory budget for files; all of it if the file must be served alone."""
        return ALONE if key_of(settled) in self._suspects else settled.fingerprint.size

    def _serve_in_turn(self, settled: SettledFile, stop: threading.Event) -> None:
        with self._turns.of_inbox() if settled.library is None else nullcontext():
            self._serve(settled, stop)

    def _serve(self, settled: SettledFile, stop: threading.Event) -> None:
        """One picture's whole story, and where each verdict leads."""
        if self._is_resting():  # the pause began after the file was taken: it goes back to wait
            self._source(settled).release(settled.path)
            return
        self._suspects.discard(key_of(settled))
        job = None
        try:
            claimed = self._source(settled).claim(settled)
            if isinstance(claimed, Delivered):
                self._gate.open()
                self._finished_earlier(settled, claimed)
                return
            job = claimed
            self._deliver(job)
        except Rejected as rejected:
            self._set_aside(settled, rejected, job)
        except TryLater as later:
            self._try_later(settled, later, "gave_up", job)
        except MemoryError:
            self._try_later(settled, _no_memory(), "gave_up", job)
        except Surroundings as trouble:
            self._pause(settled, trouble)
        except CannotStart as fatal:
            # The attempt stays counted: this picture may be what ends one process after the other.
            self._ending = fatal
            self._source(settled).release(settled.path)
            log.critical("this process cannot work on", reason=fatal.message, advice=fatal.advice)
            stop.set()
        except Exception as error:
            # The one broad except.  The image stays where it is; the attempt was counted when it was claimed,
            # so it is tried again after a while and set aside once limits.attempts are used up.
            log.exception("unforeseen error", file=settled.path, attempt=job.attempt if job else None)
            self._tally.last_error = f"{settled.path}: {error!r}"
            self._try_later(settled, _unforeseen(error), "unforeseen", job)

    def _try_later(self, settled: SettledFile, later: TryLater, kind: Kind, job: Job | None) -> None:
        """Put it back into the inbox; once the attempts are used up, set it aside with this `kind`.

        If there is no job, no attempt was counted.
        """
        if job is None or job.attempt < job.rules.attempts:
            self._leave(settled, later)
        else:
            self._set_aside(settled, Rejected(kind, later.message, stage="caption", advice=later.advice), job)

    def _leave(self, settled: SettledFile, later: TryLater) -> None:
        # A picture may wait an hour for its film to be copied, and gives this reason once a second.
        key = key_of(settled)
        is_news = self._told.get(key) != later.message
        if len(self._told) >= REMEMBERED_REASONS:
            self._told.clear()
        self._told[key] = later.message
        log.log(logging.INFO if is_news else logging.DEBUG, "later", file=settled.path, reason=later.message)
        source = self._source(settled)
        source.release(settled.path, after_seconds=later.after_seconds, reason=later.message)

    def _deliver(self, job: Job) -> None:
        """The main path."""
        claimed = self._clock()
        ready = self._preparing.of(job.data, max_pixels=job.rules.max_pixels, name=job.path)
        facts = ready.facts
        decoded = self._clock()
        with self._turns.of_library() if job.library is not None else nullcontext():
            said = self._said(ready, job)
        captioned = self._clock()
        must_wait = _must_wait(job.rules, said)
        described = Described.untouched(job.data)
        if not must_wait:
            described = job.rules.describe(job.data, facts.format, said.texts, notes=job.notes)
        timings = Timings(
            queued=job.claimed_at - job.noticed_at + ready.began - claimed,
            decode=decoded - ready.began,
            caption=captioned - decoded,
            publish=self._clock() - captioned,
        )
        record = sidecar.compose(job, facts, said, described, timings, _stamp(), awaits_approval=must_wait)
        with self._publishing:
            delivered = self._source(job).publish(job, described, record)
        if said.cached_from is not None:
            self._tally.count_cached()
        self._finish(job, record.outcome(delivered, datetime.now(UTC)), timings)

    def _said(self, ready: Ready[Prepared], job: Job) -> Said:
        with self._remembering.about(ready, job.rules, job.sha256) as about:
            said = about.said()
            if said.cached_from is None:  # copies of one picture share an answer however well the model sees
                self._same_answer.must_differ(said, job.sha256)
            about.keep()
        return said

    def _finish(self, job: Job, outcome: Outcome, timings: Timings) -> None:
        self._source(job).done(job.path)
        self._troubled.pop(key_of(job), None)
        self._told.pop(key_of(job), None)
        self._gate.open()
        self._tell(outcome)
        log.info(
            "captioned",
            file=job.path,
            caption=outcome.caption,
            **({"delivered_as": outcome.delivered} if outcome.delivered != job.path else {}),
            queued=round(timings.queued, 2),
            decode=round(timings.decode, 3),
            caption_seconds=round(timings.caption, 2),
            total=round(self._clock() - job.noticed_at, 2),
        )

    def _finished_earlier(self, settled: SettledFile, delivered: Delivered) -> None:
        source = self._source(settled)
        source.done(delivered.dropped)
        if delivered.is_duplicate:
            self._tally.count_duplicate()
            log.info("already delivered", file=delivered.dropped, lies_in=delivered.path)
            return
        self._tell(source.outcome(delivered))
        log.info("finished what an earlier run began", file=delivered.dropped, lies_in=delivered.path)

    def _set_aside(self, settled: SettledFile, rejected: Rejected, job: Job | None) -> None:
        """Move it to failed/, with the reason beside it.  If that meets trouble, it stays in the inbox."""
        attempt = job.attempt if job is not None else 0  # 0: delivery uses its own count
        try:
            delivered, record = self._source(settled).set_aside(
                settled.path, settled.fingerprint, rejected, attempt, _stamp()
            )
        except TryLater as later:
            self._leave(settled, later)
        except Surroundings as trouble:
            self._pause(settled, trouble)
        else:
            if record is None:
                self._finished_earlier(settled, delivered)
                return
            self._source(settled).done(settled.path)
            self._tell(record.outcome(delivered, datetime.now(UTC)))
            log.error(
                "failed",
                file=settled.path,
                kind=rejected.kind,
                reason=rejected.message,
                advice=rejected.advice,
                lies_in=delivered.path,
            )

    def _pause(self, settled: SettledFile, trouble: Surroundings) -> None:
        if not isinstance(trouble, LibraryAway):
            self._gate.close(trouble)
        self._tally.last_error = trouble.message
        source = self._source(settled)
        source.forgive(settled)
        # A picture that meets trouble again and again lets another try first: otherwise one on a bad block of
        # the disk would be the only one ever tried.
        met = self._troubled[key_of(settled)] = self._troubled.get(key_of(settled), 0) + 1
        step_back = min(2.0 ** (met - 2), LONGEST_STEP_BACK_SECONDS) if met > 1 else 0.0
        source.release(settled.path, after_seconds=step_back, reason=trouble.message)

    def _report(self, settled: SettledFile, held: float, serving: Future[None]) -> None:
        """Log an error that escaped `_serve`: even setting aside failed, the image is still in the inbox."""
        self._bytes.give_back(held)
        error = serving.exception()
        if error is not None:
            log.critical("a picture could not be set aside", file=settled.path, exc_info=error)
            source = self._source(settled)
            source.release(settled.path, after_seconds=LEFT_ALONE_SECONDS, reason=repr(error))


def _must_wait(rules: Rules, said: Said) -> bool:
    """Whether the texts stay in the sidecar until a person approves them."""
    return rules.approve == "all" or (rules.approve == "unsure" and said.needs_look)


def _no_memory() -> TryLater:
    return TryLater(
        "there is not enough memory to decode it",
        after_seconds=NO_MEMORY_RETRY_SECONDS,
        advice="Give captiond more memory, or lower limits.max_pixels, and run `captiond retry`.",
    )


def _unforeseen(error: Exception) -> TryLater:
    return TryLater(repr(error), after_seconds=UNFORESEEN_RETRY_SECONDS, advice="Please report this.")


def _stamp() -> Stamp:
    return Stamp(datetime.now(UTC).replace(microsecond=0), __version__)  # as exact as records tell it
