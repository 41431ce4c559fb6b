"""What a running daemon does once a second beside its pictures: it tells how it fares, and ends pauses.

A pause ends when a picture that is let through is delivered.  If none waits, nothing would end it, so the
surroundings are tried here: the inbox is looked at, what lies unfinished in done/ and failed/ is finished,
and the model is asked about a gray square.  After every pause, however short, recovery runs once more, for
what the pause interrupted; files that could not be removed after a delivery are tried again now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import structlog
from PIL import Image

from captiond.captioners import Captioner
from captiond.delivery import Delivery
from captiond.errors import CannotStart, Rejected, Surroundings, TryLater
from captiond.inbox import Inbox
from captiond.pipeline.gate import Gate
from captiond.records import CaptionRequest, Outcome, Picture, PictureFacts
from captiond.service import systemd
from captiond.status import Rest, Tally
from captiond.support.background import repeating

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0
SHARE_FOR_STRANGERS = 50  # looking for unserved files takes at most one part in so many of the time


class Upkeep:
    def __init__(
        self,
        inbox: Inbox,
        delivery: Delivery,
        captioner: Captioner[Any],
        *,
        gate: Gate,
        tally: Tally,
        tell: Callable[[Outcome], None],
        takes_text: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`takes_text`: whether the `photo.txt` beside the picture with this path travels with it."""
        self._takes_text = takes_text
        self._look_again_at = 0.0
        self._told_unserved: set[str] = set()
        self._inbox = inbox
        self._delivery = delivery
        self._captioner = captioner
        self._gate = gate
        self._tally = tally
        self._tell_of = tell
        self.turned_at = time.monotonic()  # when the last round began
        self._pauses_minded = 0
        self._degraded: str | None = None
        self._told = ""

    def going_on(self) -> AbstractContextManager[None]:
        """Make a round each second, on a thread of its own, while this lasts."""
        return repeating("upkeep", self.round, lambda: EVERY_SECONDS)

    def round(self) -> None:
        """Do what is due now."""
        self.turned_at = time.monotonic()
        self._tell_of_watching()
        self._tell_of_waiting()
        if self.turned_at >= self._look_again_at:
            self.tell_of_unserved()
        counts, is_resting = self._inbox.counts(), self._gate.look() is not None
        nobody_waits = is_resting or not counts.waiting
        if nobody_waits and not counts.in_work and self._gate.take_turn():
            self._mind_trouble(self._try_surroundings)
        pauses = self._gate.pauses  # read before the trouble, since a pause may begin in between
        if self._gate.trouble is None:
            if pauses != self._pauses_minded:
                self._pauses_minded = pauses
                self._mind_trouble(self._recover)
            self._mind_trouble(self._delivery.tidy)
        for notice in self._delivery.take_notices():
            log.warning(notice.message, code=notice.code)
        self._tell(self.status())

    def status(self) -> str:
        """One line for `systemctl status`."""
        counts, trouble, rest = self._inbox.counts(), self._gate.trouble, self._gate.rest
        state = "watching the inbox" if rest is None else f"paused: {rest.reason}{_until(rest)}"
        if trouble is not None:
            state = f"paused: {trouble.message}"
        not_whole = f"{counts.incomplete} not complete, " if counts.incomplete else ""
        numbers = (
            f"{counts.waiting + counts.settling - counts.incomplete} waiting, {not_whole}"
            f"{counts.in_work} in work, {self._tally.done} done, {self._tally.failed} failed"
        )
        return f"{state}; {numbers}"

    def _mind_trouble(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Surroundings as trouble:
            self._gate.close(trouble)
        except CannotStart as fatal:
            # The next picture meets the same, and then the process ends with its exit code.
            self._gate.close(Surroundings(fatal.message, advice=fatal.advice))

    def _try_surroundings(self) -> None:
        self._inbox.start()
        self._recover()
        # An unloaded idle model stays unloaded until there is work, and in a wanted pause there is none.
        if self._captioner.is_loaded and self._gate.rest is None:
            self._ask_the_model()
        self._gate.open()

    def _ask_the_model(self) -> None:
        square = Picture(Image.new("RGB", (64, 64), "gray"), PictureFacts("JPEG", 64, 64))
        try:
            self._captioner.ask(self._captioner.prepare(square), CaptionRequest("Describe this image.", 1))
        except (Rejected, TryLater):
            pass  # a verdict on the square is an answer too: the model works

    def _recover(self) -> None:
        for delivered in self._delivery.recover():
            self._tell_of(self._delivery.outcome(delivered))
            log.info("finished what a pause interrupted", file=delivered.path)

    def _tell_of_watching(self) -> None:
        degraded = self._inbox.watch_state.degraded
        if degraded != self._degraded:
            if degraded is not None:
                log.warning("the inbox is scanned, since its events cannot be relied on", reason=degraded)
            else:
                log.info("the inbox's events can be relied on again")
            self._degraded = degraded

    def _tell_of_waiting(self) -> None:
        for path, standing in self._inbox.newly_not_whole():
            left = {} if standing.wait_seconds is None else {"seconds_left": round(standing.wait_seconds)}
            log.info("waiting for the rest of a file", file=path, reason=standing.reason, **left)

    def tell_of_unserved(self, *, is_last: bool = False) -> None:
        """Log each kind of picture that stays in the inbox, once; `is_last`: look again before the end."""
        self._inbox.look_for_unserved(self._takes_text, is_last=is_last)
        now = time.monotonic()
        self._look_again_at = now + SHARE_FOR_STRANGERS * (now - self.turned_at)
        for one in self._inbox.unserved:
            if one.kind not in self._told_unserved:
                self._told_unserved.add(one.kind)
                log.warning(
                    "pictures stay in the inbox",
                    kind=one.kind,
                    files=one.files,
                    to_have_them_served=one.advice,
                )

    def _tell(self, status: str) -> None:
        # systemd takes each line as an assignment, and a message may hold a path with a line break.
        line = " ".join(status.split())
        if line != self._told:
            self._told = line
            systemd.notify(f"STATUS={line}")


def _until(rest: Rest) -> str:
    return f", until {rest.until.astimezone():%Y-%m-%d %H:%M %Z}" if rest.until is not None else ""
