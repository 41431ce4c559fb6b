"""What Prometheus reads at /metrics: counts since the start, and how things stand when it asks.

A registry of our own, with what the operating system knows of this process.  Nothing in it names a picture,
a caption or a reason: labels are words from short lists.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from captiond import __version__
from captiond.records import Event, Outcome
from captiond.status import LibraryStatus, Measures
from captiond.web.lanes import Lane

# From a decoded thumbnail to a night in the queue.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 14400)

THREADS = 2


class Metrics:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._lane = Lane(THREADS)
        ProcessCollector(registry=self._registry)
        self._stages = Histogram(
            "captiond_stage_duration_seconds",
            "Seconds that a captioned picture spent in a stage.",
            ["stage"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        for stage in ("queued", "decode", "caption", "publish"):
            self._stages.labels(stage)  # so that each stage is exported from the start

    def observe(self, outcome: Outcome) -> None:
        """Count the outcome; neither raises nor waits."""
        timings = outcome.timings
        if timings is not None and not outcome.is_recovered and outcome.event is None:
            for stage in ("queued", "decode", "caption", "publish"):
                self._stages.labels(stage).observe(getattr(timings, stage))

    def read(self, measure: Callable[[], Measures]) -> None:
        """From now on call `measure` for the present figures at each scrape."""
        self._registry.register(_Standing(measure))

    def add_to(self, app: FastAPI, dependencies: Sequence[Any]) -> None:
        @app.get("/metrics", dependencies=dependencies, response_class=Response)
        @app.head("/metrics", include_in_schema=False)
        async def metrics(request: Request) -> Response:
            """How much of everything, for Prometheus."""
            encode, content_type = _format(request.headers.get("accept", ""))
            found = await self._lane(encode, self._registry)
            return Response(found, media_type=None, headers={"Content-Type": content_type})


def _format(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """The library's format for an Accept header; the plain one if it cannot read the header."""
    try:
        return choose_encoder(accept)
    except (ValueError, TypeError, LookupError):
        return choose_encoder("")


class _Standing(Collector):
    def __init__(self, measure: Callable[[], Measures]) -> None:
        self._measure = measure

    def collect(self) -> Iterable[Metric]:
        now = self._measure()
        build = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("captiond_build", "What runs here.", build)
        yield from _pictures(now)
        yield _gauge("healthy", "1 where `captiond health` says so.", now.is_healthy)
        yield _gauge("paused", "1 while the surroundings let nobody work.", now.is_paused)
        wanted = "1 while somebody wants a pause, or the hours of the schedule are closed."
        yield _gauge("resting", wanted, now.is_resting)
        yield _counter("pauses", "How often the work was paused.", now.pauses)
        yield InfoMetricFamily("captiond_model", "The model, and how it is run.", dict(now.model))
        yield _gauge("model_loaded", "1 where the next picture finds the model ready.", now.is_model_loaded)
        if now.libraries:
            yield from _libraries(now.libraries)
        yield from _captioner(now)
        if now.notices_waiting is not None:
            told = "What became of the webhook's notices: delivered, refused, dropped."
            notices = CounterMetricFamily("captiond_webhook_notices", told, labels=["result"])
            for result, count in now.notices.items():
                notices.add_metric([result], count)
            yield notices
            yield _gauge(
                "webhook_notices_waiting", "Notices on their way to the webhook.", now.notices_waiting
            )


def _pictures(now: Measures) -> Iterable[Metric]:
    pictures = CounterMetricFamily(
        "captiond_pictures", "Pictures that left the inbox: captioned, or failed.", labels=["outcome"]
    )
    pictures.add_metric(["captioned"], now.captioned)
    pictures.add_metric(["failed"], sum(now.failures.values()))
    yield pictures
    told = "Captioned pictures whose texts a person should look at."
    yield _counter("needs_look", told, now.needing_a_look)
    told = "Pictures in done/ whose texts wait for a person to approve them."
    yield _gauge("awaiting_approval", told, now.awaiting_approval)
    failures = CounterMetricFamily("captiond_failures", "Pictures that failed, by kind.", labels=["kind"])
    for kind, count in now.failures.items():
        failures.add_metric([kind], count)
    yield failures
    warnings = CounterMetricFamily(
        "captiond_warnings", "Warnings in the JSON beside the pictures, by code.", labels=["code"]
    )
    for code, count in now.warnings.items():
        warnings.add_metric([code], count)
    yield warnings
    files = GaugeMetricFamily("captiond_inbox_files", "Files in the inbox, by state.", labels=["state"])
    for state, count in now.files.items():
        files.add_metric([state], count)
    yield files
    told = "Pictures among the ignored files of the inbox, by kind: nothing here serves them."
    unserved = GaugeMetricFamily("captiond_unserved_pictures", told, labels=["kind"])
    for one in now.unserved:
        unserved.add_metric([one.kind], one.files)
    yield unserved
    told = "Texts of described pictures that were edited, redone, undone or approved."
    changes = CounterMetricFamily("captiond_changes", told, labels=["event"])
    for event in get_args(Event):
        changes.add_metric([event], now.changes.get(event, 0))
    yield changes
    yield _counter("duplicates", "Files taken away since the very same was delivered before.", now.duplicates)
    copies = "Pictures captioned without a question, since the model saw the same before."
    yield _counter("cached", copies, now.cached)
    yield _counter("missed_events", "Files that were found without an event.", now.missed_events)


def _libraries(libraries: Iterable[LibraryStatus]) -> Iterable[Metric]:
    told = "Pictures of libraries, by state; left_behind: sidecars whose picture is gone."
    pictures = GaugeMetricFamily("captiond_library_pictures", told, labels=["library", "state"])
    available = GaugeMetricFamily("captiond_library_available", "1 where it can be seen.", labels=["library"])
    for one in libraries:
        counts = {"described": one.described, "waiting": one.waiting, "failed": one.failed}
        for state, count in {**counts, "left_behind": one.left_behind}.items():
            pictures.add_metric([one.name, state], count)
        available.add_metric([one.name], one.state == "watching")
    yield pictures
    yield available


def _captioner(now: Measures) -> Iterable[Metric]:
    gauges = now.captioner
    if gauges.memory_used_bytes is not None and gauges.memory_bytes is not None:
        used = "Memory of the GPU that is in use, by whomever."
        yield _gauge("gpu_memory_used_bytes", used, gauges.memory_used_bytes)
        yield _gauge("gpu_memory_bytes", "Memory of the GPU.", gauges.memory_bytes)
    if gauges.requests_in_flight is not None:
        in_flight = "Requests that the model server is answering."
        yield _gauge("server_requests_in_flight", in_flight, gauges.requests_in_flight)
    if gauges.requests is not None:
        yield _counter("server_requests", "Requests sent to the model server.", gauges.requests)
    if gauges.requests_repeated is not None:
        repeated = "Requests that the model server asked to send again later."
        yield _counter("server_requests_repeated", repeated, gauges.requests_repeated)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"captiond_{name}", description, value)


def _counter(name: str, description: str, value: float) -> Metric:
    return CounterMetricFamily(f"captiond_{name}", description, value)
