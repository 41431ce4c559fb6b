"""A small real server that speaks chat completions, and that can be told to misbehave.

It looks at the picture it gets and answers with its size and mean colour, so a test sees that the right
picture arrived.  `FakeChatServer.script` holds what to do with the next requests, one step each: a function
that gets the request's handler, or a plain answer text.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from PIL import Image, ImageStat

Step = Callable[["Handler"], None]


@dataclass
class Seen:
    """One chat request as it arrived."""

    payload: dict[str, Any]
    authorization: str | None
    image: Image.Image = field(init=False)
    jpeg: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parts = self.payload["messages"][0]["content"]
        uri = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        head, _, data = uri.partition(",")
        assert head == "data:image/jpeg;base64"
        self.jpeg = base64.b64decode(data, validate=True)
        self.image = Image.open(io.BytesIO(self.jpeg))
        self.image.load()

    @property
    def prompt(self) -> str:
        parts = self.payload["messages"][0]["content"]
        return next(str(part["text"]) for part in parts if part["type"] == "text")


def describe(image: Image.Image) -> str:
    """What the fake model says about a picture."""
    red, green, blue = (round(mean) for mean in ImageStat.Stat(image.convert("RGB")).mean)
    name = max((red, "red"), (green, "green"), (blue, "blue"))[1]
    return f"A {image.width} by {image.height} picture, mostly {name}."


class FakeChatServer:
    """Use as a context manager; `url` is what model.base_url would be."""

    def __init__(
        self,
        *,
        model_id: str = "fake-vision",
        api_key: str | None = None,
        seconds_per_answer: float = 0.0,
        lists_models: bool = True,
        port: int = 0,
    ) -> None:
        self.model_id = model_id
        self.api_key = api_key
        self.seconds_per_answer = seconds_per_answer
        self.lists_models = lists_models
        self.script: list[Step | str] = []
        self.always: Step | None = None
        self.seen: list[Seen] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def settings(self) -> dict[str, Any]:
        """The section `model` of a daemon that asks this server."""
        return {"backend": "openai", "id": self.model_id, "base_url": self.url}

    def __enter__(self) -> FakeChatServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """From here on nobody listens; connections that are open are served on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def enter(self) -> None:
        with self.lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)

    def leave(self) -> None:
        with self.lock:
            self._in_flight -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    fake: FakeChatServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is part of some tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    seen: Seen  # what is asked just now

    def do_GET(self) -> None:
        fake = self.server.fake
        if self.path != "/v1/models" or not fake.lists_models:
            self.complain(404, "Not Found")
        elif self.is_known():
            self.reply(200, {"object": "list", "data": [{"id": fake.model_id, "object": "model"}]})

    def do_POST(self) -> None:
        fake = self.server.fake
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/chat/completions":
            self.complain(404, "Not Found")
            return
        if not self.is_known():
            return
        seen = self.seen = Seen(json.loads(body), self.headers["Authorization"])
        with fake.lock:
            fake.seen.append(seen)
            step = fake.script.pop(0) if fake.script else fake.always
        fake.enter()
        try:
            time.sleep(fake.seconds_per_answer)
        finally:
            fake.leave()  # before the answer: the next request may come on its heels
        if callable(step):
            step(self)
        elif seen.payload["model"] != fake.model_id:
            self.complain(404, f"The model `{seen.payload['model']}` does not exist.", "model_not_found")
        else:
            self.say(step if step is not None else describe(seen.image))

    def is_known(self) -> bool:
        key = self.server.fake.api_key
        if key is None or self.headers["Authorization"] == f"Bearer {key}":
            return True
        self.complain(401, "Incorrect API key provided.")
        return False

    def say(self, text: str | None, *, finish_reason: str = "stop", **message: Any) -> None:
        self.reply(
            200,
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": text, **message},
                        "finish_reason": finish_reason,
                    }
                ],
                "usage": {"prompt_tokens": 790, "completion_tokens": 17, "total_tokens": 807},
            },
        )

    def complain(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        self.reply(status, {"error": {"message": message, "type": "error", "code": code}}, **headers)

    def reply(self, status: int, content: object, **headers: str) -> None:
        self.reply_bytes(status, json.dumps(content).encode(), **headers)

    def reply_bytes(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests speak for themselves."""


def fails(status: int, message: str = "something is wrong", **headers: str) -> Step:
    """Answers with an error."""
    return lambda handler: handler.complain(status, message, **headers)


def answers(text: str | None, **more: Any) -> Step:
    """Answers with a message; more: finish_reason, refusal and the like."""
    return lambda handler: handler.say(text, **more)


def sends(body: bytes, status: int = 200) -> Step:
    """Answers with these very bytes."""
    return lambda handler: handler.reply_bytes(status, body)


def sleeps(seconds: float) -> Step:
    """Says nothing for a while, then hangs up."""

    def step(handler: Handler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return step


def trickles(seconds: float) -> Step:
    """Sends a byte now and then, as a server does that keeps a connection warm."""

    def step(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    return step


def hangs_up(handler: Handler) -> None:
    """Closes the connection without a word, as a server does that was killed."""
    handler.close_connection = True
