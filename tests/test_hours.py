"""Hours of the week by the clock on the wall, whatever the clock does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from captiond.support.hours import Hours

# Half an hour of summer time, an offset of 45 minutes, a summer that ends in Ramadan, no summer at all.
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "Africa/Casablanca")
QUARTER = timedelta(minutes=15)

# What each means, said once more without a table: whether weekday (Monday is 0) and time of day belong to it.
Meaning = Callable[[int, str], bool]
MEANINGS: dict[str, Meaning] = {
    "22:00-06:00": lambda day, at: at >= "22:00" or at < "06:00",
    "sat-sun": lambda day, at: day in (5, 6),
    "mon-fri 18:00-23:00": lambda day, at: day < 5 and "18:00" <= at < "23:00",
    "fri 22:30-02:15": lambda day, at: (day == 4 and at >= "22:30") or (day == 5 and at < "02:15"),
    "SUN - mon  02:00 - 03:00": lambda day, at: day in (6, 0) and "02:00" <= at < "03:00",
    "sun 12:00-24:00": lambda day, at: day == 6 and at >= "12:00",
}
SCHEDULES = (("22:00-06:00", "sat-sun"), ("fri 22:30-02:15",), ("SUN - mon  02:00 - 03:00",))


def _is_open(written: tuple[str, ...], shown: datetime) -> bool:
    return any(MEANINGS[one](shown.weekday(), f"{shown:%H:%M}") for one in written)


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("written", SCHEDULES)
def test_two_years_by_the_clock_on_the_wall(name: str, written: tuple[str, ...]) -> None:
    """Whoever sleeps until the hours begin is awake in each quarter of an hour of theirs, and in no other."""
    zone, hours = ZoneInfo(name), Hours.of(written)
    now, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    quarters = int((end - now) / QUARTER)
    expected = [_is_open(written, (now + number * QUARTER).astimezone(zone)) for number in range(quarters)]
    found = [False] * quarters
    while now < end:
        closed_until = hours.closed_until(now, zone)
        if closed_until is not None:
            assert closed_until > now
            now = closed_until
            continue
        found[quarters - int((end - now) / QUARTER)] = True
        now += QUARTER
    assert found == expected


@pytest.mark.parametrize("written", MEANINGS)
def test_each_way_of_writing_means_what_it_says(written: str) -> None:
    """Days, times, both; over midnight and over the end of the week."""
    hours, moment = Hours.of([written]), datetime(2026, 11, 23, tzinfo=UTC)
    for _ in range(7 * 24 * 4):
        assert (hours.closed_until(moment, UTC) is None) == MEANINGS[written](
            moment.weekday(), f"{moment:%H:%M}"
        )
        moment += QUARTER


def test_a_day_that_the_clock_leaves_out() -> None:
    """Samoa went over the date line: its Friday, 30 December 2011, never came, and Saturday's hours did."""
    now = datetime(2011, 12, 30, 9, tzinfo=UTC)  # Thursday evening there
    zone = ZoneInfo("Pacific/Apia")
    found = Hours.of(["fri 08:00-09:00", "sat 07:00-08:00"]).closed_until(now, zone)
    assert found is not None and found.astimezone(zone).strftime("%a %H:%M") == "Sat 07:00"


def test_no_hours_are_always() -> None:
    """Without a schedule nothing is ever closed."""
    assert Hours.of([]).closed_until(datetime(2026, 7, 1, 12, 34, 56, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "written",
    ["", "night", "22-06", "22:00", "25:00-26:00", "24:00-06:00", "10:60-11:00", "06:00-06:00", "mon-",
     "mon18:00-19:00", "mon-fri 18:00-23:00 x", "18:00-23:00 mon", "24:01-03:00"],
)  # fmt: skip
def test_what_says_no_hours_is_refused(written: str) -> None:
    """A schedule that nobody can read is told at the start, and not by a silent night."""
    with pytest.raises(ValueError, match=r"is not like|begins where|no clock"):
        Hours.of([written])
