"""Described pictures that an operator wants described again, served behind those of the inbox.

Each picture of a list is looked at, asked about by the present rules, and changed where it lies, in done/ or
in a library, by the exchange that an edit uses.  None begins while the inbox has a picture in work or
waiting, and so few are under way that a picture dropped then finds the model free.  A picture that cannot be
described, or has changed since, is left alone and counted with its reason; trouble in the surroundings closes
the gate, and the picture is tried again, and a list of a library that is away waits alone.  `redo.lists`
keeps how far a list is, and a changed picture's own record names the list, so that nothing is asked twice
after a crash.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Generic

import structlog

from captiond import __version__, sidecar
from captiond.captioners import Captioner, Prepared
from captiond.delivery import Changed, Delivery, Held, Look
from captiond.delivery.attempts import Attempts
from captiond.errors import CannotStart, LibraryAway, NotThere, Rejected, Surroundings, TryLater, Verdict
from captiond.inbox import Inbox
from captiond.names import OWN_FOLDER
from captiond.pipeline.gate import Gate
from captiond.pipeline.preparing import Preparing
from captiond.pipeline.same_answer import SameAnswer
from captiond.pipeline.sources import Changeable, ChangeableLibraries, ChangeableLibrary
from captiond.records import Outcome, Rules, RulesOf, Stamp, Timings
from captiond.redo.filters import Filters, Skip, why_left_out
from captiond.redo.lists import Entry, Lists, Order, Progress
from captiond.sidecar import Record
from captiond.sidecar.questions import answering
from captiond.sidecar.rewriting import is_redone_by
from captiond.support.background import repeating

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0  # between two looks for a list
WAIT_SECONDS = 0.05  # between two looks whether the inbox is quiet
KEPT_SECONDS = 1.0  # between two writes of how far a list is
NO_MEMORY_RETRY_SECONDS = 60.0

_Ended = tuple[Skip | None, str | None]  # why it was left out, and details; None: it is described


class Redoing(Generic[Prepared]):
    def __init__(
        self,
        lists: Lists,
        done: Path,
        inbox: Inbox,
        delivery: Delivery,
        captioner: Captioner[Prepared],
        preparing: Preparing[Prepared],
        rules_of: RulesOf,
        attempts: Attempts,
        *,
        gate: Gate,
        tell: Callable[[Outcome], None],
        same_answer_limit: int = 4,
        libraries: ChangeableLibraries | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lists = lists
        self._done = done
        self._inbox = inbox
        self._delivery = delivery
        self._captioner = captioner
        self._preparing = preparing
        self._rules_of = rules_of
        self._attempts = attempts
        self._same_answer = SameAnswer(captioner, same_answer_limit)
        self._gate = gate
        self._tell = tell
        self._clock = clock
        # Half: `capacity` is twice what a local model works on at once, or a server's number of requests.
        self._most = max(1, captioner.capacity // 2)
        self._puzzling: set[str] = set()  # lists that cannot be understood, once logged
        self._trouble: str | None = None  # with the folder of the lists, as last logged
        self._libraries = libraries
        self._away: dict[str, str] = {}  # libraries that cannot be seen, and the reason as last logged

    @contextmanager
    def going_on(self, stop: threading.Event, *, once: bool = False) -> Iterator[None]:
        """Serve lists on a thread while this lasts; with `once`, serve all of them after it has ended."""
        if once:
            yield
            self.serve_all(lambda: stop.is_set() or self._gate.look() is not None)
            return
        ended = threading.Event()

        def serve() -> None:
            self.serve_all(lambda: ended.is_set() or stop.is_set())

        with repeating("redo", serve, lambda: LOOK_SECONDS):
            try:
                yield
            finally:
                ended.set()  # so that a list stops between two pictures

    def serve_all(self, is_over: Callable[[], bool]) -> None:
        """Serve every list that waits, the oldest first, until `is_over`."""
        try:
            for id in self._lists.waiting(self._done):
                order = self._lists.order(id)
                if order is None:
                    self._tell_of_puzzle(id)
                elif order.done == os.path.realpath(self._done) and not is_over() and self._is_there(order):
                    self._serve(order, is_over)
            self._trouble = None
        except Surroundings as trouble:
            if trouble.message != self._trouble:  # logged once, not each second
                log.warning("what is to be described again cannot be looked at", reason=trouble.message)
            self._trouble = trouble.message

    def _is_there(self, order: Order) -> bool:
        """Whether the library of the list, if it is one of a library, can be seen now."""
        name = order.library
        if name is None:
            return True
        if self._libraries is None or name not in self._libraries:
            self._note_away(name, f"the settings name no library {name!r}")
            return False
        try:
            self._libraries[name].must_be_there()
        except LibraryAway as trouble:
            self._note_away(name, trouble.message)
            return False
        except TryLater:
            return False
        self._away.pop(name, None)
        return True

    def _note_away(self, name: str, reason: str) -> None:
        if self._away.get(name) != reason:  # logged once, not each second
            log.warning("what is to be described again in a library waits", library=name, reason=reason)
        self._away[name] = reason

    def _place(self, order: Order) -> Changeable:
        """Where the pictures of the list lie.  Raises: LibraryAway."""
        if order.library is None:
            return self._delivery
        return self._library(order.library)

    def _library(self, name: str) -> ChangeableLibrary:
        if self._libraries is None or name not in self._libraries:
            raise LibraryAway(f"the settings name no library {name!r}")
        return self._libraries[name]

    def _rules(self, order: Order, record: Record) -> Rules:
        rules_of = self._rules_of if order.library is None else self._library(order.library).rules_of
        return rules_of(record.path)

    def _tell_of_puzzle(self, id: str) -> None:
        if self._lists.is_wanted(id) and id not in self._puzzling:
            self._puzzling.add(id)
            log.warning("a list of pictures to describe again cannot be understood", list=id)

    def _serve(self, order: Order, is_over: Callable[[], bool]) -> None:
        """Serve one list, from its first picture that is not over."""
        track = _Track(self._lists, order, self._clock)
        suspects = self._attempts.begun()
        log.info("describing again", list=order.id, pictures=track.left)
        free = threading.BoundedSemaphore(self._most)
        with ThreadPoolExecutor(self._most, thread_name_prefix="again") as pool:
            for number in range(track.progress.next, len(order.entries)):
                if not self._may_begin(order, is_over):
                    break
                entry = order.entries[number]
                is_suspect = _key(order, entry) in suspects  # an earlier process may have died on it: alone
                turns = self._most if is_suspect else 1
                for _ in range(turns):
                    free.acquire()
                serving = pool.submit(self._ended, order, entry, is_over)
                serving.add_done_callback(partial(_report, track, number, entry, free, turns))
        track.keep(is_finished=track.left == 0)
        if track.left == 0:
            log.info("described again", list=order.id, pictures=track.progress.done, left_out=track.skipped)

    def _may_begin(self, order: Order, is_over: Callable[[], bool]) -> bool:
        """Wait for a quiet inbox, an open gate and the end of a pause.  False if the list must stop."""
        while not is_over() and order.library not in self._away and self._lists.is_wanted(order.id):
            if self._inbox.is_busy() or self._gate.look() is not None or not self._passes():
                time.sleep(WAIT_SECONDS)
                continue
            return True
        return False

    def _passes(self) -> bool:
        return self._gate.trouble is None or self._gate.take_turn()

    def _ended(self, order: Order, entry: Entry, is_over: Callable[[], bool]) -> _Ended | None:
        """What became of one picture; None if it is not known: the daemon stops, or its library is away."""
        tries = 0
        while True:
            tries += 1
            try:
                return self._again(order, entry)
            except NotThere:
                return "gone", None
            except Held:
                return "held", None
            except Changed:
                return "changed", None
            except Rejected as rejected:
                return "failed", rejected.message
            except MemoryError:
                later = TryLater("there is not enough memory", after_seconds=NO_MEMORY_RETRY_SECONDS)
            except TryLater as trouble:
                later = trouble
            except LibraryAway as trouble:
                assert order.library is not None
                self._note_away(order.library, trouble.message)
                return None
            except (Surroundings, CannotStart) as trouble:
                # CannotStart does not end the process here: it does when the inbox meets it, with its code.
                self._gate.close(Surroundings(trouble.message, advice=trouble.advice))
                tries -= 1
                later = TryLater("")
            if tries >= self._rules_of(entry.path).attempts:
                return "failed", later.message
            if not self._waited(later.after_seconds, is_over):
                return None

    def _waited(self, seconds: float, is_over: Callable[[], bool]) -> bool:
        """Wait until that time has passed and the gate lets it pass; False if `is_over` comes first."""
        until = self._clock() + seconds
        while not is_over():
            if self._clock() >= until and self._passes():
                return True
            time.sleep(WAIT_SECONDS)
        return False

    def _again(self, order: Order, entry: Entry) -> _Ended:
        """The main path."""
        place = self._place(order)
        look = place.look(entry.path)
        if is_redone_by(look.record, order.id):
            return None, None  # this list changed it before a crash
        if look.record.source.sha256 != entry.sha256:
            raise Changed(entry.path)
        rules = self._rules(order, look.record)
        left_out = why_left_out(Filters(field=order.field, edited=order.edited), look.record, rules)
        if left_out is not None:
            return left_out, None
        key = _key(order, entry)
        if self._attempts.begin(key, look.fingerprint) > rules.attempts:
            self._attempts.clear(key)
            return "failed", f"the process ended {rules.attempts} times while it worked on this picture"
        try:
            record = self._asked(order, look, rules)
            delivered, told = place.rewrite(
                entry.path, partial(_in_place_of, look.record, record, entry.path), _now()
            )
        except Surroundings:
            self._attempts.forgive(key, look.fingerprint)
            raise
        except (Verdict, MemoryError):  # the process lives, and only attempts that end one count
            self._attempts.clear(key)
            raise
        self._attempts.clear(key)
        self._gate.open()
        self._tell(replace(told.outcome(delivered, _now()), event="redone", at=_now()))
        log.info("described again", file=entry.path, list=order.id, caption=told.caption)
        return None, None

    def _asked(self, order: Order, look: Look, rules: Rules) -> Record:
        """The record that says what the model says now."""
        began = self._clock()
        ready = self._preparing.of(look.data, max_pixels=rules.max_pixels, name=look.record.path)
        decoded = self._clock()
        interview = rules.interview
        if rules.narrowed is not None and (order.field is not None or order.prompt is not None):
            interview = rules.narrowed(order.field, order.prompt, look.texts)
        said = interview(partial(self._captioner.ask_all, ready.prepared), ready.facts)
        if order.field in (None, "caption"):
            self._same_answer.must_differ(said, look.record.source.sha256)
        elif order.field is not None:
            return sidecar.redone_alone(look.record, order.field, said, _stamp(), order=order.id)
        seconds = self._clock() - decoded
        timings = Timings(ready.began - began, decoded - ready.began, seconds, 0.0)
        former = look.record if order.field is not None else answering(look.record, rules.questions)
        return sidecar.redone(
            former,
            ready.facts,
            said,
            timings,
            _stamp(),
            profile=rules.profile,
            order=order.id,
            alone=order.field is not None,
        )


class _Track:
    """How far a list is, while several of its pictures are under way."""

    def __init__(self, lists: Lists, order: Order, clock: Callable[[], float]) -> None:
        self._lists = lists
        self._order = order
        self._clock = clock
        self._changing = threading.Lock()
        self._ended: dict[int, tuple[str, _Ended]] = {}  # over, while one before them is not
        self._kept_at = clock()
        self.progress: Progress = lists.progress(order)

    @property
    def left(self) -> int:
        return self.progress.total - self.progress.next

    @property
    def skipped(self) -> int:
        return sum(self.progress.skipped.values())

    def over(self, number: int, path: str, ended: _Ended) -> None:
        with self._changing:
            self._ended[number] = path, ended
            while (found := self._ended.pop(self.progress.next, None)) is not None:
                path, (skip, why) = found
                after = self.progress.over(path, skip, why)
                self.progress = replace(after, next=after.next + 1)
            is_due = self._clock() - self._kept_at > KEPT_SECONDS
        if is_due:
            self.keep()

    def keep(self, *, is_finished: bool = False) -> None:
        """Write down how far the list is, unless it was cancelled."""
        with self._changing:
            self._kept_at = self._clock()
            if is_finished:
                self.progress = replace(self.progress, finished_at=_now())
            if not self._lists.is_wanted(self._order.id):
                return
            try:
                self._lists.keep(self.progress)
            except Surroundings as trouble:
                log.warning(
                    "how far it is cannot be written down", list=self._order.id, reason=trouble.message
                )


def _report(
    track: _Track,
    number: int,
    entry: Entry,
    free: threading.BoundedSemaphore,
    turns: int,
    serving: Future[_Ended | None],
) -> None:
    """Note what became of one picture, and free its place; None is not noted: the daemon stops."""
    error = serving.exception()
    if error is not None:
        log.error("a picture could not be described again", file=entry.path, exc_info=error)
    ended = serving.result() if error is None else ("failed", repr(error))
    if ended is not None:
        skip, why = ended
        if skip is not None:
            log.info("left as it is", file=entry.path, reason=why or skip)
        track.over(number, entry.path, ended)
    for _ in range(turns):
        free.release()


def _in_place_of(known: Record, new: Record, path: str, there: Record) -> Record:
    """The `new` record, if the one in place is still the `known` one.  Raises Changed otherwise."""
    if there != known:
        raise Changed(path)
    return new


def _key(order: Order, entry: Entry) -> str:
    """The key under which attempts are counted: no picture of the inbox has such a path."""
    return f"{OWN_FOLDER}/redo/{entry.path if order.library is None else '/' + entry.path}"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _stamp() -> Stamp:
    return Stamp(_now(), __version__)
