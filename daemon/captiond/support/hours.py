"""Hours of the week, by the clock on the wall: `22:00-06:00`, `sat-sun`, `mon-fri 18:00-23:00`.

Pure.  A time is given as a moment and a zone.  What counts is what the clock shows: an hour that it shows
twice in autumn counts twice, and one that it leaves out in spring does not come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
# The most that a clock is put at once: over the date line, as Samoa's was, and an hour or two more.
_LEAP_MINUTES = 26 * 60

_DAY = "|".join(DAYS)
_WRITTEN = re.compile(
    rf"(?:(?P<first>{_DAY})(?:\s*-\s*(?P<last>{_DAY}))?)?"
    r"(?:(?:^|\s+)(?P<start>\d{1,2}:\d\d)\s*-\s*(?P<end>\d{1,2}:\d\d))?"
)


@dataclass(frozen=True, slots=True)
class Hours:
    """For each minute of a week, from Monday at 0:00, whether it belongs to them."""

    week: bytes

    @classmethod
    def of(cls, written: Iterable[str]) -> Hours:
        """All of these together; without any, the whole week.

        Raises: ValueError, if one cannot be understood.
        """
        week, is_empty = bytearray(_WEEK_MINUTES), True
        for one in written:
            is_empty = False
            for start, length in _spans(one):
                for minute in range(start, start + length):
                    week[minute % _WEEK_MINUTES] = 1
        return cls(b"\1" * _WEEK_MINUTES if is_empty else bytes(week))

    def closed_until(self, now: datetime, zone: tzinfo | None = None) -> datetime | None:
        """When the hours begin next; None if `now` is in them.  `zone`: None for the system's own."""
        moment = now.astimezone(UTC)
        if not self._left(moment, zone):
            return None
        moment = moment.replace(second=0, microsecond=0)
        while left := self._left(moment, zone):
            # The clock may be put forward on the way: near the end no minute is left out.
            moment += timedelta(minutes=max(1, left - _LEAP_MINUTES))
        return moment

    def _left(self, moment: datetime, zone: tzinfo | None) -> int:
        """In how many minutes the hours begin if the clock is not put meanwhile; 0: now."""
        shown = moment.astimezone(zone)
        minute = shown.weekday() * _DAY_MINUTES + shown.hour * 60 + shown.minute
        found = self.week.find(1, minute)
        return (self.week.find(1) + _WEEK_MINUTES if found < 0 else found) - minute


def _spans(written: str) -> list[tuple[int, int]]:
    """The first minute in the week, and the length, of each span."""
    found = _WRITTEN.fullmatch(written.strip().lower())
    if found is None or not written.strip():
        raise ValueError(f"{written!r} is not like 22:00-06:00, sat-sun or mon-fri 18:00-23:00")
    start, end = _minute(found["start"] or "0:00", written), _minute(found["end"] or "24:00", written)
    if start in (end, _DAY_MINUTES):
        raise ValueError(f"{written!r} begins where it ends; 00:00-24:00 is a whole day")
    length = end - start if end > start else end - start + _DAY_MINUTES
    return [(day * _DAY_MINUTES + start, length) for day in _days(found["first"], found["last"])]


def _days(first: str | None, last: str | None) -> list[int]:
    if first is None:
        return list(range(7))
    begin = DAYS.index(first)
    count = (DAYS.index(last or first) - begin) % 7 + 1
    return [(begin + number) % 7 for number in range(count)]


def _minute(clock: str, written: str) -> int:
    hour, minute = map(int, clock.split(":"))
    if minute > 59 or hour * 60 + minute > _DAY_MINUTES:
        raise ValueError(f"{written!r} holds a time that no clock shows")
    return hour * 60 + minute
