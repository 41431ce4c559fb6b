"""The state of a daemon now, for `status`, `health`, the page and metrics; callable from any thread."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from captiond.captioners import Captioner
from captiond.names import utc_text
from captiond.service.build import Rooms
from captiond.service.heartbeat import Watchdog
from captiond.status import Gauges, Measures, Status

if TYPE_CHECKING:
    from captiond.webhook import Webhook

Phase = Literal["starting", "watching", "draining"]
_FILES = ("waiting", "settling", "in_work", "ignored", "unreadable")


@dataclass
class Life:
    """What changes while a daemon lives; written by its main thread, and by the one that hears signals."""

    phase: Phase = "starting"
    captioner: Captioner[Any] | None = None
    webhook: Webhook | None = None
    watchdog: Watchdog | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def status(rooms: Rooms, life: Life) -> Status:
    counts, watch = rooms.inbox.counts(), rooms.inbox.watch_state
    pause, tally, captioner = _pause(rooms), rooms.tally, life.captioner
    model = captioner.identity if captioner is not None else None
    # Incomplete files (their rest or a writer is awaited) say nothing about when the others are done.
    remaining = counts.waiting + counts.settling - counts.incomplete + counts.in_work
    return Status(
        state="paused" if pause.reason is not None and life.phase == "watching" else life.phase,
        pause_reason=pause.reason,
        pause_advice=pause.advice,
        pause_wanted=pause.is_wanted,
        pause_until=pause.until,
        counts={
            **asdict(counts),
            **tally.counts(),
            "awaits_approval": rooms.history.awaiting_approval,
        },
        rate_per_second=round(tally.rate_per_second(), 3),
        seconds_to_finish=tally.seconds_to_finish(remaining),
        watch={"method": watch.method, "degraded": watch.degraded},
        model={
            "id": model.id if model is not None else rooms.settings.model.id,
            "device": model.device if model is not None else None,
            "loaded": life.phase != "starting" and captioner is not None and captioner.is_loaded,
        },
        last_error=tally.last_error,
        started_at=utc_text(life.started_at),
        process=os.getpid(),
        gives_up_seconds=rooms.inbox.gives_up_seconds(),
        unserved=rooms.inbox.unserved,
        download=captioner.gauges().download if captioner is not None and life.phase == "starting" else None,
        hanging=life.watchdog.hanging if life.watchdog is not None else None,
        libraries=rooms.libraries.status(),
    )


class _Pause(NamedTuple):
    reason: str | None = None
    advice: str | None = None
    is_wanted: bool = False
    until: str | None = None


def _pause(rooms: Rooms) -> _Pause:
    """Why the work pauses; trouble goes first, so that a wanted pause does not hide it."""
    trouble, rest = rooms.gate.trouble, rooms.gate.rest
    if trouble is not None:
        return _Pause(trouble.message, trouble.advice)
    if rest is None:
        return _Pause()
    return _Pause(rest.reason, rest.advice, True, utc_text(rest.until) if rest.until is not None else None)


def why_unhealthy(rooms: Rooms, life: Life) -> str | None:
    return status(rooms, life).why_unhealthy()


def measures(rooms: Rooms, life: Life) -> Measures:
    """All figures for metrics."""
    now, captioner, webhook = status(rooms, life), life.captioner, life.webhook
    identity = captioner.identity if captioner is not None else None
    told = asdict(identity) if identity is not None else {"id": rooms.settings.model.id}
    return Measures(
        files={name: now.counts[name] for name in _FILES},
        missed_events=now.counts["missed_events"],
        captioned=now.counts["done"],
        needing_a_look=now.counts["needs_look"],
        awaiting_approval=now.counts["awaits_approval"],
        duplicates=now.counts["duplicates"],
        cached=now.counts["cached"],
        failures=rooms.tally.failures,
        changes=rooms.tally.changes,
        warnings=rooms.tally.warnings,
        is_healthy=now.why_unhealthy() is None,
        is_paused=rooms.gate.trouble is not None,
        is_resting=rooms.gate.rest is not None,
        pauses=rooms.gate.pauses,
        model={name: value for name, value in told.items() if value is not None},
        is_model_loaded=now.model["loaded"],
        captioner=captioner.gauges() if captioner is not None else Gauges(),
        notices=webhook.results if webhook is not None else {},
        notices_waiting=webhook.waiting if webhook is not None else None,
        libraries=now.libraries,
        unserved=now.unserved,
    )
