"""What a redo would do: how many pictures, which are left out and why, how long it takes.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import fmean

from captiond.names import shown
from captiond.records import RulesOf
from captiond.redo.filters import WHY, Filters, Skip, why_left_out
from captiond.redo.walk import Found
from captiond.sidecar import checked

EXAMPLES = 10
_TIMED = 500  # pictures, the last ones, whose times make the estimate


@dataclass
class Plan:
    """Counts picture by picture, so that the records are never all in memory."""

    where: str  # the folder in which all of the pictures lie, for people
    library: str | None = None  # the library that it is; None: done/
    away: str | None = None  # why the library cannot be seen
    # Paths, and checksums of the files as dropped.
    chosen: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[Skip] = field(default_factory=Counter)
    examples: list[tuple[str, str]] = field(default_factory=list)  # paths and captions
    seconds: list[float] = field(default_factory=list)  # that pictures took

    def count(self, found: Found, skip: Skip | None) -> None:
        if skip is not None:
            self.skipped[skip] += 1
            return
        self.chosen.append((found.path, found.record.source.sha256))
        if len(self.examples) < EXAMPLES:
            self.examples.append((found.path, found.record.caption or ""))
        if (took := _seconds_of(found)) is not None:
            self.seconds = [*self.seconds[1 - _TIMED :], took]

    def estimate(self, rate_per_second: float | None) -> float | None:
        """Seconds for all: at the daemon's present rate, else by what pictures took before; None: unknown."""
        if rate_per_second:
            return len(self.chosen) / rate_per_second
        return len(self.chosen) * fmean(self.seconds) if self.seconds else None


def planned(plan: Plan, found: Iterable[Found], filters: Filters, rules_of: RulesOf) -> Plan:
    """The `plan`, with these pictures counted, which the filters mean."""
    for one in found:
        plan.count(one, _skip(one, filters, rules_of))
    return plan


def lines(plan: Plan, rate_per_second: float | None) -> Iterator[str]:
    """The plan as lines for people."""
    if plan.away is not None:
        yield f"Left out: {plan.away}."
        return
    count, seconds = len(plan.chosen), plan.estimate(rate_per_second)
    time = f", in about {lasting(seconds)}" if count and seconds is not None else ""
    yield f"{_pictures(count)} of {plan.where} would be described again{time}."
    for path, caption in plan.examples:
        yield f"  {shown(path)}: {caption}"
    if count > len(plan.examples):
        yield f"  ... and {count - len(plan.examples):,} more"
    yield from left_out(plan.skipped)


def left_out(skipped: Counter[Skip]) -> Iterator[str]:
    """How many are left alone, and why."""
    for why in WHY:
        if skipped[why]:
            hint = " (--edited takes them, too)" if why in ("edited", "approved") else ""
            yield f"Left out: {_pictures(skipped[why])}: {WHY[why]}{hint}."


def lasting(seconds: float) -> str:
    """A length of time, as people say it."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length:
            return f"{round(seconds / length):,} {unit}s"
    return f"{max(round(seconds), 1)} seconds" if seconds > 1 else "a second"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _skip(found: Found, filters: Filters, rules_of: RulesOf) -> Skip | None:
    told = why_left_out(filters, found.record, rules_of(found.record.path))
    if told is None and found.state != "there":
        return found.state
    return told


def _seconds_of(found: Found) -> float | None:
    timings = checked.mapping(found.record.rest.get("timings_seconds"))
    parts = [checked.number(timings.get(key)) for key in ("decode", "caption", "publish")]
    return sum(one for one in parts if one is not None) if None not in parts else None
