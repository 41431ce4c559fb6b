"""How a daemon fares just now, for `status`, `health`, the page and metrics; from any thread."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

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
    trouble, tally, captioner = rooms.gate.trouble, rooms.tally, life.captioner
    model = captioner.identity if captioner is not None else None
    # What waits for its rest, or for a writer, says nothing about when the others are done.
    remaining = counts.waiting + counts.settling - counts.incomplete + counts.in_work
    return Status(
        state="paused" if trouble is not None and life.phase == "watching" else life.phase,
        pause_reason=trouble.message if trouble is not None else None,
        pause_advice=trouble.advice if trouble is not None else None,
        counts={**asdict(counts), "done": tally.done, "failed": tally.failed, "duplicates": tally.duplicates},
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
        hanging=life.watchdog.hanging if life.watchdog is not None else None,
    )


def why_unhealthy(rooms: Rooms, life: Life) -> str | None:
    return status(rooms, life).why_unhealthy()


def measures(rooms: Rooms, life: Life) -> Measures:
    """How much there is of everything."""
    now, captioner, webhook = status(rooms, life), life.captioner, life.webhook
    identity = captioner.identity if captioner is not None else None
    told = asdict(identity) if identity is not None else {"id": rooms.settings.model.id}
    return Measures(
        files={name: now.counts[name] for name in _FILES},
        missed_events=now.counts["missed_events"],
        captioned=now.counts["done"],
        duplicates=now.counts["duplicates"],
        failures=rooms.tally.failures,
        changes=rooms.tally.changes,
        is_healthy=now.why_unhealthy() is None,
        is_paused=rooms.gate.trouble is not None,
        pauses=rooms.gate.pauses,
        model={name: value for name, value in told.items() if value is not None},
        is_model_loaded=now.model["loaded"],
        captioner=captioner.gauges() if captioner is not None else Gauges(),
        notices=webhook.results if webhook is not None else {},
        notices_waiting=webhook.waiting if webhook is not None else None,
    )
