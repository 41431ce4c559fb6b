"""Whether nothing new is to begin though nothing is wrong: in a wanted pause, and in closed hours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from captiond.delivery.pausing import Pause, Pausing
from captiond.service.client import key_of
from captiond.status import Rest
from captiond.support.hours import Hours

if TYPE_CHECKING:
    from captiond.settings import Settings

RESUME = "`captiond resume` ends it."
CLOSED = "it is outside schedule.hours"


def resting_of(settings: Settings) -> Resting:
    folders = settings.folders
    return Resting(Pausing(folders.state, key_of(folders.inbox)), Hours.of(settings.schedule.hours))


def rest_of(pause: Pause | None, hours: Hours, now: datetime) -> Rest | None:
    """Why nothing begins, and until when: a pause that ends in closed hours lasts to their end.  Pure."""
    if pause is None or not pause.is_on(now):
        closed_until = hours.closed_until(now)
        return Rest(CLOSED, closed_until) if closed_until is not None else None
    reason = "somebody asked for it" + (f": {pause.why}" if pause.why is not None else "")
    until = pause.until
    if until is not None:
        until = hours.closed_until(until) or until
    return Rest(reason, until, advice=RESUME)


class Resting:
    """Safe to ask from many threads."""

    def __init__(
        self, pausing: Pausing, hours: Hours, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.pausing = pausing
        self._hours = hours
        self._now = now
        self._reckoned: tuple[datetime, Pause | None, Hours, Rest] | None = None

    def heed(self, hours: Hours) -> None:
        """Use these hours from now on."""
        self._hours = hours

    def look(self) -> Rest | None:
        """Why nothing new is to begin now, or None; reads the state folder."""
        now, pause, hours = self._now(), self.pausing.look(), self._hours
        if self._reckoned is not None:
            at, of_pause, of_hours, rest = self._reckoned
            # What was reckoned holds until its end, unless the clock was put back.
            is_same = pause is of_pause and hours is of_hours
            if is_same and at <= now and (rest.until is None or now < rest.until):
                return rest
        found = rest_of(pause, hours, now)
        self._reckoned = (now, pause, hours, found) if found is not None else None
        return found

    def pause(self, seconds: float | None, why: str | None) -> Rest | None:
        """Raises: Surroundings, if the pause cannot be written down."""
        self.pausing.pause(asked(self._now(), seconds, why))
        return self.look()

    def resume(self) -> Rest | None:
        """End the pause; returns what still lets nothing begin: closed hours, or None.

        Raises: Surroundings, if it cannot be written down.
        """
        self.pausing.resume()
        return self.look()


def asked(now: datetime, seconds: float | None, why: str | None) -> Pause:
    return Pause(now, now + timedelta(seconds=seconds) if seconds is not None else None, why)
