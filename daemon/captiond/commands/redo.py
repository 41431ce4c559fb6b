"""Describing pictures in done/ again: `captiond redo`.  It chooses and counts; the daemon describes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from captiond.commands.folders import refuse_missing
from captiond.errors import Surroundings
from captiond.exiftool import Exiftool
from captiond.redo import plan, walk
from captiond.redo.filters import Filters, are_meant
from captiond.redo.lists import Lists, Progress
from captiond.redo.plan import Plan
from captiond.service import client
from captiond.service.rules import RuleBook

if TYPE_CHECKING:
    from captiond.settings import Settings


def planned(settings: Settings, filters: Filters) -> Plan:
    """What these filters choose, by the sidecars in done/ and the present settings.

    Raises: Surroundings, if done/ cannot be read.
    """
    refuse_missing(settings, "done")
    rules, now = RuleBook(settings, Exiftool()), datetime.now(UTC)
    with walk.opened(settings.folders.done) as root:
        found = walk.all_of(
            root, lambda path, record: are_meant(filters, path, record, rules.of(record.path), now)
        )
        return plan.planned(found, filters, rules.of)


def lines(settings: Settings, chosen: Plan) -> Iterator[str]:
    """The dry run, for people."""
    rate = _rate(settings)
    yield from plan.lines(chosen, chosen.estimate(rate), str(settings.folders.done))
    if chosen.chosen:
        yield "Nothing was begun: say it again with --yes."


def begin(settings: Settings, filters: Filters, chosen: Plan, said: str) -> Iterator[str]:
    """Keep it as a list, or several, for the daemon; `said`: the filters as they were typed."""
    if not chosen.chosen:
        yield from lines(settings, chosen)
        return
    refuse_missing(settings, "state")
    ids = Lists(settings.folders.state).add(
        settings.folders.done,
        chosen.chosen,
        datetime.now(UTC).replace(microsecond=0),
        field=filters.field,
        edited=filters.edited,
        filters=said,
    )
    yield f"{len(chosen.chosen):,} pictures are to be described again: list {', '.join(ids)}."
    yield from plan.left_out(chosen.skipped)
    if is_running(settings):
        yield "The daemon does it behind new pictures; `captiond redo --list` tells how far it is."
    else:
        yield "No daemon runs here: it is done when one starts.  `captiond redo --list` shows what waits."


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
    yield from (f"  {line}" for line in plan.left_out(Counter(progress.skipped)))
    for path, why in progress.told[-plan.EXAMPLES :]:
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
