"""Clients that hold on, that send too much or too slowly, and crowds: each costs nobody but itself."""

from __future__ import annotations

import io
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from PIL import Image

from captiond.web.arrival import Limits, most_connections
from daemon_process import Place, Running
from fake_chat_server import FakeChatServer
from opened_door import SWIFT, Opened, opened, until_closed, upload, within

HEAD = b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n"
DESCRIPTORS = 256


def png(width: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, 16), "gray").save(buffer, "PNG")
    return buffer.getvalue()


def drip(connection: socket.socket, data: bytes, *, each_seconds: float) -> float:
    """Send a byte at a time until the other side has had enough; how long that took."""
    began = time.monotonic()
    try:
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(each_seconds)
    except ConnectionError:
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("said", [b"", b"GET", HEAD, HEAD + b"X-Slow: "])
def test_a_request_that_does_not_begin_is_not_waited_for(said: bytes) -> None:
    """Silence is closed silently; half a head is told that it took too long."""
    with opened() as door, door.connect(said) as connection:
        began = time.monotonic()
        answer = until_closed(connection)
        assert 0.3 < time.monotonic() - began < 5
        assert answer == b"" if not said.strip() else answer.startswith(b"HTTP/1.1 408 ")


def test_a_head_that_drips_is_cut_off() -> None:
    """A byte now and then does not buy any time, also in a connection that has had an answer."""
    for first in (b"", HEAD + b"\r\n"):
        with opened() as door, door.connect(first) as connection:
            if first:
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            assert drip(connection, HEAD + b"A: b\r\n" * 1000, each_seconds=0.05) < 5


@pytest.mark.parametrize("kept", [0, 60_000])
def test_a_body_that_stalls_or_drips_is_told_so(kept: int) -> None:
    """408, after a time that grows with what came; nothing of it is held any more."""
    whole = upload(b"0" * 100_000)
    with opened() as door:
        with door.connect(whole[: 300 + kept]) as connection:
            assert until_closed(connection).startswith(b"HTTP/1.1 408 ")
        with door.connect(whole[:300]) as connection:
            assert drip(connection, whole[300:], each_seconds=0.05) < 5
        assert door.model.asked == 0 and door.say(whole).startswith(b"HTTP/1.1 200 ")


def test_a_slow_line_is_served() -> None:
    """What comes steadily at a modest speed may take as long as it needs."""
    whole = upload(b"0" * 300_000)
    with opened() as door, door.connect() as connection:
        began = time.monotonic()
        for at in range(0, len(whole), 25_000):
            connection.sendall(whole[at : at + 25_000])
            time.sleep(0.12)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - began > 2 * SWIFT.body_seconds


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    """The connection is closed under a client that asks for much and reads nothing."""
    asks = b"GET /docs/files/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20
    with opened() as door, door.connect() as connection:
        connection.sendall(asks)
        time.sleep(3)
        taken = len(until_closed(connection))  # what the kernel had taken by then
        assert 100_000 < taken < 16_000_000
        assert door.is_well()


def test_what_is_sent_after_the_answer_ends() -> None:
    """Whoever was refused and sends on and on is cut off."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    with opened() as door, door.connect(head) as connection:
        assert drip(connection, b"1\r\nx\r\n" * 1000, each_seconds=0.02) < 5


def test_sixty_slow_captions_hold_up_nobody() -> None:
    """Health, metrics, the page and its API answer at once meanwhile."""
    with opened() as door, ThreadPoolExecutor(60) as people:
        door.model.may_answer.clear()
        asking = [people.submit(door.say, upload(b"a picture")) for _ in range(60)]
        assert within(10, lambda: door.model.asked >= 40)
        for path in ("/healthz", "/metrics", "/api/status", "/api/pictures", "/", "/page/page.js"):
            began = time.monotonic()
            assert door.client.get(path).status_code == 200
            assert time.monotonic() - began < 2, path
        door.model.may_answer.set()
        # They ask to keep the connection, which is closed a while after the answer.
        assert all(b"200 OK" in one.result(30) for one in asking)


def test_all_uploads_together_are_bounded() -> None:
    """503 with Retry-After beyond the budget, whether announced or not; given back when they are answered."""
    limits = Limits(body_seconds=20, uploads_bytes=3_000_000)
    with opened(limits=limits) as door, ThreadPoolExecutor(12) as people:
        door.model.may_answer.clear()
        waiting = [people.submit(_post, door, 900_000) for _ in range(3)]
        assert within(10, lambda: door.model.asked == 3)
        for is_announced in (True, False):
            refused = _post(door, 900_000, is_announced=is_announced)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
            assert "uploaded" in refused.json()["detail"]
        assert door.is_well() and _put(door).status_code != 503
        door.model.may_answer.set()
        answers = [one.result(30) for one in waiting]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert _post(door, 900_000).status_code == 200


def _post(door: Opened, size: int, *, is_announced: bool = True) -> httpx.Response:
    whole = upload(b"0" * size)
    body = whole[whole.index(b"\r\n\r\n") + 4 :]
    pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with httpx.Client(base_url=door.client.base_url, trust_env=False, timeout=30) as client:
        return client.post("/infer", content=body if is_announced else pieces, headers=headers)


def _put(door: Opened) -> httpx.Response:
    return door.client.put("/api/pictures/1/caption", json={"wrong": 1})


def test_only_uploads_may_be_large() -> None:
    """What else has a body is a few words: 413."""
    with opened(limits=Limits()) as door:
        answer = door.client.put("/api/pictures/1/caption", json={"caption": "x" * 100_000})
        assert answer.status_code == 413
        assert door.client.put("/healthz", content=b"0" * 100_000).status_code == 413


def test_the_door_keeps_well_below_the_limit_of_open_files() -> None:
    """A quarter at most, and never more than it can make use of."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for limit, most in ((DESCRIPTORS, 64), (1024, 256), (4096, 512)):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            assert most_connections() == most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_silent_connections_stop_neither_door_nor_inbox(tmp_path: Path, server: FakeChatServer) -> None:
    """Three times what the daemon may open: others are answered, pictures delivered, the log is small."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    place = Place(tmp_path, {"model": server.settings, "http": {"listen": f"127.0.0.1:{port}"}})
    daemon = Running(place, {})
    with ExitStack() as closing:
        closing.callback(daemon.process.wait)
        closing.callback(daemon.process.kill)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        daemon.until(lambda: "watching" in daemon.log())
        told_before = len(daemon.log())
        for number in range(3 * DESCRIPTORS):
            said = (b"", HEAD, b"POST /infer HTTP/1.1\r\n")[number % 3]
            connection = closing.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            with suppress(ConnectionError):
                connection.sendall(said)
            if number % DESCRIPTORS == 0:
                place.drop(png(20 + number), f"{number}.png")
                health = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10, trust_env=False)
                assert health.status_code == 200, health.text
        daemon.until(lambda: len(list(place.done.glob("*.caption.json"))) == 3)
        told = daemon.log()[told_before:]
        assert "Too many open files" not in told and "paused" not in told and len(told) < 10_000


def test_the_limit_of_open_files_is_raised(place: Place) -> None:
    """To what the process may have; the usual soft limit is for programs of another age."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        with place.running() as daemon:
            assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
