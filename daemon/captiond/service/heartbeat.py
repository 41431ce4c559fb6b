"""Tells systemd that the daemon is ready, that it still moves, and that a stop needs more time.

Ready means that the model answered and the inbox was looked at.  From then on the watchdog is answered only
while upkeep makes its rounds and pictures end, or the inbox is looked at; if one of these hangs, no answer is
sent and systemd restarts the daemon.  The limits are generous: if the daemon is killed in the middle of a
slow batch, its pictures are charged for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog

from captiond.service import systemd
from captiond.support.background import repeating

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1800.0  # longer than a full scan of a slow share
WORK_SECONDS = 3600.0  # longer than loading a model again, and a batch of it on a CPU
STOP_SECONDS = 900.0  # for what is in work when a stop comes; being killed after it loses no picture
MORE_SECONDS = 60.0
ROUND_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Signs:
    """When each loop was last seen to move, in monotonic seconds."""

    looked_at: float
    finished_at: float  # a picture left the inbox
    kept_up_at: float
    in_work: int
    is_paused: bool
    is_draining: bool


def standstill(now: float, signs: Signs, calm_at: float) -> str | None:
    """What hangs, or None; `calm_at` is when the daemon was last idle or paused."""
    if now - signs.kept_up_at > WORK_SECONDS:
        return "upkeep"
    if signs.is_paused:  # the pipeline waits for the surroundings and does not look at the inbox
        return None
    if signs.in_work:
        return "the model or a disk" if now - max(signs.finished_at, calm_at) > WORK_SECONDS else None
    if now - max(signs.looked_at, signs.finished_at, calm_at) > LOOK_SECONDS and not signs.is_draining:
        return "the look into the inbox"
    return None


def interval_seconds(environ: Mapping[str, str], process: int) -> float | None:
    """How often systemd wants an answer (sd_watchdog_enabled(3)); None if it asks for none."""
    if environ.get("WATCHDOG_PID", str(process)) != str(process):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


class Watchdog:
    def __init__(self, signs: Callable[[], Signs], environ: Mapping[str, str] = os.environ) -> None:
        self._signs = signs
        self._began_at = time.monotonic()
        interval = interval_seconds(environ, os.getpid())
        self._every_seconds = interval / 2 if interval is not None else None
        self._answered_at = self._extended_at = float("-inf")
        self._calm_at = self._began_at
        self._draining_since: float | None = None
        self.hanging: str | None = None  # as `round` last found it
        self.is_ready = False

    def going_on(self) -> AbstractContextManager[None]:
        """Make rounds while this lasts, on a thread of its own, which no other room can block."""
        often = min(ROUND_SECONDS, (self._every_seconds or ROUND_SECONDS) / 2)

        def act() -> None:
            self.round(time.monotonic(), self._signs())

        return repeating("watchdog", act, lambda: often if self.is_ready else 0.05)

    def round(self, now: float, signs: Signs) -> None:
        """Tell systemd what is due now."""
        if signs.is_draining and self._draining_since is None:
            self._draining_since = now
        if not signs.in_work or signs.is_paused:
            # An idle inbox is judged by when it was last looked at; work in progress, by when it began.
            self._calm_at = now if signs.is_paused or signs.looked_at >= self._calm_at else self._calm_at
        if not self.is_ready and signs.looked_at > self._began_at and not signs.is_draining:
            self.is_ready = True
            systemd.notify("READY=1", "STATUS=watching the inbox")
        hanging = standstill(now, signs, self._calm_at)
        if hanging != self.hanging:
            self.hanging = hanging
            if hanging is not None:
                log.critical("the daemon stands still: systemd is not answered any more", hanging=hanging)
        if hanging is None:
            self._answer(now)

    def _answer(self, now: float) -> None:
        every = self._every_seconds
        # systemd counts from READY on; on a busy machine many rounds come before that.
        if every is not None and self.is_ready and now >= self._answered_at + every:
            self._answered_at = now
            systemd.notify("WATCHDOG=1")
        since = self._draining_since
        if since is not None and now < since + STOP_SECONDS and now >= self._extended_at + MORE_SECONDS / 4:
            self._extended_at = now
            systemd.notify(f"EXTEND_TIMEOUT_USEC={int(MORE_SECONDS * 1e6)}")
