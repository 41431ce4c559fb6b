"""A wanted pause: what is in work ends, nothing new begins, nobody is charged, and all is well."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from captiond.delivery.pausing import Pause, Pausing
from captiond.errors import Surroundings
from captiond.pipeline.gate import Gate
from captiond.service.resting import Resting, rest_of
from captiond.status import Rest
from captiond.support.hours import Hours
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer, Handler, describe
from faults.load import picture

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
ALWAYS = Hours.of(())


@pytest.fixture
def jpeg() -> bytes:
    return picture(5_000)[0]


def _status(place: Place) -> dict[str, Any]:
    said = captiond("status", "--json", "-c", place.settings)
    assert said.returncode == 0, said
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def _attempts(place: Place) -> list[tuple[int]]:
    file = place.root / "state" / "attempts.sqlite3"
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        return list(database.execute("SELECT begun FROM attempts WHERE begun > 0"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _pausing(folder: Path) -> Pausing:
    return Pausing(folder, "12345678")


def test_a_pause_outlives_restarts_and_ends_by_a_word(
    tmp_path: Path, server: FakeChatServer, jpeg: bytes
) -> None:
    """Asked for without a daemon; kept by two of them; told in status and explain; healthy; then done."""
    place = Place(tmp_path, {"model": server.settings})
    said = captiond("pause", "-c", place.settings, "--for", "2h", "--why", "games\x1b[2J tonight")
    assert said.returncode == 0 and "No daemon runs" in said.stdout
    assert "somebody asked for it: games tonight" in captiond("status", "-c", place.settings).stdout
    place.drop(jpeg, "one.jpg")
    for _ in range(2):
        with place.running() as daemon:
            daemon.until(
                lambda: (_status(place)["state"], _status(place)["counts"]["waiting"]) == ("paused", 1)
            )
            found = _status(place)
            assert found["pause_wanted"] and "games tonight" in found["pause_reason"]
            until = datetime.fromisoformat(found["pause_until"])
            assert timedelta(hours=1) < until - datetime.now(UTC) <= timedelta(hours=2)
            assert found["counts"]["in_work"] == 0
            assert captiond("health", "-c", place.settings).returncode == 0
            told = captiond("explain", "-c", place.settings, "one.jpg").stdout
            assert "next in line; all work is paused" in told and "(until 20" in told
    with place.running() as daemon:
        daemon.until(lambda: _status(place)["state"] == "paused")
        assert place.left_in_inbox() == ["one.jpg"] and not _attempts(place)
        assert "The pause is over" in captiond("resume", "-c", place.settings).stdout
        daemon.until(lambda: (place.done / "one.jpg.caption.json").exists())
    assert place.sidecar("one.jpg")["attempts"] == 1
    assert "It was not paused" in captiond("resume", "-c", place.settings).stdout


@pytest.mark.long
def test_what_is_in_work_ends_and_nothing_new_begins(tmp_path: Path) -> None:
    """What is on its way to the model, or there, is delivered; the others stay where they are, uncharged."""
    may_answer, asked = threading.Event(), threading.Event()

    def wait(handler: Handler) -> None:
        asked.set()
        assert may_answer.wait(60)
        handler.say(describe(handler.seen.image))

    with FakeChatServer() as server:
        place = Place(tmp_path, {"model": {**server.settings, "max_concurrency": 2}})
        with place.running() as daemon:
            server.always = wait
            for number in range(40):
                place.drop(picture(5_000 + number)[0], f"{number}.jpg")
            assert asked.wait(60)
            daemon.until(lambda: _status(place)["counts"]["waiting"])
            captiond("pause", "-c", place.settings)
            daemon.until(lambda: _status(place)["state"] == "paused")
            begun = len(_attempts(place))
            may_answer.set()
            daemon.until(lambda: _status(place)["counts"]["in_work"] == 0)
            found = _status(place)
            assert found["counts"]["done"] == begun < 40
            assert found["counts"]["waiting"] == 40 - begun == len(place.left_in_inbox())
            assert not _attempts(place)
            captiond("resume", "-c", place.settings)
            daemon.until(lambda: not place.left_in_inbox())


def test_programs_pause_and_resume(tmp_path: Path, server: FakeChatServer, jpeg: bytes) -> None:
    """POST /api/pause and /api/resume; /infer says why not; /healthz is well; a form cannot ask for it."""
    port = _free_port()
    place = Place(tmp_path, {"model": server.settings, "http": {"listen": f"127.0.0.1:{port}"}})
    with place.running() as daemon, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        assert client.post("/api/pause", data={"seconds": "1"}).status_code == 415
        for wrong in (
            {"seconds": 0},
            {"seconds": -1},
            {"seconds": 1e300},
            {"why": "x" * 501},
            {"minutes": 3},
        ):
            assert client.post("/api/pause", json=wrong).status_code == 422, wrong
        told = client.post("/api/pause", json={"seconds": 3600, "why": "a backup"}).json()
        assert client.get("/api/status").json()["pause_wanted"]
        assert told["paused"] and told["reason"].endswith("a backup") and told["until"]
        refused = client.post("/infer", files={"file": ("a.jpg", jpeg)})
        assert refused.status_code == 503 and "a backup" in refused.json()["detail"]
        assert client.get("/healthz").status_code == 200
        metrics = client.get("/metrics").text
        assert "captiond_resting 1.0" in metrics and "captiond_paused 0.0" in metrics
        place.drop(jpeg, "one.jpg")
        daemon.until(lambda: client.get("/api/status").json()["counts"]["waiting"] == 1)
        ended = client.post("/api/resume", json={})
        assert ended.json() == {"paused": False, "reason": None, "until": None}
        daemon.until(lambda: (place.done / "one.jpg.caption.json").exists())
        assert client.post("/api/pause", json=None, headers={"Content-Type": "application/json"}).json()[
            "paused"
        ]


def test_once_heeds_a_pause_and_not_the_schedule(tmp_path: Path, server: FakeChatServer, jpeg: bytes) -> None:
    """`run --once` is asked for now: closed hours are told and passed over, a pause is not."""
    tomorrow = f"{datetime.now() + timedelta(days=2):%a}".lower()
    place = Place(tmp_path, {"model": server.settings, "schedule": {"hours": [tomorrow]}})
    place.drop(jpeg, "one.jpg")
    captiond("pause", "-c", place.settings, "--why", "games")
    refused = place.once()
    assert refused.returncode == 75 and "games" in refused.stderr and "captiond resume" in refused.stderr
    assert "schedule.hours" in captiond("resume", "-c", place.settings).stdout
    done = place.once()
    assert done.returncode == 0 and "the hours are closed" in done.stderr
    assert (place.done / "one.jpg.caption.json").exists()


def test_closed_hours_are_told_and_taken_over_by_a_reload(
    tmp_path: Path, server: FakeChatServer, jpeg: bytes
) -> None:
    """A daemon outside its hours is paused until they begin, and healthy; without hours it goes on."""
    day = f"{datetime.now() + timedelta(days=2):%a}".lower()
    place = Place(tmp_path, {"model": server.settings, "schedule": {"hours": [day]}})
    with place.running() as daemon:
        daemon.until(lambda: _status(place)["state"] == "paused")
        found = _status(place)
        assert found["pause_reason"] == "it is outside schedule.hours"
        assert (
            datetime.fromisoformat(found["pause_until"]).astimezone().strftime("%a %H:%M").lower()
            == f"{day} 00:00"
        )
        assert captiond("health", "-c", place.settings).returncode == 0
        place.settings.write_text(place.settings.read_text().replace(f'"{day}"', ""))
        daemon.process.send_signal(1)
        place.drop(jpeg, "one.jpg")
        daemon.until(lambda: (place.done / "one.jpg.caption.json").exists())


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"[" * 100_000, b'{"paused_at": 7}', b'{"paused_at": "2026-01-01"}',
     b'{"paused_at": "9999-12-31T23:59:59-23:00"}', b'{"paused_at": "2026-01-01T00:00:00Z", "until": []}',
     b'{"paused_at": "2026-01-01T00:00:00Z", "why": 7}', b"\xff" * 100,
     json.dumps({"paused_at": "2026-01-01T00:00:00Z", "why": "x" * 501}).encode()],
)  # fmt: skip
def test_what_nobody_of_ours_wrote_pauses_nothing(tmp_path: Path, data: bytes) -> None:
    """A damaged or forged file is told, and the work goes on."""
    (tmp_path / "pause-12345678.json").write_bytes(data)
    assert _pausing(tmp_path).look() is None


def test_no_strange_file_keeps_anybody_waiting(tmp_path: Path) -> None:
    """A pipe, a link and a sparse giant in the place of the file are passed over."""
    file = tmp_path / "pause-12345678.json"
    os.mkfifo(file)
    assert _pausing(tmp_path).look() is None
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert _pausing(tmp_path).look() is None
    file.unlink()
    with file.open("wb") as sparse:
        sparse.truncate(8 << 30)
    assert _pausing(tmp_path).look() is None


def test_it_is_seen_by_whoever_looks_again(tmp_path: Path) -> None:
    """One writes, another sees it, sees it replaced and gone; a lost state folder changes nothing."""
    writer, reader = _pausing(tmp_path / "state"), _pausing(tmp_path / "state")
    (tmp_path / "state").mkdir()
    assert reader.look() is None and not writer.resume()
    first, second = Pause(NOW, None, "games"), Pause(NOW, NOW + timedelta(seconds=1.5))
    for wanted in (first, second):
        writer.pause(wanted)
        assert reader.look() == wanted
    (tmp_path / "state").chmod(0)
    if os.geteuid():
        assert reader.look() == second
    (tmp_path / "state").chmod(0o700)
    assert writer.resume() and reader.look() is None
    (tmp_path / "state").rmdir()
    with pytest.raises(Surroundings):
        writer.pause(first)


def test_a_pause_that_ends_in_closed_hours_lasts_until_they_begin() -> None:
    """What is told is when pictures are taken again."""
    night = Hours.of(["tue 00:00-06:00"])
    pause = Pause(NOW, NOW + timedelta(hours=1))
    assert rest_of(None, ALWAYS, NOW) is None
    assert rest_of(pause, ALWAYS, NOW + timedelta(hours=1)) is None
    told = rest_of(pause, ALWAYS, NOW)
    assert told is not None and told.until == NOW + timedelta(hours=1)
    told = rest_of(pause, night, NOW)
    assert told is not None and told.until is not None
    assert told.until.astimezone().strftime("%a %H:%M") == "Tue 00:00" and told.advice is not None


def test_the_clock_may_be_put_back(tmp_path: Path) -> None:
    """Closed hours are reckoned anew where the clock says an earlier time than before."""
    times = [NOW, NOW + timedelta(hours=12), NOW]
    now = iter(times)
    resting = Resting(_pausing(tmp_path), Hours.of(["mon 00:00-24:00"]), lambda: next(now))
    assert [resting.look() is None for _ in times] == [
        rest_of(None, resting._hours, at) is None for at in times
    ]


def test_a_wanted_pause_is_no_trouble() -> None:
    """The gate tells the two apart: a rest closes nothing, and nobody takes a turn to try because of it."""
    rests: list[Rest | None] = [Rest("games", None), None]
    gate = Gate(time.monotonic, lambda: rests[0])
    assert gate.rest is None and gate.look() == rests[0] == gate.rest
    assert gate.trouble is None and gate.pauses == 0 and not gate.take_turn()
    assert gate.wait(threading.Event())
    rests.pop(0)
    assert gate.look() is None and gate.rest is None
