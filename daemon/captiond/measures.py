"""How much there is of everything at one moment: what the service tells to whoever draws curves.

Frozen records without I/O.  None, and an empty mapping, stand for what this daemon does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a captioner can tell of its device, or of its server, without waiting for either."""

    memory_used_bytes: int | None = None  # of the device, by everybody
    memory_bytes: int | None = None
    requests_in_flight: int | None = None
    requests: int | None = None  # since the start
    requests_repeated: int | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    files: Mapping[str, int]  # in the inbox: waiting, settling, in_work, ignored, unreadable
    missed_events: int
    captioned: int
    failures: Mapping[str, int]  # by kind
    is_healthy: bool
    is_paused: bool
    pauses: int
    model: Mapping[str, str]
    is_model_loaded: bool
    captioner: Gauges = Gauges()
    notices: Mapping[str, int] = field(default_factory=dict)  # of the webhook, by result
    notices_waiting: int | None = None
