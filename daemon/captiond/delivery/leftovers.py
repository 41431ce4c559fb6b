"""Step 5: take originals out of the inbox and forget traces; try again later what could not be done.

A delivery is over for its caller once it is committed, so nothing is raised here.  What is left is
remembered, so that it is not delivered twice, and is tried again: now and then by `tidy`, and at the stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from captiond.delivery import originals
from captiond.delivery.claims import Claim
from captiond.delivery.steps import Steps
from captiond.errors import TryLater
from captiond.names import shown

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0
LAST_TRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Left:
    target: str
    job: str
    claim: Claim
    is_seen: bool
    wait_seconds: float
    again_at: float  # on the clock


class Leftovers:
    def __init__(
        self,
        steps_of: Callable[[str, str], Steps],
        working: Callable[..., AbstractContextManager[bool]],
        clock: Callable[[], float],
    ) -> None:
        """`working`: keeps other threads away from a delivery; False if one works on it already."""
        self._steps_of = steps_of
        self._working = working
        self._clock = clock
        self._left: dict[str, _Left] = {}  # by the path of the picture in the inbox

    def __contains__(self, path: str) -> bool:
        return path in self._left

    def take_away(self, steps: Steps, claim: Claim, *, is_seen: bool) -> str | None:
        """Take away originals and traces of what is delivered; why something is left, or None.

        `is_seen`: this process has read the originals.
        """
        try:
            if originals.remove(steps.inbox, steps.trace.job, claim, steps.move, is_seen=is_seen):
                steps.trace.end()
                self._left.pop(claim.path, None)
                return None
            reason = "a program has it open for writing"
        except OSError as error:
            reason = error.strerror or str(error)
        before, wait_seconds = self._left.get(claim.path), FIRST_RETRY_SECONDS
        if before is not None and before.job == steps.trace.job:
            wait_seconds = min(2 * before.wait_seconds, LONGEST_RETRY_SECONDS)
        again_at = self._clock() + wait_seconds
        self._left[claim.path] = _Left(
            steps.target.name, steps.trace.job, claim, is_seen, wait_seconds, again_at
        )
        return reason

    def tidy(self) -> None:
        """Try what is due; cheap if nothing is left."""
        if self._left:
            now = self._clock()
            self._try([left for left in list(self._left.values()) if left.again_at <= now])

    def try_at_last(self) -> None:
        self._try(list(self._left.values()), until=self._clock() + LAST_TRY_SECONDS)

    def must_not_hold(self, path: str) -> None:
        """Raises: TryLater, if the picture was delivered already and cannot be taken away even now."""
        left = self._left.get(path)
        if left is None:
            return
        steps = self._steps_of(left.target, left.job)
        with self._working(steps):
            reason = self.take_away(steps, left.claim, is_seen=left.is_seen)
        if reason is not None:
            raise TryLater(
                f"it is delivered as {left.target}/{shown(left.claim.name)}, "
                f"but cannot be taken out of the inbox: {reason}",
                after_seconds=LONGEST_RETRY_SECONDS,
                advice="Remove it yourself, or let the user that runs captiond do it.",
            )

    def _try(self, some: list[_Left], *, until: float = math.inf) -> None:
        for left in some:
            if self._clock() >= until:
                return
            steps = self._steps_of(left.target, left.job)
            with self._working(steps, wait=False) as is_ours:
                if is_ours:
                    self.take_away(steps, left.claim, is_seen=left.is_seen)
