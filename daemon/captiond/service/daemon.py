"""The life of a daemon: build the rooms, start in order, run, stop in order.

This is where settings become objects; the rooms get plain values and have never heard of settings.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from captiond import logs
from captiond.captioners import Captioner
from captiond.delivery import Delivery
from captiond.delivery.attempts import Attempts
from captiond.delivery.nesting import refuse_nested
from captiond.errors import CannotStart, ExitCode, Surroundings
from captiond.exiftool import Exiftool
from captiond.history import History
from captiond.inbox import Inbox, mounts
from captiond.inbox.ignore import Ignore
from captiond.metadata.describing import Describing
from captiond.pipeline import Pipeline, Rules
from captiond.pipeline.gate import Gate
from captiond.pipeline.ondemand import Answering
from captiond.pipeline.preparing import Preparing
from captiond.records import CaptionRequest, Outcome
from captiond.service import control, signals, systemd
from captiond.service.heartbeat import Signs, Watchdog
from captiond.service.upkeep import Upkeep
from captiond.settings import split_address
from captiond.settings.reload import change
from captiond.status import Gauges, Measures, Status, Tally
from captiond.web.gallery import Gallery
from captiond.web.thumbnails import Thumbnails

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.web import Door
    from captiond.webhook import Webhook

log = structlog.get_logger(__name__)


def captioner_of(settings: Settings) -> Captioner[Any]:
    """The captioner that the settings ask for, not yet loaded.  Torch is imported here or never."""
    model = settings.model
    if model.backend == "openai":
        from captiond.captioners.remote import RemoteCaptioner

        key = model.read_api_key()
        return RemoteCaptioner(
            base_url=model.base_url or "",
            model_id=model.id,
            api_key=key.get_secret_value() if key else None,
            max_concurrency=model.max_concurrency,
            timeout_seconds=model.timeout_seconds,
        )
    from captiond.captioners.local import LocalCaptioner

    return LocalCaptioner(
        model_id=model.id,
        revision=model.revision,
        device=model.device,
        dtype=model.dtype,
        quantization=model.quantization,
        num_crops=model.num_crops,
        batch_size=None if model.batch_size == "auto" else model.batch_size,
        max_new_tokens=settings.caption.max_new_tokens,
        keep_alive_seconds=model.keep_alive_seconds,
    )


def request_of(settings: Settings) -> CaptionRequest:
    return CaptionRequest(settings.caption.prompt, settings.caption.max_new_tokens)


def door_of(settings: Settings) -> Door | None:
    """The HTTP door, bound to its address, if one is asked for.  FastAPI is imported here or never."""
    http = settings.http
    if http.listen is None:
        return None
    try:
        from captiond.web import Door
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"`http.listen` is set, and {error.name} is not installed",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="pip install 'captiond[http]', or leave out http.listen.",
        ) from error
    token = http.read_token()
    host, port = split_address(http.listen)
    return Door(
        host,
        port,
        token=token.get_secret_value() if token else None,
        max_upload_bytes=http.max_upload_bytes,
    )


def webhook_of(settings: Settings) -> Webhook | None:
    """Who is told of each picture, if anybody.  httpx is imported here or never."""
    notify = settings.notify
    if notify.url is None:
        return None
    from captiond.webhook import Webhook

    token = notify.read_token()
    return Webhook(
        notify.url,
        token=token.get_secret_value() if token else None,
        timeout_seconds=notify.timeout_seconds,
    )


def rules_of(settings: Settings, exiftool: Exiftool) -> Rules:
    output = settings.output
    describe = Describing(
        replaces=output.description == "replace",
        blocks=output.metadata,
        place=exiftool.place if output.exiftool == "auto" else None,
        xmp=output.xmp_sidecar,
        text=output.text_sidecar,
    )
    return Rules(request_of(settings), settings.limits.max_pixels, settings.limits.attempts, describe)


class Daemon:
    """One inbox being served.  `tally`, `gate` and `inbox` may be read while `run` runs."""

    def __init__(self, settings: Settings, *, reread: Callable[[], Settings] | None = None) -> None:
        """`reread`: the settings as they stand now, for SIGHUP."""
        folders, watch, limits = settings.folders, settings.watch, settings.limits
        refuse_nested(folders.inbox, folders.done, folders.failed, folders.state)
        self._settings, self._reread = settings, reread
        self._exiftool = Exiftool()
        self._rules = rules_of(settings, self._exiftool)
        self._pipeline: Pipeline[Any] | None = None
        self._watchdog: Watchdog | None = None
        self.gate = Gate()
        self.tally = Tally()
        self.attempts = Attempts(folders.state)
        self.history = History(folders.state)
        self.delivery = Delivery(
            inbox=folders.inbox,
            done=folders.done,
            failed=folders.failed,
            attempts=self.attempts,
            attempt_limit=limits.attempts,
            max_file_bytes=limits.max_file_bytes,
            embed=self._rules.describe,
            settle_seconds=watch.settle_seconds,
            takes_text=settings.output.text_sidecar,
            xmp_on_stem=settings.output.xmp_sidecar_name == "stem",
            leaves=Ignore(watch.ignore).is_asked_for,
        )
        self.inbox = Inbox(
            folders.inbox,
            settle_seconds=watch.settle_seconds,
            incomplete_after_seconds=watch.incomplete_after_seconds,
            rescan_seconds=watch.rescan_seconds,
            poll_interval_seconds=watch.poll_interval_seconds,
            method=watch.method,
            ignore=watch.ignore,
        )
        self._listeners: tuple[Callable[[Outcome], None], ...] = (self.history.record,)
        self._inbox_path = folders.inbox
        self._state_path = folders.state
        self._result_paths = (folders.done, folders.failed)
        self._make_captioner = partial(captioner_of, settings)
        self._make_webhook = partial(webhook_of, settings)
        self._webhook: Webhook | None = None
        self._make_door = partial(door_of, settings)
        self._captioner: Captioner[Any] | None = None
        self._phase = "starting"  # starting | watching | draining
        self._started_at = datetime.now(UTC)

    def run(self, *, once: bool = False) -> None:
        """Serve until a signal, or with `once` until the inbox is empty.

        Raises CannotStart when the folders, the lock or the model do not let it begin.
        """
        hearing = signals.heard(on_stop=self._drain, on_reload=self._reload)
        with ExitStack() as closing, hearing as stop:
            # Left in the reverse order: the door first, so that nobody asks any more; then the
            # model; the lock last, so that the next daemon finds everything at rest.
            self._refuse_bare_mount_points()
            closing.callback(self._exiftool.close)
            self.delivery.open()
            closing.callback(self.attempts.close)
            closing.callback(self.delivery.close)
            closing.callback(self.history.close)
            self._webhook = self._make_webhook()
            if self._webhook is not None:
                closing.callback(self._webhook.close)
                self._listeners += (self._webhook.tell,)
            for delivered in self.delivery.recover():
                self._tell(self.delivery.outcome(delivered))
                log.info("finished what an earlier run began", file=delivered.path)
            self._listeners += (self.tally.count,)  # only now: it counts what this run does
            suspects = self.attempts.begun()
            for notice in self.delivery.unresolved:
                log.warning(notice.message, code=notice.code)
            closing.enter_context(control.answering(self._state_path, self._inbox_path, self._answer))
            # Events are collected from here on, so what arrives while the model loads is noticed at once.
            self.inbox.start()
            closing.callback(self.inbox.close)
            door = None if once else self._make_door()
            if door is not None:
                closing.callback(door.close)
                self._listeners += (door.metrics.observe,)
            # Not before: torch takes seconds to import, and what is wrong with the folders is said at once.
            captioner = self._make_captioner()
            closing.callback(captioner.close)
            self._captioner = captioner
            preparing = Preparing(captioner)
            answering = Answering(captioner, preparing, lambda: self._rules, self.gate)
            if door is not None:
                unwell, gallery = (lambda: self.status().why_unhealthy()), self._gallery()
                closing.enter_context(door.serving(answering, unwell, self.measures, gallery))
            if not self._load_model(captioner, stop):
                return
            self._phase = "watching"
            answering.begin()
            log.info("watching", inbox=str(self._inbox_path), model=captioner.identity.id)
            rooms = self.inbox, self.delivery, captioner
            pipeline = Pipeline(
                *rooms,
                preparing,
                self._rules,
                gate=self.gate,
                tally=self.tally,
                tell=self._tell,
                suspects=suspects,
            )
            self._pipeline = pipeline
            # A reload between the two lines above was for the rules that it was not built with.
            pipeline.rules = self._rules
            upkeep = Upkeep(*rooms, gate=self.gate, tally=self.tally, tell=self._tell)
            self._watchdog = Watchdog(partial(self._signs, upkeep))
            with self._watchdog.going_on(), upkeep.going_on():
                pipeline.run(stop, once=once)

    def _gallery(self) -> Gallery:
        folders, limits = self._settings.folders, self._settings.limits
        thumbnails = Thumbnails(lambda: self._rules.max_pixels, max_file_bytes=limits.max_file_bytes)
        return Gallery(
            self.history,
            self.delivery,
            thumbnails,
            self.status,
            inbox=folders.inbox,
            done=folders.done,
            failed=folders.failed,
        )

    def _tell(self, outcome: Outcome) -> None:
        """Whoever is told here neither raises nor keeps anybody waiting."""
        for listener in self._listeners:
            listener(outcome)

    def _signs(self, upkeep: Upkeep) -> Signs:
        return Signs(
            looked_at=self.inbox.looked_at,
            finished_at=self.tally.finished_at,
            kept_up_at=upkeep.turned_at,
            in_work=self.inbox.counts().in_work,
            is_paused=self.gate.trouble is not None,
            is_draining=self._phase == "draining",
        )

    def _reload(self) -> None:
        """What SIGHUP asks for; on the thread of the signals, so that two never meet."""
        if self._reread is None:
            return
        is_ready = self._watchdog is not None and self._watchdog.is_ready
        if is_ready:
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self._take_over(self._reread())
        except CannotStart as refusal:
            reasons = "; ".join(refusal.message.splitlines())
            log.error("the settings are refused, the former ones stay", reason=reasons)
        if is_ready:
            systemd.notify("READY=1")

    def _take_over(self, settings: Settings) -> None:
        changed = change(self._settings, settings)
        if changed.need_restart:
            log.warning("these settings need a restart and stay as they were", keys=changed.need_restart)
        self._settings = settings = changed.settings
        limits = settings.limits
        # Begun pictures keep the object that they hold.
        self._rules = rules = rules_of(settings, self._exiftool)
        self.delivery.change(
            attempt_limit=limits.attempts,
            max_file_bytes=limits.max_file_bytes,
            embed=rules.describe,
            takes_text=settings.output.text_sidecar,
            xmp_on_stem=settings.output.xmp_sidecar_name == "stem",
            leaves=Ignore(settings.watch.ignore).is_asked_for,
        )
        if self._pipeline is not None:
            self._pipeline.rules = rules
        if "watch.ignore" in changed.taken_over:
            self.inbox.ignore(settings.watch.ignore)
        logs.configure(settings.log.level, settings.log.format)
        log.info("settings read again", changed=changed.taken_over)

    def status(self) -> Status:
        """How it fares just now; from any thread."""
        counts, watch = self.inbox.counts(), self.inbox.watch_state
        trouble, tally = self.gate.trouble, self.tally
        captioner = self._captioner
        model = captioner.identity if captioner is not None else None
        remaining = counts.waiting + counts.settling + counts.in_work
        return Status(
            state="paused" if trouble is not None and self._phase == "watching" else self._phase,
            pause_reason=trouble.message if trouble is not None else None,
            pause_advice=trouble.advice if trouble is not None else None,
            counts={**asdict(counts), "done": tally.done, "failed": tally.failed},
            rate_per_second=round(tally.rate_per_second(), 3),
            seconds_to_finish=tally.seconds_to_finish(remaining),
            watch={"method": watch.method, "degraded": watch.degraded},
            model={
                "id": model.id if model is not None else self._settings.model.id,
                "device": model.device if model is not None else None,
                "loaded": self._phase != "starting" and captioner is not None and captioner.is_loaded,
            },
            last_error=tally.last_error,
            started_at=self._started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            process=os.getpid(),
            hanging=self._watchdog.hanging if self._watchdog is not None else None,
        )

    def measures(self) -> Measures:
        """How much there is of everything just now; from any thread."""
        status, captioner = self.status(), self._captioner
        files = ("waiting", "settling", "in_work", "ignored", "unreadable")
        identity = captioner.identity if captioner is not None else None
        told = asdict(identity) if identity is not None else {"id": self._settings.model.id}
        return Measures(
            files={name: status.counts[name] for name in files},
            missed_events=status.counts["missed_events"],
            captioned=status.counts["done"],
            failures=self.tally.failures,
            is_healthy=status.why_unhealthy() is None,
            is_paused=self.gate.trouble is not None,
            pauses=self.gate.pauses,
            model={name: value for name, value in told.items() if value is not None},
            is_model_loaded=status.model["loaded"],
            captioner=captioner.gauges() if captioner is not None else Gauges(),
            notices=self._webhook.results if self._webhook is not None else {},
            notices_waiting=self._webhook.waiting if self._webhook is not None else None,
        )

    def _answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """What another process wants to know; see `control`."""
        answer = asdict(self.status())
        if question.get("ask") == "explain":
            answer["standing"] = self.inbox.explain(
                str(question.get("path", "")), takes_text=self._settings.output.text_sidecar
            )
        return answer

    def _drain(self) -> None:
        self._phase = "draining"
        systemd.notify("STOPPING=1")

    def _refuse_bare_mount_points(self) -> None:
        """Before anything is created: what is put under a mount that comes later would be hidden by it."""
        for path in (self._inbox_path, *self._result_paths):
            if mounts.is_waiting_for_its_mount(path):
                raise CannotStart(
                    f"{path} lies on a volume of /etc/fstab that is not mounted",
                    exit_code=ExitCode.TRY_AGAIN,
                    advice="Mount it, then start captiond again.",
                )

    def _load_model(self, captioner: Captioner[Any], stop: threading.Event) -> bool:
        """Load on another thread, so that a signal is heard meanwhile.  False if one came."""
        while self.gate.wait(stop):
            identity = captioner.identity
            log.info("loading the model", model=identity.id)
            try:
                if not _until(stop, captioner.load):
                    return False
            except Surroundings as trouble:
                self.gate.close(trouble)
                continue
            identity = captioner.identity
            log.info("model ready", model=identity.id, device=identity.device, dtype=identity.dtype)
            self.gate.open()
            return True
        return False


def _until(stop: threading.Event, work: Callable[[], None]) -> bool:
    """Run `work` to its end, or leave it behind once `stop` is set.  True if it ended; raises what it did."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="loading")
    working = pool.submit(work)
    pool.shutdown(wait=False)
    while not wait([working], timeout=0.1).done:
        if stop.is_set():
            return False
    working.result()
    return True
