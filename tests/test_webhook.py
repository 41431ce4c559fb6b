"""Promises about the webhook: every picture is told of, a bad server costs notices and nothing else."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from PIL import Image

from captiond import webhook
from captiond.records import Outcome, Timings
from captiond.webhook import Webhook, why_unreachable
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer

OUTCOME = Outcome(
    path=os.fsdecode(b"trip/\xff.jpg"),
    folder="done",
    delivered="trip/one.jpg",
    at=datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC),
    sha256="ab" * 32,
    caption="Ein Bär.",
    model="demo",
    timings=Timings(0.1, 0.2, 0.3, 0.4),
)


class Receiver:
    """A small real server that fails as it is told, then takes what it gets."""

    def __init__(self, *fails: int | float | dict[str, str]) -> None:
        """`fails`: a status, with 429's Retry-After as a mapping, or seconds to say nothing for."""
        self.fails: list[Any] = list(fails)
        self.tried: list[float] = []  # when, on the monotonic clock
        self.got: list[dict[str, Any]] = []
        self.authorizations: set[str | None] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.tried.append(time.monotonic())
                receiver.authorizations.add(self.headers["Authorization"])
                fail = receiver.fails.pop(0) if receiver.fails else 204
                if isinstance(fail, float):
                    time.sleep(fail)
                    self.close_connection = True
                    return
                if fail == 204:
                    receiver.got.append(told)
                self.send_response(429 if isinstance(fail, dict) else fail)
                for name, value in fail.items() if isinstance(fail, dict) else ():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_HEAD(self) -> None:
                self.send_response(405)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Tests speak for themselves."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook?room=1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def telling(url: str, **more: Any) -> Iterator[Webhook]:
    told = Webhook(url, **more)
    try:
        yield told
    finally:
        told.close()


def wait_until_told(told: Webhook) -> None:
    """Until nothing waits any more."""
    ends = time.monotonic() + 20
    while told.waiting:
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of an outage, a hundred times shorter."""
    monkeypatch.setattr(webhook, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(webhook, "LONGEST_WAIT_SECONDS", 0.04)


def test_a_server_that_fails_first_gets_everything_in_order() -> None:
    """Errors, a hang-up and "too many requests" are tried again, and later notices wait behind."""
    with Receiver(500, 0.0, 503, {"Retry-After": "0.3"}, 408) as receiver:
        with telling(receiver.url, token="s3cret") as told:
            for number in range(3):
                told.tell(Outcome(f"{number}.jpg", "done", f"{number}.jpg", OUTCOME.at))
            wait_until_told(told)
            assert told.results == {"delivered": 3, "refused": 0, "dropped": 0}
        assert [notice["path"] for notice in receiver.got] == ["0.jpg", "1.jpg", "2.jpg"]
        assert receiver.tried[4] - receiver.tried[3] >= 0.3
        assert receiver.authorizations == {"Bearer s3cret"}


def test_a_notice_says_what_became_of_the_picture() -> None:
    """Where it lay and lies, its sidecar, the words; JSON throughout, and the same id whenever it is sent."""
    told = webhook.notice(OUTCOME)
    assert json.loads(json.dumps(told, allow_nan=False).encode()) == told
    assert (told["event"], told["path"], told["path_hex"]) == (
        "captioned",
        "trip/�.jpg",
        b"trip/\xff.jpg".hex(),
    )
    assert (told["folder"], told["delivered"]) == ("done", "trip/one.jpg")
    assert told["sidecar"] == "trip/one.jpg.caption.json"
    assert (told["caption"], told["model"], told["at"]) == ("Ein Bär.", "demo", "2026-11-25T12:00:00Z")
    assert told["id"] == webhook.notice(OUTCOME)["id"]
    assert not {"fields", "needs_look"} & told.keys()
    more = webhook.notice(replace(OUTCOME, fields={"title": "Der Bär"}, needs_look=True))
    assert (more["fields"], more["needs_look"]) == ({"title": "Der Bär"}, True)
    failed = webhook.notice(
        Outcome("a.jpg", "failed", "a.jpg", OUTCOME.at, kind="unreadable", message="no picture")
    )
    assert (failed["event"], failed["kind"], failed["message"]) == ("failed", "unreadable", "no picture")
    assert failed["sidecar"] == "a.jpg.error.json" and failed["id"] != told["id"]


def test_what_the_server_does_not_want_is_not_sent_again() -> None:
    """A notice that is refused for itself costs one request; the next one has its own chance."""
    with Receiver(404, 413) as receiver, telling(receiver.url) as told:
        for _ in range(3):
            told.tell(OUTCOME)
        wait_until_told(told)
        assert told.results == {"delivered": 1, "refused": 2, "dropped": 0}
        assert len(receiver.tried) == 3


def test_a_long_outage_costs_notices_and_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tells never waits; too many waiting push out the oldest; the log has a line for each turn."""
    monkeypatch.setattr(webhook, "MOST_WAITING", 5)
    monkeypatch.setattr(webhook, "LONGEST_WAIT_SECONDS", 0.02)
    with structlog.testing.capture_logs() as lines, Receiver(*[502] * 16) as receiver:
        with telling(receiver.url) as told:
            for number in range(40):
                began = time.monotonic()
                told.tell(Outcome(f"{number}.jpg", "done", f"{number}.jpg", OUTCOME.at))
                assert time.monotonic() - began < 1
            wait_until_told(told)
        results = told.results
        assert results["dropped"] == 40 - len(receiver.got) and 0 < len(receiver.got) <= 5
        assert receiver.got[-1]["path"] == "39.jpg"
    assert [line["event"] for line in lines] == ["the webhook fails", "the webhook answers again"]
    assert "room" not in str(lines)  # services put their keys into the address


def test_a_stop_tries_what_waits_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait for the server ends at once; a server that says nothing holds the stop up for seconds."""
    with Receiver({"Retry-After": "60"}) as receiver:
        with telling(receiver.url) as told:
            for _ in range(3):
                told.tell(OUTCOME)
            while not receiver.tried:
                time.sleep(0.01)
        assert len(receiver.got) == 3
    monkeypatch.setattr(webhook, "LAST_SECONDS", 0.2)
    with structlog.testing.capture_logs() as lines, Receiver(3.0) as receiver:
        began = time.monotonic()
        with telling(receiver.url) as told:
            told.tell(OUTCOME)
            told.tell(OUTCOME)
        assert time.monotonic() - began < 3
    assert lines[-1]["pictures"] == 2


def test_the_daemon_tells_of_good_and_bad_pictures(tmp_path: Path) -> None:
    """A run over two pictures: two notices that tell what the folders show; a dead receiver harms nothing."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    with FakeChatServer() as server:
        with Receiver(503) as receiver:
            model = {"backend": "openai", "id": server.model_id, "base_url": server.url}
            watch = {"settle_seconds": 0.2, "incomplete_after_seconds": 0.5}
            place = Place(tmp_path, {"model": model, "notify": {"url": receiver.url}, "watch": watch})
            place.drop(jpeg, "trip/one.jpg")
            place.drop(jpeg[: len(jpeg) // 2], "bad.jpg")
            assert place.once(CAPTIOND_NOTIFY__TOKEN="s3cret").returncode == 1
            told = {notice["path"]: notice for notice in receiver.got}
            assert set(told) == {"trip/one.jpg", "bad.jpg"}
            assert receiver.authorizations == {"Bearer s3cret"}
            record, good, bad = place.sidecar("trip/one.jpg"), told["trip/one.jpg"], told["bad.jpg"]
            assert (good["caption"], good["sha256"]) == (record["caption"], record["source"]["sha256"])
            assert (place.done / good["sidecar"]).exists() and (place.failed / bad["sidecar"]).exists()
            assert bad["kind"] == "truncated"
            assert "ok       notify: notify.url answers" in captiond("check", "-c", place.settings).stdout
        place.drop(jpeg, "two.jpg")
        assert place.once().returncode == 0


def test_what_is_wrong_with_the_address_is_told() -> None:
    """Nobody there, and no such name; the server's own answer does not matter."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    trouble = why_unreachable(f"http://127.0.0.1:{port}/", 5)
    assert trouble is not None and "cannot be reached" in trouble[0]
    trouble = why_unreachable("http://nobody.invalid/", 5)
    assert trouble is not None and "nobody.invalid is not known here" in trouble[0]
    with Receiver() as receiver:
        assert httpx.head(receiver.url).status_code == 405 and why_unreachable(receiver.url, 5) is None
