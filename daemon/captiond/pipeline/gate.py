"""The one place where the work pauses: by itself in trouble, and if an operator or the schedule asks for it.

The gate closes when the surroundings let no picture be served, and then lets one picture through now and
then: if that one is delivered the gate opens, if it meets the same trouble the next waits twice as long.
If no picture waits, upkeep may take the turn to try.  No image is judged here and none is charged.

A rest (a wanted pause, or closed hours) is another matter: nothing is wrong and nothing is tried.  What is
in work is finished, and nothing new is taken from the inbox meanwhile (`look`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from captiond.errors import Surroundings
from captiond.names import utc_text
from captiond.status import Rest

log = structlog.get_logger(__name__)

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
LONGEST_SLEEP_SECONDS = 0.5  # another thread may open the gate meanwhile


def _never() -> Rest | None:
    return None


class Gate:
    def __init__(
        self, clock: Callable[[], float] = time.monotonic, resting: Callable[[], Rest | None] = _never
    ) -> None:
        """`resting`: why nothing new is to begin now, or None; it may read from a disk."""
        self._clock = clock
        self._resting = resting
        self._rest: Rest | None = None
        self._changing = threading.Lock()
        self._trouble: Surroundings | None = None
        self._wait_seconds = FIRST_WAIT_SECONDS
        self._next_try = 0.0  # on the clock
        self._is_trying = False  # a picture was let through and has not reported back
        self.pauses = 0  # so far: upkeep would miss a short one otherwise

    @property
    def trouble(self) -> Surroundings | None:
        """Why the work pauses, if it does."""
        return self._trouble

    @property
    def rest(self) -> Rest | None:
        """Why nothing new begins though nothing is wrong, or None; as `look` last found it."""
        return self._rest

    def look(self) -> Rest | None:
        """Why nothing new begins though nothing is wrong, or None; looked up now."""
        rest = self._resting()
        with self._changing:
            former, self._rest = self._rest, rest
        if rest is not None and rest != former:
            until = utc_text(rest.until) if rest.until is not None else None
            log.info("nothing new begins", reason=rest.reason, until=until)
        elif rest is None and former is not None:
            log.info("pictures are taken again")
        return rest

    def close(self, trouble: Surroundings) -> None:
        """Pause.  Pictures that were under way together report the same trouble, which counts once."""
        with self._changing:
            is_new = self._trouble is None
            if not is_new and not self._is_trying:
                return
            self._wait_seconds = (
                FIRST_WAIT_SECONDS if is_new else min(2 * self._wait_seconds, LONGEST_WAIT_SECONDS)
            )
            self._trouble = trouble
            self.pauses += is_new
            self._is_trying = False
            self._next_try = self._clock() + self._wait_seconds
        if is_new:
            log.error("paused", reason=trouble.message, advice=trouble.advice)
        else:
            log.info("still paused", reason=trouble.message, next_try_seconds=self._wait_seconds)

    def open(self) -> None:
        """Something worked again."""
        with self._changing:
            was_closed, self._trouble = self._trouble is not None, None
            self._is_trying = False
        if was_closed:
            log.info("going on")

    def wait(self, stop: threading.Event) -> bool:
        """Wait until a picture may pass.  False if `stop` was set meanwhile."""
        while not stop.is_set():
            with self._changing:
                if self._trouble is None or self._take_turn():
                    return True
                remaining = self._next_try - self._clock()
            stop.wait(min(max(remaining, 0.0), LONGEST_SLEEP_SECONDS))
        return False

    def take_turn(self) -> bool:
        """Whether the work pauses and it is time to try again; if so, the caller must try."""
        with self._changing:
            return self._trouble is not None and self._take_turn()

    def _take_turn(self) -> bool:
        now = self._clock()
        if now < self._next_try:
            return False
        # No other caller tries until this one has reported back or has had its time.
        self._is_trying = True
        self._next_try = now + self._wait_seconds
        return True
