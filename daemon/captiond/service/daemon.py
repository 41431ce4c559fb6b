"""The life of a daemon: start in order, run, reload, stop in order.  `build` made the rooms."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import structlog

from captiond import __version__, checking, logs, records
from captiond.captioners import Captioner
from captiond.errors import CannotStart, ExitCode, LibraryAway, NotThere, Surroundings, TryLater
from captiond.inbox import mounts
from captiond.pipeline import Pipeline
from captiond.pipeline.ondemand import Answering
from captiond.pipeline.preparing import Preparing
from captiond.pipeline.redoing import Redoing
from captiond.records import Outcome
from captiond.redo.lists import Lists
from captiond.service import build, control, report, signals, systemd
from captiond.service.build import Rooms
from captiond.service.heartbeat import Signs, Watchdog
from captiond.service.report import Life
from captiond.service.rules import ignore_of, urgent_of
from captiond.service.upkeep import Upkeep
from captiond.settings.reload import change
from captiond.status import Standing, Status, downloading
from captiond.support.background import repeating
from captiond.support.hours import Hours
from captiond.support.settings_file import fingerprint

if TYPE_CHECKING:
    from threading import Event

    from captiond.settings import Settings
    from captiond.web import Door

log = structlog.get_logger(__name__)

Tell = Callable[[Outcome], None]

LINES_KEPT = 300  # of the log, for the page


class Daemon:
    """One inbox being served.  `rooms` and `status` may be read while `run` runs."""

    def __init__(self, settings: Settings, *, reread: Callable[[], Settings] | None = None) -> None:
        """`reread`: the settings as they stand now, for SIGHUP."""
        self.rooms = build.build(settings)
        self._life = Life()
        self._settings, self._reread = settings, reread
        self._fingerprint = fingerprint(settings.source, os.environ)

    def run(self, *, once: bool = False, patience_seconds: float | None = None) -> None:
        """Serve until a signal, or with `once` until the inbox is empty: see `Pipeline.run`.

        Raises: CannotStart, if the folders, the lock or the model do not let it begin.
        """
        raise_descriptor_limit()
        rooms, life = self.rooms, self._life
        if once:  # the operator asks for it now, whatever the schedule says
            rooms.resting.heed(Hours.of(()))
        hearing = signals.heard(on_stop=self._drain, on_reload=self._reload)
        with ExitStack() as closing, hearing as stop:
            # Closed in the reverse order: the door first, so that no request comes any more; then the
            # model; the lock last, so that the next daemon finds everything at rest.
            lines = closing.enter_context(logs.kept(LINES_KEPT))
            _open_folders(rooms, closing)
            life.webhook = _opened(build.webhook_of(self._settings), closing)
            door = None if once else _opened(build.door_of(self._settings), closing)
            tell = _telling(rooms, life, door)
            _finish_earlier(rooms, tell)
            suspects = rooms.attempts.begun()
            folders = self._settings.folders
            closing.enter_context(control.answering(folders.state, folders.inbox, self._answers()))
            # Events are collected from here on, so files that arrive while the model loads are seen at once.
            rooms.inbox.start()
            closing.callback(rooms.inbox.close)
            closing.enter_context(rooms.libraries.looked_through(once=once))
            answering = Answering(rooms.rules.of, rooms.gate)
            if door is not None:
                closing.enter_context(self._serving(door, answering, lines, tell))
            # Only now: torch takes seconds to import, and the page already tells how the start goes on.
            _begin_to_load(self._settings)
            captioner = life.captioner = _opened(build.captioner_of(self._settings), closing)
            preview_of = build.preview_of(self._settings, rooms.exiftool)
            preparing = Preparing(captioner, rooms.decoders, preview_of=preview_of)
            if not _load_model(rooms, captioner, stop):
                return
            life.phase = "watching"
            answering.begin(captioner, preparing)
            log.info("watching", inbox=str(folders.inbox), model=captioner.identity.id)
            served = rooms.inbox, rooms.delivery, captioner
            pipeline = Pipeline(
                *served,
                preparing,
                gate=rooms.gate,
                tally=rooms.tally,
                tell=tell,
                suspects=suspects,
                same_answer_limit=self._settings.checks.same_answer_limit,
                libraries=rooms.libraries,
                memory=rooms.cache,
            )
            upkeep = Upkeep(
                *served, gate=rooms.gate, tally=rooms.tally, tell=tell, takes_text=self._takes_text
            )
            life.watchdog = Watchdog(partial(self._signs, upkeep))
            redoing = self._redoing(captioner, preparing, tell)
            with life.watchdog.going_on(), upkeep.going_on(), redoing.going_on(stop, once=once):
                pipeline.run(stop, once=once, patience_seconds=patience_seconds)
            if once:
                upkeep.tell_of_unserved(is_last=True)

    def _redoing(self, captioner: Captioner[Any], preparing: Preparing[Any], tell: Tell) -> Redoing[Any]:
        rooms, folders = self.rooms, self._settings.folders
        return Redoing(
            Lists(folders.state),
            folders.done,
            rooms.inbox,
            rooms.delivery,
            captioner,
            preparing,
            rooms.rules.of,
            rooms.attempts,
            gate=rooms.gate,
            tell=tell,
            same_answer_limit=self._settings.checks.same_answer_limit,
            libraries=rooms.libraries,
        )

    def status(self) -> Status:
        """The daemon's status now; callable from any thread."""
        return report.status(self.rooms, self._life)

    def _serving(
        self, door: Door, answering: Answering, lines: logs.Kept, tell: Tell
    ) -> AbstractContextManager[None]:
        from captiond.service.door import Behind

        return Behind(self.rooms, self._life, answering, lambda: self._settings, lines, tell).serving(door)

    def _takes_text(self, path: str) -> bool:
        return self.rooms.rules.of(path).takes_text

    def _signs(self, upkeep: Upkeep) -> Signs:
        rooms = self.rooms
        return Signs(
            looked_at=rooms.inbox.looked_at,
            finished_at=rooms.tally.finished_at,
            kept_up_at=upkeep.turned_at,
            in_work=rooms.inbox.counts().in_work,
            is_paused=rooms.gate.trouble is not None,
            is_draining=self._life.phase == "draining",
        )

    def _reload(self) -> None:
        """Do what SIGHUP asks for; the signals' thread alone calls this, so two reloads never overlap."""
        if self._reread is None:
            return
        is_ready = self._life.watchdog is not None and self._life.watchdog.is_ready
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
        settings = changed.settings
        # First: if a vocabulary cannot be read, this raises, and all the former settings stay.
        self.rooms.rules.take_over(settings)
        self._settings = settings
        self._fingerprint = fingerprint(settings.source, os.environ)
        limits = settings.limits
        self.rooms.decoders.limit(seconds=limits.decode_seconds, memory_bytes=limits.decode_memory_bytes)
        if {"watch.ignore", "profiles"} & {*changed.taken_over}:
            self.rooms.inbox.ignore(ignore_of(settings))
            for library in self.rooms.libraries:
                library.follow(ignore_of(settings, library.name))
        if "watch.first" in changed.taken_over:
            self.rooms.inbox.prefer(urgent_of(settings))
        self.rooms.resting.heed(Hours.of(settings.schedule.hours))
        logs.configure(settings.log.level, settings.log.format)
        log.info("settings read again", changed=changed.taken_over)

    def _answers(self) -> Mapping[str, control.Answer]:
        """The answers to what another process may ask; see `control`."""

        def status(question: Mapping[str, Any]) -> dict[str, Any]:
            return {"version": __version__, "settings": self._fingerprint, "status": self.status().as_json()}

        def explain(question: Mapping[str, Any]) -> dict[str, Any]:
            path = question.get("path")
            if not isinstance(path, str):
                return {"error": "this is no question: `path` must be text"}
            standing = self._standing(path, question.get("library"))
            if standing is None:
                return {"error": "this daemon has no such library"}
            return {**status(question), "standing": asdict(standing)}

        def changed(question: Mapping[str, Any]) -> dict[str, Any]:
            path, told = question.get("path"), question.get("event")
            event = next((one for one in get_args(records.Event) if one == told), None)
            if not isinstance(path, str) or event is None:
                return {"error": "this is no question: `path` must be text, and `event` a known word"}
            return {"is_known": self._looked_at(path, event, question.get("library"))}

        return {"status": status, "explain": explain, "changed": changed}

    def _looked_at(self, path: str, event: records.Event, library: object) -> bool:
        """Look at a record in done/, or in a library, that a command has changed; whether it is there."""
        try:
            if library is None:
                outcome = self.rooms.delivery.seen(path)
            else:
                outcome = next(one for one in self.rooms.libraries if one.name == library).seen(path)
        except (NotThere, TryLater, LibraryAway, StopIteration):
            return False
        changed = replace(outcome, event=event, at=datetime.now(UTC))
        self.rooms.history.record(changed)
        self.rooms.tally.count(changed)
        return True

    def _standing(self, path: str, library: object) -> Standing | None:
        """How a file stands in the inbox, or in the library of that name; None if no such library exists."""
        if library is not None:
            found = (one for one in self.rooms.libraries if one.name == library)
            return next((one.standing(path) for one in found), None)
        return self.rooms.inbox.standing(path, takes_text=self._takes_text(path))

    def _drain(self) -> None:
        self._life.phase = "draining"
        systemd.notify("STOPPING=1")


def _open_folders(rooms: Rooms, closing: ExitStack) -> None:
    _refuse_bare_mount_points(rooms)
    closing.callback(rooms.exiftool.close)
    closing.enter_context(rooms.decoders)
    rooms.delivery.open()
    closing.callback(rooms.attempts.close)
    closing.callback(rooms.delivery.close)
    closing.callback(rooms.history.close)
    if rooms.cache is not None:
        closing.callback(rooms.cache.close)


def _begin_to_load(settings: Settings) -> None:
    """Say that it takes time, and use the time for what the first answer would wait for."""
    threading.Thread(target=checking.warm_up, name="phrases", daemon=True).start()
    model = settings.model
    if model.backend == "transformers":
        log.info("loading what runs the model; its imports take a moment", model=model.id)
    systemd.notify(f"STATUS=starting: loading {' '.join(model.id.split())}")


def _opened(room: Any, closing: ExitStack) -> Any:
    """`room`, which is closed when the daemon stops, unless it is None."""
    if room is not None:
        closing.callback(room.close)
    return room


def _telling(rooms: Rooms, life: Life, door: Door | None) -> Tell:
    """One call that tells every listener of an outcome; no listener raises or waits."""
    listeners: list[Tell] = [rooms.history.record, rooms.tally.count]
    if life.webhook is not None:
        listeners.append(life.webhook.tell)
    if door is not None:
        listeners.append(door.metrics.observe)

    def tell(outcome: Outcome) -> None:
        for listener in listeners:
            listener(outcome)

    return tell


def _finish_earlier(rooms: Rooms, tell: Tell) -> None:
    """Finish what an earlier run began and a crash interrupted."""
    rooms.history.count()
    for delivered in rooms.delivery.recover():
        tell(replace(rooms.delivery.outcome(delivered), is_recovered=True))
        log.info("finished what an earlier run began", file=delivered.path)
    for notice in (*rooms.delivery.take_notices(), *rooms.delivery.unresolved):
        log.warning(notice.message, code=notice.code)


def _refuse_bare_mount_points(rooms: Rooms) -> None:
    """Called before anything is created: a volume mounted later would hide what was put under it.

    Raises: CannotStart, if a folder lies on a volume of /etc/fstab that is not mounted.
    """
    folders = rooms.settings.folders
    for path in (folders.inbox, folders.done, folders.failed):
        if mounts.is_waiting_for_its_mount(path):
            raise CannotStart(
                f"{path} lies on a volume of /etc/fstab that is not mounted",
                exit_code=ExitCode.TRY_AGAIN,
                advice="Mount it, then start captiond again.",
            )


def _load_model(rooms: Rooms, captioner: Captioner[Any], stop: Event) -> bool:
    """Load on another thread, so that a signal is heard meanwhile.  False if a stop was asked for."""
    while rooms.gate.wait(stop):
        log.info("loading the model", model=captioner.identity.id)
        try:
            with repeating("loading", partial(_tell_of_download, captioner), lambda: 1.0):
                if not _until(stop, captioner.load):
                    return False
        except Surroundings as trouble:
            rooms.gate.close(trouble)
            continue
        identity = captioner.identity
        log.info("model ready", model=identity.id, device=identity.device, dtype=identity.dtype)
        rooms.gate.open()
        return True
    return False


def _tell_of_download(captioner: Captioner[Any]) -> None:
    download = captioner.gauges().download
    if download is not None:
        systemd.notify(f"STATUS=starting: {downloading(download)}")


def raise_descriptor_limit() -> None:
    """Raise it to the hard limit; the usual 1,024 is for programs that call select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The kernel refuses if the system's own limit was lowered since the hard limit was set.
    with suppress(OSError, ValueError):
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _until(stop: Event, work: Callable[[], None]) -> bool:
    """Run `work` to its end, or abandon it once `stop` is set.  True if it ended; raises what it raised."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="loading")
    working = pool.submit(work)
    pool.shutdown(wait=False)
    while not wait([working], timeout=0.1).done:
        if stop.is_set():
            return False
    working.result()
    return True
