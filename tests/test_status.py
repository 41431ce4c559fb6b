"""`status`, `explain` and `health`, asked from a second process: of daemons that run, pause, or are dead."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from captiond.commands import inspect
from captiond.settings import load
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer, fails
from faults.load import picture


def status(place: Place) -> dict[str, Any]:
    answer = captiond("status", "--json", "-c", place.settings)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def explain(place: Place, path: str | Path, code: int = 0) -> str:
    answer = captiond("explain", "-c", place.settings, path)
    assert answer.returncode == code, answer.stderr
    return answer.stdout + answer.stderr


def health(place: Place) -> tuple[int, str]:
    answer = captiond("health", "-c", place.settings)
    return answer.returncode, answer.stdout


@pytest.fixture
def jpeg() -> bytes:
    return picture(5_000)[0]


def test_without_a_daemon_one_learns_what_waits_for_it(place: Place, jpeg: bytes) -> None:
    """Stopped is a state too: what waits is counted, `explain` says that nobody works, `health` fails."""
    place.drop(jpeg, "trip/one.jpg")
    place.drop(b"words", "letter.doc")
    found = status(place)
    assert (found["state"], found["counts"]["waiting"], found["counts"]["ignored"]) == ("stopped", 1, 1)
    assert "captiond is not running" in explain(place, "trip/one.jpg")
    assert "not an image by its name" in explain(place, place.inbox / "letter.doc")
    assert "is not known" in explain(place, "never.jpg", code=1)
    assert health(place) == (1, "unhealthy: no daemon serves this inbox\n")


def test_one_learns_where_every_file_went_and_why(
    tmp_path: Path, server: FakeChatServer, jpeg: bytes
) -> None:
    """Delivered, renamed, failed, ignored, link, foreign: each has its answer while the daemon runs."""
    watch = {"settle_seconds": 0.2, "incomplete_after_seconds": 1.0}
    place = Place(tmp_path, {"watch": watch, "model": server.settings})
    (place.done / "same.jpg").write_bytes(b"somebody's own")
    with place.running() as daemon:
        place.drop(jpeg, "one.jpg")
        place.drop(jpeg, "same.jpg")
        place.drop(jpeg[: len(jpeg) // 2], "bad.jpg")
        (place.inbox / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
        daemon.until(lambda: (place.failed / "bad.jpg.error.json").exists() and not place.left_in_inbox())
        caption = place.sidecar("one.jpg")["caption"]
        found = status(place)
        assert (found["state"], found["counts"]["done"], found["counts"]["failed"]) == ("watching", 2, 1)
        assert (found["model"], found["process"]) == (
            {"id": server.model_id, "device": None, "loaded": True},
            daemon.process.pid,
        )
        assert caption in explain(place, "one.jpg")
        assert f"{place.done}/same~" in explain(place, place.inbox / "same.jpg")
        assert "was not put there by it" in explain(place, place.done / "same.jpg")
        assert "captiond retry" in explain(place, "bad.jpg")
        assert "links are never followed" in explain(place, "link.jpg")
        assert health(place) == (0, "healthy\n")
        answer = captiond("explain", "--json", "-c", place.settings, "one.jpg")
        assert json.loads(answer.stdout)["is_known"] is True


def test_one_learns_of_pictures_that_somebody_took_away(tmp_path: Path, jpeg: bytes) -> None:
    """The history knows them by either path; without it they are unknown, and none is made."""
    with FakeChatServer() as server:
        openai = {"backend": "openai", "id": server.model_id, "base_url": server.url}
        watch = {"settle_seconds": 0.2, "incomplete_after_seconds": 0.5}
        place = Place(tmp_path, {"model": openai, "watch": watch})
        place.drop(jpeg, "trip/one.jpg")
        place.drop(jpeg, "two.jpg")
        place.drop(jpeg[: len(jpeg) // 2], "bad.jpg")
        assert place.once().returncode == 1
    caption = place.sidecar("trip/one.jpg")["caption"]
    for file in (*place.done.rglob("one.jpg*"), *place.failed.glob("bad.jpg*")):
        file.unlink()
    (place.done / "two.jpg.caption.json").unlink()
    settings = load(place.settings, {}, tmp_path)

    def told(path: str | Path) -> str:
        found = inspect.explain(settings, Path(path), tmp_path)
        return f"{found.message} {found.advice}"

    assert [status(place)["counts"][name] for name in ("done", "failed", "waiting")] == [2, 1, 0]
    assert f"UTC by fake-vision: {caption}" in explain(place, "trip/one.jpg")
    for path in ("trip/one.jpg", place.done / "trip/one.jpg.caption.json"):
        assert f"UTC by fake-vision: {caption}" in told(path) and "is not there any more" in told(path)
    assert "there without its record" in told("two.jpg")
    assert "It failed on" in told(place.inbox / "bad.jpg") and "never became whole" in told("bad.jpg")
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    assert "is not known" in told("trip/one.jpg")
    assert inspect.status(settings).counts["done"] == 0
    assert list((tmp_path / "state").iterdir()) == []


def test_what_a_file_waits_for_is_told(place: Place, jpeg: bytes) -> None:
    """A file that somebody still writes, and one that is not whole, are told apart."""
    with place.running() as daemon, (place.inbox / "held.jpg").open("wb") as writer:
        writer.write(jpeg)
        writer.flush()
        place.drop(jpeg[: len(jpeg) // 2], "half.jpg")
        daemon.until(lambda: status(place)["counts"]["settling"] == 2)
        daemon.until(lambda: "not whole yet" in explain(place, "half.jpg"))
        daemon.until(lambda: "held by a writer" in explain(place, "held.jpg"))


def test_a_paused_daemon_says_why_and_is_not_healthy(
    place: Place, server: FakeChatServer, jpeg: bytes
) -> None:
    """With its server in trouble it pauses; `status`, `explain` and `health` all name the reason."""
    with place.running() as daemon:
        server.always = fails(503)
        place.drop(jpeg, "one.jpg")
        daemon.until(lambda: status(place)["state"] == "paused")
        assert "503" in status(place)["pause_reason"]
        assert "503" in explain(place, "one.jpg")
        code, said = health(place)
        assert code == 1 and said.startswith("unhealthy: paused")


def test_a_killed_daemon_is_not_taken_for_a_living_one(tmp_path: Path, place: Place) -> None:
    """Its socket stays behind; nobody answers there, and the next daemon takes its place."""
    with pytest.raises(AssertionError), place.running() as daemon:
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait()
        assert status(place)["state"] == "stopped"
        assert health(place)[0] == 1
    (tmp_path / "daemon.log").unlink()
    with place.running():
        assert health(place) == (0, "healthy\n")
    assert not list((tmp_path / "state").glob("*.sock"))


def test_a_daemon_in_a_deep_folder_can_be_asked(tmp_path: Path, server: FakeChatServer) -> None:
    """An address longer than a socket's may be is no obstacle."""
    place = Place(tmp_path / ("d" * 60) / ("e" * 60), {"model": server.settings})
    with place.running():
        assert health(place) == (0, "healthy\n")
