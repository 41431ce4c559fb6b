"""The door in the test's own process, with people and pictures behind it that do as they are told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from captiond.pipeline.ondemand import Answering
from captiond.records import Answer, CaptionRequest, ModelIdentity, Said, Texts
from captiond.status import Measures
from captiond.web import Door
from captiond.web.arrival import Limits

SWIFT = Limits(head_seconds=0.5, body_seconds=0.5, body_bytes_per_second=100_000, answer_seconds=0.5)
STANDING = Measures(
    files={},
    missed_events=0,
    captioned=0,
    duplicates=0,
    needing_a_look=0,
    failures={},
    warnings={},
    is_healthy=True,
    is_paused=False,
    pauses=0,
    model={},
    is_model_loaded=True,
)
FAKE, QUESTION = ModelIdentity("fake", "none"), CaptionRequest("What is shown?", 10)


class Model:
    """Answers when it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = 0

    def said(self, data: bytes) -> Said:
        self.asked += 1
        assert self.may_answer.wait(60)
        words = f"{len(data)} bytes"
        return Said(Texts(words), Answer(words, None, FAKE, QUESTION, None, None, "stop"))


class Pictures:
    """A gallery that fails as a test wants."""

    error: Exception | None = None

    def status(self) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        return {"state": "watching"}

    def page(self, wanted: object, limit: int) -> Sequence[object]:
        return []

    def revise(self, id: int, changes: object, was: object, by: str | None = None) -> object:
        raise AssertionError("nothing gets so far")

    thumbnail = accept = approve = retry = retry_all = undo = redo = revise


@dataclass
class Opened:
    client: httpx.Client
    port: int
    model: Model = field(default_factory=Model)
    pictures: Pictures = field(default_factory=Pictures)

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(sent)
        return connection

    def say(self, sent: bytes) -> bytes:
        """All that comes back until the door closes or falls silent."""
        with self.connect() as connection:
            with suppress(ConnectionError):  # it may have heard enough
                connection.sendall(sent)
            return until_closed(connection)

    def is_well(self) -> bool:
        return self.client.get("/healthz", timeout=5).status_code == 200


def until_closed(connection: socket.socket, seconds: float = 8.0) -> bytes:
    connection.settimeout(seconds)
    said = b""
    try:
        while piece := connection.recv(65_536):
            said += piece
    except ConnectionError:
        pass
    return said


@contextmanager
def opened(*, limits: Limits = SWIFT, max_upload_bytes: int = 1_000_000) -> Iterator[Opened]:
    door = Door("127.0.0.1", 0, token=None, max_upload_bytes=max_upload_bytes, limits=limits)
    _, port = door.address
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
        there = Opened(client, port)
        answering = cast("Answering", there.model)
        with door.serving(answering, lambda: None, lambda: STANDING, cast("Any", there.pictures)):
            try:
                yield there
            finally:
                there.model.may_answer.set()
    door.close()


def upload(content: bytes, *, headers: str = "") -> bytes:
    """A whole POST /infer, as it goes over the wire."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        + content
        + b"\r\n--x--\r\n"
    )
    head = (
        f"POST /infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def within(seconds: float, condition: Any) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
