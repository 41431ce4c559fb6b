"""The control socket: whoever may connect is answered or let go, and nothing they send ends its thread."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from captiond.errors import Surroundings
from captiond.service import client, control
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer

HOSTILE = [
    b"[]\n",
    b"null\n",
    b"7\n",
    b'"status"\n',
    b"\n",
    b"{}\n",
    b'{"ask": 7}\n',
    b'{"ask": ["status"]}\n',
    b'{"ask": {"ask": "status"}}\n',
    b'{"ask": "everything"}\n',
    b'{"ask": "explain"}\n',
    b'{"ask": "explain", "path": []}\n',
    b'{"ask": "explain", "path": {"a": 1}}\n',
    b'{"ask": "explain", "path": ""}\n',
    b'{"ask": "explain", "path": "a\\u0000b.jpg"}\n',
    b'{"ask": "explain", "path": "\\ud83d.jpg"}\n',
    b'{"ask": "explain", "path": "../../../etc/shadow"}\n',
    b'{"ask": "explain", "path": "/etc/shadow"}\n',
    b'{"ask": "explain", "path": "' + b"a/" * 30_000 + b'x.jpg"}\n',
    b'{"ask": "explain", "path": "' + b"a" * 60_000 + b'.jpg"}\n',
    b"[" * 60_000 + b"\n",
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"\n",
    b'{"ask": ' + b"9" * 50_000 + b"}\n",
    b'{"ask": NaN}\n',
    b"x" * 200_000,
    b"x" * 200_000 + b"\n",
    bytes(range(256)) * 16 + b"\n",
    b"\xff\xfe\x00[\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b'{"ask": "status"',
]


def connected(state: Path) -> socket.socket:
    (place,) = state.glob("control-*.sock")
    asker = socket.socket(socket.AF_UNIX)
    asker.connect(str(place))
    asker.settimeout(30.0)
    return asker


def answered(state: Path, sent: bytes) -> bytes:
    """All that comes back until the daemon lets go."""
    with connected(state) as asker:
        try:
            asker.sendall(sent)
            asker.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it did not want to hear all of it
        heard = b""
        try:
            while some := asker.recv(65536):
                heard += some
        except ConnectionResetError:
            pass
        return heard


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    state, inbox = tmp_path / "state", tmp_path / "inbox"
    state.mkdir()
    inbox.mkdir()
    return state, inbox


@pytest.fixture
def listening(folders: tuple[Path, Path]) -> Iterator[tuple[Path, Path]]:
    """A socket that answers `status` at once and is slow to look at `slow.jpg`."""

    def status(question: Mapping[str, Any]) -> dict[str, Any]:
        return {"status": "well"}

    def explain(question: Mapping[str, Any]) -> dict[str, Any]:
        if question.get("path") == "slow.jpg":
            time.sleep(1.5)
        if question.get("path") == "gone.jpg":
            raise Surroundings("the inbox is away")
        return {"standing": question.get("path")}

    with control.answering(*folders, {"status": status, "explain": explain}):
        yield folders


@pytest.mark.parametrize("sent", HOSTILE, ids=lambda sent: repr(sent[:24]))
def test_whatever_is_sent_is_answered_or_let_go(listening: tuple[Path, Path], sent: bytes) -> None:
    """The answer is one line of JSON or nothing, and the next question is answered as if nothing had been."""
    heard = answered(listening[0], sent)
    assert heard == b"" or isinstance(json.loads(heard), dict)
    assert client.ask(*listening, {"ask": "status"}) == {"status": "well"}


def test_what_is_no_question_is_told_so(listening: tuple[Path, Path]) -> None:
    """Whoever writes a client learns what is wrong with the question."""
    assert "object" in json.loads(answered(listening[0], b"[]\n"))["error"]
    assert "status, explain" in json.loads(answered(listening[0], b'{"ask": "x"}\n'))["error"]
    with pytest.raises(Surroundings, match="status, explain"):
        client.ask(*listening, {"ask": "x"})
    with pytest.raises(Surroundings, match="inbox is away"):
        client.ask(*listening, {"ask": "explain", "path": "gone.jpg"})


def test_silent_clients_keep_nobody_waiting(listening: tuple[Path, Path]) -> None:
    """Hundreds that connect and say nothing, or a letter: a question is still answered at once."""
    with ExitStack() as open_ones:
        for _ in range(3 * control.MOST_CONNECTIONS):
            open_ones.enter_context(connected(listening[0])).sendall(b"{")
        began = time.monotonic()
        assert client.ask(*listening, {"ask": "status"}) == {"status": "well"}
        assert time.monotonic() - began < control.LISTENING_SECONDS


def test_a_question_has_a_time_to_arrive(listening: tuple[Path, Path]) -> None:
    """A letter now and then does not keep a connection open for ever."""
    with connected(listening[0]) as slow:
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < began + 10 * control.LISTENING_SECONDS:
                slow.sendall(b" ")
                time.sleep(0.1)
        assert time.monotonic() - began < 5 * control.LISTENING_SECONDS


def test_a_look_that_hangs_keeps_no_status_waiting(listening: tuple[Path, Path]) -> None:
    """`explain` may wait for a lost mount; `health` does not, and not many may wait at once."""
    question = b'{"ask": "explain", "path": "slow.jpg"}\n'
    with ExitStack() as open_ones:
        for _ in range(8):
            open_ones.enter_context(connected(listening[0])).sendall(question)
        began = time.monotonic()
        assert client.ask(*listening, {"ask": "status"}) == {"status": "well"}
        assert time.monotonic() - began < 1.0
        assert "ask again" in json.loads(answered(listening[0], question))["error"]


def test_whoever_leaves_early_is_no_trouble(listening: tuple[Path, Path]) -> None:
    """Connections that are reset in the middle of a question or before the answer end nothing."""
    for sent in (b"", b"{", b'{"ask": "status"}\n', b'{"ask": "explain", "path": "a.jpg"}\n'):
        for _ in range(20):
            connected(listening[0]).close()
            with connected(listening[0]) as asker:
                asker.sendall(sent)
    assert client.ask(*listening, {"ask": "status"}) == {"status": "well"}


def test_the_sockets_mode_is_the_gate(listening: tuple[Path, Path]) -> None:
    """User and group may ask, nobody else; the socket goes when the daemon goes."""
    (place,) = listening[0].glob("control-*.sock")
    assert stat.S_IMODE(place.stat().st_mode) == 0o660


def test_a_state_folder_that_went_away_is_no_traceback(folders: tuple[Path, Path]) -> None:
    """The end of a daemon whose state folder was taken away is an ordinary end."""
    with control.answering(*folders, {"status": lambda question: {}}):
        folders[0].rename(folders[0].with_name("elsewhere"))
    assert not [thread for thread in threading.enumerate() if thread.name == "control" and thread.is_alive()]


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"[]\n", b"nonsense\n", b"[" * 100_000, b"x" * 3_000_000, b'{"version": "9"}\n',
        b'{"status": {"state": "dancing"}}\n', b'{"status": []}\n', b'{"error": ["what"]}\n',
    ],
    ids=lambda line: repr(line[:20]),
)  # fmt: skip
def test_an_answer_is_checked_before_it_is_believed(tmp_path: Path, line: bytes) -> None:
    """A daemon of another version, or somebody else at its socket, is told in a sentence: 75."""
    place = Place(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "state" / client.name_of(place.inbox)))
        listener.listen()

        def talk() -> None:
            for _ in range(4):
                try:
                    asker, _ = listener.accept()
                except OSError:
                    return
                with asker:
                    asker.recv(4096)
                    try:
                        asker.sendall(line)
                    except OSError:
                        continue

        talking = threading.Thread(target=talk)
        talking.start()
        status, explained = (
            captiond("status", "-c", place.settings),
            captiond("explain", "a.jpg", "-c", place.settings),
        )
        listener.shutdown(socket.SHUT_RDWR)
        talking.join()
    for finished in (status, explained):
        assert finished.returncode == 75, finished.stdout
        assert "Traceback" not in finished.stderr and str(place.inbox) in finished.stderr


def test_a_real_daemon_stays_healthy(tmp_path: Path, server: FakeChatServer) -> None:
    """Everything hostile, and silent ones all the while: `health` says healthy, and a stop is a stop."""
    place = Place(tmp_path, {"model": server.settings})
    with place.running() as daemon, ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(connected(tmp_path / "state"))
        for sent in HOSTILE:
            answered(tmp_path / "state", sent)
        healthy = captiond("health", "-c", place.settings)
        assert (healthy.returncode, healthy.stdout) == (0, "healthy\n"), daemon.log()
        assert "Traceback" not in daemon.log()
        assert "not known" in captiond("explain", "x" * 300 + ".jpg", "-c", place.settings).stderr
        os.kill(daemon.process.pid, signal.SIGTERM)
        assert daemon.process.wait(30) == 0
