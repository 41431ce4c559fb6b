"""Describing pictures again: `captiond redo`.  It chooses and counts; the daemon describes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands import places
from captiond.commands.folders import refuse_missing
from captiond.errors import LibraryAway, Surroundings
from captiond.exiftool import Exiftool
from captiond.redo import plan as planning
from captiond.redo import walk
from captiond.redo.filters import Filters, are_meant
from captiond.redo.lists import Lists, Progress
from captiond.redo.plan import Plan
from captiond.service import client
from captiond.service.rules import RuleBook

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.settings.library import Library


def planned(settings: Settings, filters: Filters, cwd: Path) -> list[Plan]:
    """What these filters choose, by the sidecars in done/ and in libraries, and the present settings.

    Raises: Surroundings, if done/, or a library that is named, cannot be read; Ambiguous.
    """
    named = places.folder(settings, filters.under, cwd)
    filters = replace(filters, under="" if named is None or named.is_whole else named.path)
    rules = RuleBook(settings, Exiftool())
    return [
        _planned(settings, filters, library, rules, may_be_away=named is None)
        for library in places.all_of(settings, named)
    ]


def _planned(
    settings: Settings, filters: Filters, library: Library | None, rules: RuleBook, *, may_be_away: bool
) -> Plan:
    now = datetime.now(UTC)
    rules_of = rules.of if library is None else rules.of_library(library.name, xmp="xmp" in library.write)
    plan = Plan(str(settings.folders.done))
    if library is not None:
        plan = Plan(f"the library {library.name!r} ({library.path})", library.name)
    try:
        with places.opened_for_reading(settings, library) as (root, of):
            found = walk.all_of(
                root, lambda path, told: are_meant(filters, path, told, rules_of(told.path), now), of
            )
            return planning.planned(plan, found, filters, rules_of)
    except LibraryAway as trouble:
        if not may_be_away:
            raise
        return replace(plan, away=trouble.message)


def lines(settings: Settings, plans: Sequence[Plan]) -> Iterator[str]:
    """The dry run, for people."""
    yield from _told(settings, plans)
    if any(plan.chosen for plan in plans):
        yield "Nothing was begun: say it again with --yes."


def _told(settings: Settings, plans: Sequence[Plan]) -> Iterator[str]:
    rate = _rate(settings)
    for number, plan in enumerate(plans):
        if number == 0 or plan.chosen or plan.skipped or plan.away:
            yield from planning.lines(plan, rate)


def begin(settings: Settings, filters: Filters, plans: Sequence[Plan], said: str) -> Iterator[str]:
    """Keep it as a list, or several, for the daemon; `said`: the filters as they were typed."""
    if not any(plan.chosen for plan in plans):
        yield from _told(settings, plans)
        return
    refuse_missing(settings, "state")
    ids = [id for plan in plans if plan.chosen for id in _kept(settings, filters, plan, said)]
    count = sum(len(plan.chosen) for plan in plans)
    yield f"{count:,} pictures are to be described again: list {', '.join(ids)}."
    yield from planning.left_out(sum((plan.skipped for plan in plans), Counter()))
    yield from (f"Left out: {plan.away}." for plan in plans if plan.away is not None)
    if is_running(settings):
        yield "The daemon does it behind new pictures; `captiond redo --list` tells how far it is."
    else:
        yield "No daemon runs here: it is done when one starts.  `captiond redo --list` shows what waits."


def _kept(settings: Settings, filters: Filters, plan: Plan, said: str) -> list[str]:
    return Lists(settings.folders.state).add(
        settings.folders.done,
        plan.chosen,
        datetime.now(UTC).replace(microsecond=0),
        field=filters.field,
        edited=filters.edited,
        filters=said,
        library=plan.library,
    )


def listed(settings: Settings) -> Iterator[str]:
    """Every list that is known: how far it is, and what was left out and why."""
    found = Lists(settings.folders.state).all()
    for progress in found:
        yield from _progress_lines(progress)
    if not found:
        yield "No list waits."


def cancel(settings: Settings, id: str) -> str:
    """Cancel a list.  Raises: NotThere, if there is no such list."""
    Lists(settings.folders.state).cancel(id)
    return f"List {id} is cancelled; pictures that were described keep their new texts."


def _progress_lines(progress: Progress) -> Iterator[str]:
    is_over = progress.finished_at is not None
    state = "finished" if is_over else f"{progress.total - progress.next:,} left"
    told = f" ({progress.filters})" if progress.filters else ""
    yield f"{progress.id}{told}: {progress.done:,} of {progress.total:,} described again, {state}"
    yield from (f"  {line}" for line in planning.left_out(Counter(progress.skipped)))
    for path, why in progress.told[-planning.EXAMPLES :]:
        yield f"    {path}: {why}"


def is_running(settings: Settings) -> bool:
    return _status(settings) is not None


def _rate(settings: Settings) -> float | None:
    """Pictures a second of the running daemon, if it has done some of late."""
    told = _status(settings) or {}
    rate = told.get("rate_per_second")
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None


def _status(settings: Settings) -> dict[str, object] | None:
    folders = settings.folders
    try:
        told = client.ask(folders.state, folders.inbox, {"ask": "status"}).get("status")
    except client.NotRunning:
        return None
    except Surroundings:
        return {}  # a daemon runs, but it does not answer
    return told if isinstance(told, dict) else {}
