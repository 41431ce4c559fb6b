"""`status`, `explain` and `health`, asked from a second process: of daemons that run, pause, or are dead."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from captiond.commands import inspect
from captiond.commands.status import duration, moment
from captiond.settings import load
from daemon_process import Place, captiond, environment
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


def test_health_asks_before_it_imports(tmp_path: Path, server: FakeChatServer) -> None:
    """Of a daemon that runs by our settings one learns without what checks settings, logs or decodes."""
    place = Place(tmp_path, {"model": server.settings})
    with place.running():
        for command in ("health", "status"):
            asked = subprocess.run(
                [sys.executable, "-X", "importtime", "-m", "captiond", command, "-c", str(place.settings)],
                capture_output=True,
                text=True,
                env=environment(),
                check=True,
            )
            imported = {line.rpartition("|")[2].strip() for line in asked.stderr.splitlines()}
            assert "captiond.status" in imported
            assert not imported & {"pydantic", "structlog", "yaml", "PIL", "torch", "watchdog", "sqlite3"}


def test_status_still_says_what_is_wrong_with_settings(tmp_path: Path, server: FakeChatServer) -> None:
    """A file that was changed since the daemon read it is read in full: a mistake in it is named, 78."""
    place = Place(tmp_path, {"model": server.settings})
    with place.running():
        assert health(place) == (0, "healthy\n")
        place.settings.write_text(place.settings.read_text() + "\n")
        assert health(place) == (0, "healthy\n")
        mistaken = captiond("status", "-c", place.settings, CAPTIOND_WATCH__SETTLE_SECS="1")
        assert mistaken.returncode == 78 and "SETTLE_SECONDS" in mistaken.stderr
        values = json.loads(place.settings.read_text())
        place.settings.write_text(json.dumps(values | {"wach": {}}))
        for command in ("status", "health"):
            refused = captiond(command, "-c", place.settings)
            assert refused.returncode == 78 and "`wach`" in refused.stderr


@pytest.mark.parametrize("command", [("explain", "a.jpg"), ("retry",), ("status",), ("retry", "a.jpg")])
def test_folders_that_do_not_exist_are_said_so(tmp_path: Path, command: tuple[str, ...]) -> None:
    """75 and one true sentence, whatever was asked; nothing is made."""
    settings = tmp_path / "captiond.yaml"
    folders = {name: name for name in ("inbox", "done", "failed", "state")}
    settings.write_text(json.dumps({"folders": folders, "model": {"id": "demo"}}))
    told = captiond(*command, "-c", settings)
    assert (told.returncode, told.stdout) == (75, "")
    assert f"folders.inbox ({tmp_path / 'inbox'}) does not exist" in told.stderr
    assert "Traceback" not in told.stderr and [settings] == list(tmp_path.iterdir())


def test_each_result_folder_is_missed_by_its_name(place: Place) -> None:
    """A path in done/ or failed/ is explained by that folder, or by its not being there."""
    place.done.rmdir()
    place.failed.rmdir()
    for folder in ("done", "failed"):
        told = captiond("explain", "-c", place.settings, place.root / folder / "a.jpg")
        assert told.returncode == 75 and f"folders.{folder} (" in told.stderr
    assert "folders.failed" in captiond("retry", "-c", place.settings).stderr


def test_what_waits_for_its_rest_is_told_apart(tmp_path: Path, server: FakeChatServer, jpeg: bytes) -> None:
    """A file that is not whole is counted by itself, with the time until it is given up, and nobody is told
    when the work will be finished for what cannot move; the log says once that it waits."""
    place = Place(tmp_path, {"model": server.settings})
    with place.running() as daemon:
        place.drop(jpeg, "one.jpg")
        place.drop(jpeg[: len(jpeg) // 2], "half.jpg")
        daemon.until(
            lambda: "waiting for the rest of a file" in daemon.log() and not place.left_in_inbox()[1:]
        )
        found = status(place)
        assert (found["counts"]["settling"], found["counts"]["incomplete"]) == (1, 1)
        assert not found["seconds_to_finish"] and 500 < found["gives_up_seconds"] <= 600
        said = captiond("status", "-c", place.settings).stdout
        assert "0 waiting, 0 settling, 1 not whole (given up in 9:" in said and "left" not in said
        assert "given up in 9:" in explain(place, "half.jpg")
        time.sleep(2.5)  # two rounds of upkeep
        assert daemon.log().count("waiting for the rest of a file") == 1


def test_once_has_its_patience(place: Place, jpeg: bytes) -> None:
    """`--once --patience 1s` serves what is whole, waits a second for the rest, and leaves it: 1."""
    place.drop(jpeg, "one.jpg")
    place.drop(jpeg[: len(jpeg) // 2], "half.jpg")
    began = time.monotonic()
    finished = captiond("run", "--once", "--patience", "1s", "-c", place.settings)
    assert finished.returncode == 1 and time.monotonic() - began < 30
    assert place.left_in_inbox() == ["half.jpg"] and place.sidecar("one.jpg")
    assert "not whole" in finished.stderr
    for wrong in (("--once", "--patience", "soon"), ("--patience", "1s")):
        assert captiond("run", *wrong, "-c", place.settings).returncode == 2


def test_explain_opens_regular_files_only(place: Place, jpeg: bytes) -> None:
    """Pipes, devices, links and endless files in the place of records neither hang nor fill it."""
    for name in ("pipe.jpg", "huge.jpg", "deep.jpg", "link.jpg", "folder.jpg"):
        (place.done / name).write_bytes(jpeg)
        (place.failed / name).write_bytes(jpeg)
    for folder, suffix in ((place.done, ".caption.json"), (place.failed, ".error.json")):
        os.mkfifo(folder / f"pipe.jpg{suffix}")
        with (folder / f"huge.jpg{suffix}").open("wb") as huge:
            huge.truncate(8 << 40)
        (folder / f"deep.jpg{suffix}").write_bytes(b"[" * 1_000_000)
        (folder / f"link.jpg{suffix}").symlink_to("/dev/zero")
        (folder / f"folder.jpg{suffix}").mkdir()
        for name in ("pipe.jpg", "huge.jpg", "deep.jpg", "link.jpg", "folder.jpg"):
            assert "was not put there by it" in _told(place, folder / name)
            assert "is not known" in _told(place, name)
    os.mkfifo(place.inbox / "pipe.jpg")
    assert "a FIFO" in explain(place, "pipe.jpg")
    for path in ("../../../etc/passwd", "/etc/passwd", "..", "."):
        assert "is not known" in _told(place, path)
    assert "is not known" in explain(place, "/dev/zero", code=1)


def _told(place: Place, path: Path | str) -> str:
    """What `captiond explain` says, without a process for each question."""
    return inspect.explain(load(place.settings, {}, place.root), Path(path), place.root).message


def test_times_are_told_as_the_clock_on_the_wall_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local time first, UTC beside it where it is another; what is no time is shown as it is."""
    at = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    for zone, told in (
        ("UTC", "2026-11-23 23:30 UTC"),
        ("CET-1", "2026-11-24 00:30 CET, 2026-11-23 23:30 UTC"),
        ("EST5", "2026-11-23 18:30 EST, 23:30 UTC"),
    ):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert moment(at) == moment(at.isoformat()) == told
    monkeypatch.undo()
    time.tzset()
    assert moment("yesterday") == "yesterday"
    assert [duration(seconds) for seconds in (0.2, 9, 590, 3600)] == ["0:01", "0:09", "9:50", "1:00:00"]


def test_watch_keeps_the_status_up_to_date(place: Place, jpeg: bytes) -> None:
    """On a terminal it is shown again and again until Ctrl-C; elsewhere only with --json."""
    refused = captiond("status", "--watch", "-c", place.settings)
    assert refused.returncode == 2 and "--json" in refused.stderr
    ours, theirs = pty.openpty()
    # A shell that runs all this in the background has it ignore Ctrl-C.
    heeding = ["env", "--default-signal=INT", sys.executable, "-m", "captiond"]
    watching = subprocess.Popen(
        [*heeding, "status", "--watch", "-c", str(place.settings)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm", COLUMNS="120"),
    )
    os.close(theirs)
    shown = b""

    def until(wanted: bytes) -> None:
        nonlocal shown
        while wanted not in shown:
            shown += os.read(ours, 65536)

    until(b"0 waiting")
    place.drop(jpeg, "one.jpg")
    until(b"1 waiting")
    watching.send_signal(signal.SIGINT)
    # To the end (EIO), or what nobody reads holds its writer.
    with contextlib.suppress(OSError):
        while os.read(ours, 65536):
            pass
    assert watching.wait(30) == 0
    os.close(ours)
