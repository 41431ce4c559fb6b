"""What systemd is told: ready, still moving, and nothing any more once something hangs."""

from __future__ import annotations

import io
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from captiond.service.heartbeat import (
    LOOK_SECONDS,
    WORK_SECONDS,
    Signs,
    Watchdog,
    interval_seconds,
    standstill,
)
from daemon_process import PATIENCE_SECONDS, Place
from fake_chat_server import FakeChatServer

NOW = 1_000_000.0
WELL = Signs(NOW, NOW, NOW, in_work=0, is_paused=False, is_draining=False)


def test_slow_is_not_hanging_and_hanging_is_found() -> None:
    """A slow scan, a slow batch and a long pause are waited for; past the limits each standstill is named."""
    assert standstill(NOW, WELL, NOW) is None
    long_ago = NOW - LOOK_SECONDS - 1
    idle = replace(WELL, looked_at=long_ago, finished_at=long_ago)
    assert standstill(NOW, idle, long_ago) == "the look into the inbox"
    assert standstill(NOW, replace(idle, is_paused=True), long_ago) is None
    assert standstill(NOW, replace(idle, in_work=1), long_ago) is None  # a model has an hour
    longer_ago = NOW - WORK_SECONDS - 1
    busy = replace(WELL, finished_at=longer_ago, in_work=1)
    assert standstill(NOW, busy, longer_ago) == "the model or a disk"
    assert standstill(NOW, busy, NOW) is None  # it idled until now: the work has only begun
    assert standstill(NOW, replace(WELL, kept_up_at=longer_ago), NOW) == "upkeep"


def test_the_watchdog_is_answered_by_whom_it_was_set_for() -> None:
    """WATCHDOG_PID names the process that is asked; without it, whoever has the variable is."""
    assert interval_seconds({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 7) == 60
    assert interval_seconds({"WATCHDOG_USEC": "60000000"}, 7) == 60
    assert interval_seconds({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, 7) is None
    assert interval_seconds({}, 7) is None and interval_seconds({"WATCHDOG_USEC": "0"}, 7) is None


def test_nothing_is_answered_before_systemd_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rounds come before the first look at the inbox, READY is the first word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        now = time.monotonic()
        watchdog = Watchdog(lambda: WELL, {"WATCHDOG_USEC": "400000"})
        starting = Signs(now, now - 1.0, now, in_work=0, is_paused=False, is_draining=False)
        for later in (0.1, 1.0, 2.0):
            watchdog.round(now + later, starting)
        with pytest.raises(BlockingIOError):
            manager.recv(65536)
        watchdog.round(now + 3.0, replace(starting, looked_at=now + 2.5))
        assert [manager.recv(65536)[:7], manager.recv(65536)] == [b"READY=1", b"WATCHDOG=1"]


def test_a_real_life_as_systemd_hears_it(tmp_path: Path) -> None:
    """READY after the model answered; WATCHDOG again and again; at a stop STOPPING, then more time."""
    with (
        FakeChatServer() as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        model = {"backend": "openai", "id": server.model_id, "base_url": server.url}
        place = Place(tmp_path / "place", {"model": model})
        told: list[str] = []

        def hear(wanted: str) -> None:
            while not told or wanted not in told[-1]:
                told.append(manager.recv(65536).decode())

        with place.running(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="400000") as running:
            hear("READY=1")
            assert told[0].startswith("STATUS=starting captiond") and str(place.inbox) in told[0]
            assert "model ready" in running.log()
            assert not any("WATCHDOG" in message for message in told)
            hear("WATCHDOG=1")
            told.append("")
            hear("WATCHDOG=1")
            server.seconds_per_answer = 2.0
            server.seen.clear()
            buffer = io.BytesIO()
            Image.new("RGB", (64, 48), "gray").save(buffer, "JPEG")
            place.drop(buffer.getvalue(), "photo.jpg")
            running.until(lambda: server.seen)
            running.process.send_signal(signal.SIGHUP)
            hear("RELOADING=1")
            hear("READY=1")
            running.process.send_signal(signal.SIGTERM)
            hear("STOPPING=1")
            hear("EXTEND_TIMEOUT_USEC=")
            assert running.process.wait(PATIENCE_SECONDS) == 0
        assert (place.done / "photo.jpg.caption.json").exists()
