"""exiftool, kept open: started at need, asked by many, ended with the daemon, and never trusted."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pillow_heif
import pytest

from captiond import exiftool
from captiond.demo.scenes import draw, random_scene
from captiond.exiftool import Exiftool
from captiond.metadata.refusal import Refused
from daemon_process import PATIENCE_SECONDS, Place, environment
from fake_chat_server import FakeChatServer
from fake_exiftool import FakeExiftool

DATA, BLOCK = b"a picture\n0\n{ready}\n", b"II*\0 and so on"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeExiftool:
    fake = FakeExiftool(tmp_path)
    monkeypatch.setenv("PATH", fake.path)
    return fake


@pytest.fixture
def tool() -> Iterator[Exiftool]:
    tool = Exiftool()
    yield tool
    tool.close()


def refused(tool: Exiftool) -> str:
    with pytest.raises(Refused) as refusal:
        tool.place(DATA, BLOCK)
    return str(refusal.value)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_one_process_serves_all(fake: FakeExiftool, tool: Exiftool) -> None:
    """It is started for the first file, serves those that follow, and is gone when it is closed."""
    assert not fake.processes
    for number in range(5):
        data = DATA * (5 - number)  # a shorter file leaves nothing of a longer one behind
        assert tool.place(data, BLOCK) == data + BLOCK
    assert len(fake.processes) == len(fake.alive) == 1
    tool.close()
    assert not fake.alive


def test_after_closing_there_is_another(fake: FakeExiftool, tool: Exiftool) -> None:
    """Closing twice, or asking afterwards, does no harm."""
    for _ in range(2):
        assert tool.place(DATA, BLOCK) == DATA + BLOCK
        tool.close()
        tool.close()
    assert len(fake.processes) == 2


def test_any_bytes_come_back(fake: FakeExiftool, tool: Exiftool) -> None:
    """An answer ends where it says so, whatever it holds, and however long it is."""
    for data in (b"", b"\n" * 99, bytes(range(256)) * 9000, b"0\n{ready123}\n" * 9):
        assert tool.place(data, BLOCK) == data + BLOCK


def test_many_threads_may_ask(fake: FakeExiftool, tool: Exiftool) -> None:
    """Each gets the answer to its own question, from one process."""
    blocks = [b"block %d" % number for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda block: tool.place(DATA, block), blocks))
    assert answers == [DATA + block for block in blocks]
    assert len(fake.processes) == 1


def test_it_is_started_anew_after_some_files(fake: FakeExiftool) -> None:
    """What one process may pile up is bounded."""
    tool = Exiftool(files_each=2)
    for _ in range(5):
        assert tool.place(DATA, BLOCK) == DATA + BLOCK
    assert (len(fake.processes), len(fake.alive)) == (3, 1)
    tool.close()


def test_it_can_reach_no_file(fake: FakeExiftool, tool: Exiftool) -> None:
    """No name of a file is told to it, and what it has open has no name in any folder."""
    fake.does("answer = b'\\n'.join([os.fsencode(one) for one in arguments])")
    told = tool.place(DATA, BLOCK).decode().splitlines()
    paths = [one.removeprefix("-EXIF<=") for one in told if "/" in one]
    assert len(paths) == 2
    assert all(path.startswith("/dev/fd/") for path in paths)
    (process,) = fake.alive
    opened = [str(Path(f"/proc/{process}{path.removeprefix('/dev')}").readlink()) for path in paths]
    assert all(name.endswith(" (deleted)") for name in opened), opened


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.kill(os.getpid(), 9)", "exit status -9"),
        ("raise SystemExit(1)", "exit status 1"),
        ("os.close(1); time.sleep(0.1); os._exit(3)", "exit status 3"),
        ("status = 1", "could not write"),
        ("status = 10", "could not write"),
        ("say(b'x' * (2 << 20)); time.sleep(600)", "says too much"),
        ("answer = bytes(2 << 20)", "says too much"),
    ],
)  # fmt: skip
def test_one_that_fails(body: str, reason: str, fake: FakeExiftool, tool: Exiftool) -> None:
    """However it fails, the reason is told, nothing is left of it, and the next file is asked of another."""
    fake.does(body)
    assert reason in refused(tool)
    assert not fake.alive
    fake.does("pass")
    assert tool.place(DATA, BLOCK) == DATA + BLOCK
    assert len(fake.processes) == 2


@pytest.mark.parametrize("body", ["raise SystemExit(1)", "status = 1", "answer = bytes(2 << 20)"])
def test_what_it_met_before_does_not_decide(body: str, fake: FakeExiftool, tool: Exiftool) -> None:
    """A file at which a process fails that served another one is asked of a new one."""
    fake.does(f"if nth:\n        {body}")
    for _ in range(3):
        assert tool.place(DATA, BLOCK) == DATA + BLOCK
    assert (len(fake.processes), len(fake.alive)) == (3, 1)


def test_one_that_was_ended_by_somebody(fake: FakeExiftool, tool: Exiftool) -> None:
    """Memory running out may end it between two files, which no file is to suffer for."""
    tool.place(DATA, BLOCK)
    (process,) = fake.alive
    os.kill(process, signal.SIGKILL)
    until(lambda: not fake.alive)
    assert tool.place(DATA, BLOCK) == DATA + BLOCK


def test_one_that_hangs(fake: FakeExiftool) -> None:
    """It is ended after its time, with what it started, and the next file is asked of another."""
    tool = Exiftool(timeout_seconds=2)
    fake.does("os.fork() or note(); time.sleep(600)")
    assert refused(tool) == "exiftool did not answer within 2 s"
    until(lambda: not fake.alive)
    fake.does("pass")
    assert tool.place(DATA, BLOCK) == DATA + BLOCK
    tool.close()


def test_one_that_cannot_be_started(fake: FakeExiftool, tool: Exiftool) -> None:
    """A program of another machine's kind is a reason, not an error."""
    fake.write(b"\x7fELF nonsense")
    assert "could not be asked" in refused(tool)


def test_none_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Exiftool) -> None:
    """Where there is none, that is told."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "exiftool is not installed" in refused(tool)
    assert exiftool.version() is None


def test_no_room_for_the_copies(
    fake: FakeExiftool, tool: Exiftool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for temporary files nothing is written, which is told, and nothing is left open."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert "could not be asked" in refused(tool)
    assert not fake.processes


@pytest.mark.parametrize("when", ["it waits", "it works"])
def test_it_ends_with_the_daemon(when: str, fake: FakeExiftool) -> None:
    """A daemon that is killed leaves no exiftool behind, whether it waits for a file or works on one."""
    asked = fake.folder / "asked"
    fake.does(f"open({str(asked)!r}, 'x').close(); time.sleep({0 if when == 'it waits' else 600})")
    program = (
        "import time; from captiond.exiftool import Exiftool; tool = Exiftool();"
        f" tool.place({DATA!r}, {BLOCK!r}); time.sleep(600)"
    )
    daemon = subprocess.Popen([sys.executable, "-c", program], env=environment(PATH=fake.path))
    until(asked.exists)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    until(lambda: not fake.alive)


def test_a_daemon_has_one_and_ends_it(tmp_path: Path) -> None:
    """A running daemon asks one process about all HEICs, and it is gone when the daemon has stopped.

    This exiftool writes nothing, so the pictures are delivered as they were."""
    fake = FakeExiftool(tmp_path, "answer = picture")
    out = io.BytesIO()
    pillow_heif.from_pillow(draw(random_scene(random.Random(1), 2), 64, 48)).save(out)
    with FakeChatServer() as server:
        model = {"backend": "openai", "id": server.model_id, "base_url": server.url}
        place = Place(tmp_path, {"model": model})
        with place.running(PATH=fake.path) as running:
            for number in range(4):
                place.drop(out.getvalue(), f"{number}.heic")
            running.until(lambda: len(list(place.done.glob("*.caption.json"))) == 4)
            assert len(fake.alive) == 1
    assert not fake.alive
    one, _ = place.sidecar("0.heic")["written"]  # and what lies beside it
    assert (one["action"], one["reason"]) == ("refused", "exiftool did not write the caption")
    assert (place.done / "0.heic").read_bytes() == out.getvalue()
