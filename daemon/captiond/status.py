"""What the daemon has done so far and how it fares: the pipeline counts it, commands and the page show it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from captiond.records import Outcome

RATE_WINDOW_SECONDS = 60.0


class Tally:
    """Counts of what left the inbox, and how fast.  Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counting = threading.Lock()
        self._finished: deque[float] = deque()  # when pictures left the inbox, within the window
        self._started = clock()
        self.done = 0
        self.failed = 0
        self.needing_a_look = 0  # done, but a person should look at them
        self.duplicates = 0  # taken away since the same file was delivered before
        self.cached = 0  # done with cached answers about the same picture
        self.failures: dict[str, int] = {}  # by kind
        self.changes: dict[str, int] = {}  # of texts in done/: edited, redone, undone, approved
        self.warnings: dict[str, int] = {}  # by code
        self.last_error: str | None = None
        self.finished_at = self._started  # when a picture left the inbox last, on the clock

    def count(self, outcome: Outcome) -> None:
        if outcome.is_recovered:
            return  # what an earlier run did
        if outcome.event is not None:
            self._count_change(outcome.event)
            return
        with self._counting:
            for code in outcome.warnings:
                self.warnings = {**self.warnings, code: self.warnings.get(code, 0) + 1}
            if outcome.folder == "done":
                self.done += 1
                self.needing_a_look += outcome.needs_look
            else:
                self.failed += 1
                kind = outcome.kind or "unknown"
                self.failures = {**self.failures, kind: self.failures.get(kind, 0) + 1}
                self.last_error = f"{outcome.path}: {outcome.message}"
            self.finished_at = self._clock()
            self._finished.append(self.finished_at)

    def _count_change(self, event: str) -> None:
        with self._counting:
            self.changes = {**self.changes, event: self.changes.get(event, 0) + 1}

    def count_duplicate(self) -> None:
        with self._counting:
            self.duplicates += 1
            self.finished_at = self._clock()

    def counts(self) -> dict[str, int]:
        """The counts as `captiond status` shows them."""
        told = {"done": self.done, "failed": self.failed, "duplicates": self.duplicates}
        return {**told, "cached": self.cached, "needs_look": self.needing_a_look}

    def count_cached(self) -> None:
        with self._counting:
            self.cached += 1

    def rate_per_second(self) -> float:
        """Pictures a second, over the last minute or since the start."""
        with self._counting:
            now = self._clock()
            while self._finished and self._finished[0] < now - RATE_WINDOW_SECONDS:
                self._finished.popleft()
            span = min(now - self._started, RATE_WINDOW_SECONDS)
            return len(self._finished) / span if span > 0 else 0.0

    def seconds_to_finish(self, remaining: int) -> float | None:
        """How long `remaining` pictures will take at this rate; None before the first is finished."""
        rate = self.rate_per_second()
        return remaining / rate if rate > 0 else None


State = Literal["starting", "watching", "paused", "draining", "stopped"]  # of a daemon
Where = Literal[
    "not_there", "ignored", "unserved", "companion", "unlooked", "changing", "settling", "untold", "waiting",
    "held", "unfinished", "forsaken", "partial", "faulty", "unreadable", "deferred", "in_work", "unseen",
    "described", "failed", "existing",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rest:
    """A wanted pause, or closed hours: nothing is wrong, and nothing new begins."""

    reason: str
    until: datetime | None  # aware; None: until a person ends it
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one file of the inbox stands.  Only `commands.sentences` turns it into a sentence."""

    state: Where
    # ignored: the rule.  unserved: which picture it is, and what would serve it.
    # partial: what is missing.  unfinished, forsaken, faulty, unreadable, unseen, failed: why.
    # deferred: why it was given back.
    reason: str | None = None
    wait_seconds: float | None = None  # until the daemon looks at it again, without a change
    behind: int | None = None  # waiting: how many come before it
    is_given_up: bool = False  # partial: it fails when it has waited; else it is tried as it is
    companion_of: str | None = None  # companion: the picture it travels with; None: there is none
    picture: Standing | None = None  # companion: where that picture stands


LibraryState = Literal["starting", "watching", "unavailable", "unknown"]


@dataclass(frozen=True, slots=True)
class LibraryStatus:
    """How one library fares, as `status --json` prints it."""

    name: str
    state: LibraryState  # unknown: no daemon runs
    pictures: int
    described: int
    waiting: int  # to be described
    failed: int
    left_behind: int  # sidecars whose picture is gone
    reason: str | None = None  # why it is unavailable
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Unserved:
    """Pictures of one kind that stay in the inbox."""

    kind: str
    files: int
    advice: str  # what would serve them


@dataclass(frozen=True, slots=True)
class Download:
    """How far the download of a model is."""

    bytes: int
    total_bytes: int
    bytes_per_second: float

    @property
    def seconds_left(self) -> float | None:
        """At the present rate; None if nothing arrives."""
        if self.bytes_per_second <= 0:
            return None
        return (self.total_bytes - self.bytes) / self.bytes_per_second


@dataclass(frozen=True, slots=True)
class Status:
    """How a daemon fares, as `status --json` prints it."""

    state: State
    pause_reason: str | None
    pause_advice: str | None
    # done and failed: since it started; of a stopped one, what its history knows.  incomplete: those of
    # `settling` that wait for a writer or for their missing part, and not for time to pass.
    counts: dict[str, int]
    rate_per_second: float
    seconds_to_finish: float | None
    watch: dict[str, str | None]
    model: dict[str, Any]
    last_error: str | None
    started_at: str | None
    process: int | None
    hanging: str | None  # what has not moved for long, if anything: see `service.heartbeat`
    gives_up_seconds: float | None = None  # until the first file that is not whole is set aside
    libraries: tuple[LibraryStatus, ...] = ()
    unserved: tuple[Unserved, ...] = ()  # the ignored files that are pictures
    pause_wanted: bool = False  # nothing is wrong: a person asked for it, or the hours are closed
    pause_until: str | None = None  # when a wanted pause ends by itself, if it does
    download: Download | None = None  # of the model, while that goes on

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def why_unhealthy(self) -> str | None:
        """Why the daemon does not serve now; None if it is well."""
        if self.state == "stopped":
            return "no daemon serves this inbox"
        if self.state == "paused" and not self.pause_wanted:
            return f"paused: {self.pause_reason}"
        if self.state == "starting":
            return "it is starting: the model is not ready yet"
        if self.hanging is not None:
            return f"it stands still: {self.hanging} hangs"
        return None


def downloading(download: Download) -> str:
    """`downloading the model: 1.2 of 8.3 GB, 25.0 MB a second`."""
    there, total, pace = download.bytes / 1e9, download.total_bytes / 1e9, download.bytes_per_second / 1e6
    return f"downloading the model: {there:.1f} of {total:.1f} GB, {pace:.1f} MB a second"


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a captioner can tell of its device, or of its server, without waiting for either."""

    memory_used_bytes: int | None = None  # of the device, by all processes
    memory_bytes: int | None = None
    requests_in_flight: int | None = None
    requests: int | None = None  # since the start
    requests_repeated: int | None = None
    download: Download | None = None  # of the model, while that goes on


@dataclass(frozen=True, slots=True)
class Measures:
    files: Mapping[str, int]  # in the inbox: waiting, settling, in_work, ignored, unreadable
    missed_events: int
    captioned: int
    duplicates: int
    failures: Mapping[str, int]  # by kind
    is_healthy: bool
    is_paused: bool  # in trouble
    pauses: int
    model: Mapping[str, str]
    is_model_loaded: bool
    needing_a_look: int = 0  # of those captioned
    awaiting_approval: int = 0  # now
    warnings: Mapping[str, int] = field(default_factory=dict)  # by code
    captioner: Gauges = Gauges()
    notices: Mapping[str, int] = field(default_factory=dict)  # of the webhook, by result
    notices_waiting: int | None = None
    changes: Mapping[str, int] = field(default_factory=dict)  # of texts in done/, by event
    cached: int = 0
    libraries: tuple[LibraryStatus, ...] = ()
    is_resting: bool = False  # a person asked for a pause, or the hours are closed
    unserved: tuple[Unserved, ...] = ()  # the ignored files that are pictures
