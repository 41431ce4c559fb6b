"""A progress bar under `run --once` on a terminal: done, rate, time to finish.  Log lines scroll above it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from captiond import logs
from captiond.commands.status import duration, not_whole
from captiond.support.background import repeating

if TYPE_CHECKING:
    from captiond.service.daemon import Daemon

REFRESH_SECONDS = 0.2


@contextmanager
def shown(daemon: Daemon, stream: TextIO, *, wanted: bool) -> Iterator[None]:
    """While this lasts, show how far `daemon` is; only if `wanted` and `stream` is a terminal."""
    if not (wanted and stream.isatty()):
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(file=stream)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar, logs.above(console):
        task = bar.add_task("starting", total=None)

        def refresh() -> None:
            done, total, text = _state(daemon)
            bar.update(task, completed=done, total=total, description=text)

        try:
            with repeating("progress", refresh, lambda: REFRESH_SECONDS):
                yield
        finally:
            refresh()


def _state(daemon: Daemon) -> tuple[int, int, str]:
    tally, counts = daemon.rooms.tally, daemon.rooms.inbox.counts()
    finished = tally.done + tally.failed
    remaining = counts.waiting + counts.settling + counts.in_work
    served = remaining - counts.incomplete
    parts = [f"{tally.rate_per_second():.1f}/s"]
    seconds = tally.seconds_to_finish(served)
    if served and seconds is not None:
        parts.append(f"{duration(seconds)} left")
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    trouble, rest = daemon.rooms.gate.trouble, daemon.rooms.gate.rest
    if trouble is not None:
        parts.append(f"paused: {trouble.message}")
    elif rest is not None:
        parts.append(f"paused: {rest.reason}")
    if counts.held:
        parts.append(f"{counts.held} being written")
    if counts.incomplete > counts.held:
        parts.append(not_whole(counts.incomplete - counts.held, daemon.rooms.inbox.gives_up_seconds()))
    # Files that wait for another program count apart: the bar is full when all that can move has moved.
    return finished, finished + served, "  ".join(parts)
