"""SIGHUP: a running daemon reads its settings again, and never works by a broken file."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captiond.settings import Settings
from captiond.settings.reload import change
from daemon_process import PATIENCE_SECONDS, Place, Running, environment
from fake_chat_server import FakeChatServer


def _picture(shade: int = 100) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


def _place(root: Path, server: FakeChatServer) -> Place:
    return Place(root, {"model": server.settings})


def _rewrite(place: Place, **sections: dict[str, Any]) -> None:
    values = json.loads(place.settings.read_text())
    for section, keys in sections.items():
        values.setdefault(section, {}).update(keys)
    place.settings.write_text(json.dumps(values))


def _lines(running: Running, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, running.log().splitlines()) if event in line["event"]]


def _delivered(place: Place, name: str) -> bool:
    return (place.done / f"{name}.caption.json").exists()


def test_what_can_change_is_taken_over_and_the_rest_is_named() -> None:
    """Prompts, limits, output, log and what is ignored follow the file; model and folders keep their values,
    and each such key is told by name."""
    former = Settings()
    latter = Settings.model_validate(
        {
            "caption": {"prompt": "Name the colour."},
            "watch": {"ignore": ["*.bak.jpg"], "method": "polling"},
            "model": {"id": "demo"},
            "http": {"listen": "127.0.0.1:8000"},
        }
    )
    changed = change(former, latter)
    assert set(changed.taken_over) == {"caption.prompt", "watch.ignore"}
    assert set(changed.need_restart) == {"watch.method", "model.id", "model.revision", "http.listen"}
    assert changed.settings.caption == latter.caption and changed.settings.model == former.model
    assert changed.settings.watch.ignore == ("*.bak.jpg",) and changed.settings.watch.method == "auto"
    nothing = change(former, former)
    assert nothing.settings == former and not nothing.taken_over and not nothing.need_restart


def test_a_running_daemon_follows_its_file_and_refuses_a_broken_one(tmp_path: Path) -> None:
    """After SIGHUP the next picture is asked by the new prompt, ignored names stay, and the manager is told;
    a broken file is refused in one line with its line number, and all goes on as before."""
    with (
        FakeChatServer() as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        place = _place(tmp_path / "place", server)
        with place.running(NOTIFY_SOCKET=str(tmp_path / "notify")) as running:
            while not manager.recv(65536).startswith(b"READY=1"):
                pass  # systemd asks for no reload before that
            _rewrite(
                place,
                caption={"prompt": "Name the colour."},
                limits={"max_file_bytes": 20_000},
                watch={"ignore": ["*.bak.jpg"]},
                model={"timeout_seconds": 7},
            )
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda: _lines(running, "settings read again"))
            (warning,) = _lines(running, "need a restart")
            assert warning["keys"] == ["model.timeout_seconds"]
            place.drop(_picture(), "kept.bak.jpg")
            place.drop(_picture() + bytes(20_000), "large.jpg")
            place.drop(_picture(), "photo.jpg")
            running.until(lambda: _delivered(place, "photo.jpg"))
            running.until((place.failed / "large.jpg.error.json").exists)
            assert place.sidecar("photo.jpg")["prompt"] == "Name the colour."
            running.until(
                lambda: place.left_in_inbox() == ["kept.bak.jpg"]
            )  # it leaves after its sidecar appears

            place.settings.write_text("caption:\n  promt: Say nothing.\n")
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda: _lines(running, "refused"))
            (refused,) = _lines(running, "refused")
            assert "caption.promt" in refused["reason"] and "line 2" in refused["reason"]
            place.drop(_picture(120), "later.jpg")
            running.until(lambda: _delivered(place, "later.jpg"))
            assert place.sidecar("later.jpg")["prompt"] == "Name the colour."
        told = _told(manager)
    reloads = [at for at, message in enumerate(told) if message.startswith("RELOADING=1\nMONOTONIC_USEC=")]
    assert len(reloads) == 2
    for at in reloads:
        assert "READY=1" in told[at + 1 :]


def _told(manager: socket.socket) -> list[str]:
    """Every datagram that lies in the socket by now."""
    manager.setblocking(False)
    told = []
    while True:
        try:
            told.append(manager.recv(65536).decode())
        except BlockingIOError:
            return told


def test_a_reload_while_the_model_loads_waits_for_nothing_and_kills_nobody(tmp_path: Path) -> None:
    """SIGHUP during the load is heard, and its prompt counts from the first picture on."""
    with FakeChatServer() as server:
        server.seconds_per_answer = 1.0
        place = _place(tmp_path, server)
        running = Running(place, {})
        try:
            running.until(lambda: _lines(running, "loading the model"))
            _rewrite(place, caption={"prompt": "Name the colour."})
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda: _lines(running, "settings read again"))
            assert not _lines(running, "watching")
            place.drop(_picture(), "photo.jpg")
            running.until(lambda: _delivered(place, "photo.jpg"))
            assert place.sidecar("photo.jpg")["prompt"] == "Name the colour."
        finally:
            running.process.kill()
            running.process.wait()


def test_a_closed_terminal_stops_the_daemon(tmp_path: Path) -> None:
    """Without this, a daemon started by hand would outlive its window, with nobody to see it."""
    with FakeChatServer() as server:
        place = _place(tmp_path, server)
        master, terminal = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "captiond", "run", "-c", str(place.settings)],
            stdin=subprocess.DEVNULL,
            stderr=terminal,
            env=environment(),
        )
        try:
            os.close(terminal)
            said = b""
            while b'"watching"' not in said:
                said += os.read(master, 65536)
            os.close(master)
            process.send_signal(signal.SIGHUP)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("key", ["folders.inbox", "model.keep_alive_seconds", "http.listen"])
def test_what_was_built_at_the_start_is_not_taken_over(key: str) -> None:
    """Folders are locked, a model is loaded, a port is open: those keys are known to need a restart."""
    section, _, name = key.partition(".")
    values = {"inbox": Path("/elsewhere"), "keep_alive_seconds": 5.0, "listen": "127.0.0.1:1"}
    changed = change(Settings(), Settings.model_validate({section: {name: values[name]}}))
    assert changed.need_restart == (key,) and changed.settings == Settings()


def test_a_vocabulary_that_is_gone_refuses_the_whole(tmp_path: Path) -> None:
    """The former settings stay, and once the file is there the same reload is taken over."""
    with FakeChatServer() as server:
        place = _place(tmp_path, server)
        with place.running() as running:
            _rewrite(place, caption={"prompt": "Name it."}, fields={"vocabulary": "words.txt"})
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda: _lines(running, "the settings are refused"))
            (tmp_path / "words.txt").write_text("dog\n")
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda: _lines(running, "settings read again"))
            (line,) = _lines(running, "settings read again")
            assert set(line["changed"]) == {"caption.prompt", "fields.vocabulary"}
