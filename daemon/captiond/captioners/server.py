"""One chat-completions server: what is sent to it, what is in flight, and what its answers mean.

This room sends a JPEG of the picture and the prompt, never the file, its name or its metadata.  It knows of
no other server, and reports trouble with this one as a verdict.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import structlog
from PIL import Image

from captiond import __version__, jpeg
from captiond.captioners import troubles, way
from captiond.captioners.chat import Reply, body, has_error_inside, is_stream, read, retry_after
from captiond.captioners.text import clean
from captiond.encoded import JpegWish
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings, TryLater, Verdict
from captiond.records import CaptionRequest
from captiond.support.http import TooLarge, exchange

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10.0
LARGEST_ANSWER_BYTES = 4_000_000
REMEMBERED_FAILURES = 10_000
# So many answers within that time to questions that had failed: part of the server is ill, and no picture is
# to blame.  Ray Serve went on asking a dead replica for 36 s.
UNSTEADY_ANSWERS, UNSTEADY_SECONDS = 2, 60.0
# We close an idle connection before the server does (uvicorn: after 5 s), since a request on a connection
# that the server is closing fails.
KEEP_ALIVE_SECONDS = 2.0

BUSY = frozenset({429, 503})
ENOUGH_REFUSALS = 3  # server faults on a schema until it is given up; one outright refusal is enough

# Ways to ask a reasoning model for its answer alone: vLLM, SGLang and llama.cpp know the first field, OpenAI
# and Ollama the second.  Some servers refuse what they do not know, so `load` finds out which are taken.
NO_THINKING: tuple[dict[str, Any], ...] = (
    {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"reasoning_effort": "none"},
    {},
)
_JSON = {"Content-Type": "application/json"}
PROBE = CaptionRequest("Which colour is this image? Answer with one word.", 16)
# Below this a picture shows too little to be worth a caption.
LEAST_SIDE = 384


@dataclass(frozen=True, slots=True)
class Asking:
    """How every server is asked."""

    model_id: str
    api_key: str | None = None
    max_concurrency: int = 8
    timeout_seconds: float = 120.0
    max_side: int = 2048
    proxy: str | None = None
    ca_file: Path | None = None

    @property
    def wish(self) -> JpegWish:
        """A picture may come out somewhat smaller than `max_side`: reducing in whole steps costs little."""
        return JpegWish(self.max_side, self.max_side * 2000 // 2048, quality=90)


class Load(NamedTuple):
    requests: int
    in_flight: int
    repeated: int


class Server:
    """Safe to call from many threads."""

    def __init__(self, url: str, asking: Asking) -> None:
        self.url = url.rstrip("/")
        self._asking = asking
        proxy = way.proxy_for(self.url, asking.proxy)
        self._proxy = way.shown(proxy) if proxy else None
        seconds, most, key = asking.timeout_seconds, asking.max_concurrency, asking.api_key
        self._client = way.client_for(
            self.url,
            proxy=proxy,
            ca_file=asking.ca_file,
            timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            limits=httpx.Limits(max_connections=most, keepalive_expiry=KEEP_ALIVE_SECONDS),
            headers={"User-Agent": f"captiond/{__version__}"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
        )
        self._addresses = {path: httpx.URL(self.url + path) for path in ("/models", "/chat/completions")}
        # Callers wait here for a connection, so that a request's timeout begins with the request itself.
        self._in_flight = threading.BoundedSemaphore(most)
        self._closing = threading.Event()
        self._no_thinking = NO_THINKING[0]
        self._side = asking.max_side  # less if the server's context holds no larger picture
        self._counting = threading.Lock()
        self._requests = self._requests_in_flight = self._requests_repeated = 0
        self._answers = 0  # given so far
        self._schema_refusals = 0  # in a row; each time the server answered without the schema
        self._failures: dict[bytes, int] = {}  # a question's digest -> `_answers` when it failed
        self._mended_at = deque([-UNSTEADY_SECONDS] * UNSTEADY_ANSWERS, maxlen=UNSTEADY_ANSWERS)  # monotonic
        self.may_be_blind = False
        self.model: str | None = None  # which model answers, in the server's own words

    @property
    def load_now(self) -> Load:
        return Load(self._requests, self._requests_in_flight, self._requests_repeated)

    def close(self) -> None:
        self._closing.set()  # ends the wait of callers whose server is busy
        self._client.close()

    @property
    def is_closing(self) -> bool:
        return self._closing.is_set()

    # ---- at the start --------------------------------------------------------------------------

    def load(self) -> None:
        """Find out how to ask it and whether it sees, with a picture as large as any that will be sent.

        Raises: CannotStart, if it takes no pictures; Surroundings, if it cannot be asked now.
        """
        try:
            red = self._first_answer()
            blue = self._said(self._plain("blue"), PROBE).text
        except Rejected as rejected:
            # The picture has no fault: so the server takes none, and would refuse the whole inbox one by one.
            is_long = isinstance(rejected, troubles.TooLong)
            raise CannotStart(
                f"the model {self._asking.model_id} on {self.url} takes no pictures: {rejected.message}",
                exit_code=ExitCode.WRONG_SETTINGS,
                advice=troubles.TOO_LONG_ADVICE
                if is_long
                else "Choose a model that sees (model.id), or start the server with its vision part.",
            ) from rejected
        except TryLater as odd:
            raise Surroundings(
                odd.message, advice="Is model.base_url right?  It usually ends in /v1."
            ) from odd
        except troubles.ModelNotThere as trouble:
            # Asked only now: `transformers serve` fails to list its models if it has none in its cache.
            known = self._known_models()
            if known and self._asking.model_id not in known:
                raise Surroundings(
                    trouble.message, advice=f"Set model.id to what the server has: {', '.join(known[:10])}."
                ) from trouble
            raise
        # Ollama and llama.cpp take pictures for text-only models, and drop them without a word.
        self.may_be_blind = bool(clean(red)) and clean(red) == clean(blue)
        if self.may_be_blind:
            log.warning(
                "the model does not seem to see pictures: it says the same of a red and of a blue one",
                model=self._asking.model_id,
                url=self.url,
                answer=clean(red)[:100],
            )

    def _first_answer(self) -> str:
        """Its answer about a picture in full size, or about a smaller one if its context holds no more."""
        while True:
            try:
                return self._with_most_fields()
            except troubles.TooLong:
                if self._side // 2 < LEAST_SIDE:
                    raise
            self._side //= 2
            log.warning(
                "the server's context is too small for a picture in full: smaller ones are sent",
                url=self.url,
                longest_side=self._side,
                advice=troubles.TOO_LONG_ADVICE,
            )

    def _with_most_fields(self) -> str:
        """Its answer with as many fields of NO_THINKING as it takes."""
        for self._no_thinking in NO_THINKING:
            try:
                return self._said(self._plain("red"), PROBE).text
            except troubles.TooLong:
                raise
            except Rejected:
                if not self._no_thinking:
                    raise
                log.debug("asking with fewer fields", refused=list(self._no_thinking), url=self.url)
        raise AssertionError("the last way has no field that could be refused")

    def _known_models(self) -> list[str]:
        """The models it lists; none if it keeps no list, or fails to give it."""
        try:
            with self._in_flight:
                _, _, body = self._send("GET", "/models", None)
            return [str(model["id"]) for model in json.loads(body)["data"]]
        except (Verdict, ValueError, LookupError, TypeError):
            return []

    # ---- asking --------------------------------------------------------------------------------

    def ask(self, picture: bytes, request: CaptionRequest) -> Reply:
        """`picture`: a JPEG.  Raises what `Captioner.ask` raises."""
        picture = self._fitted(picture)
        if request.schema is not None:
            return self._held_to_schema(picture, request)
        try:
            return self._said_or_smaller(picture, request)
        except (Rejected, TryLater) as verdict:
            self._must_serve_others(verdict)
            raise

    def _held_to_schema(self, picture: bytes, request: CaptionRequest) -> Reply:
        """Ask with the schema; if the server refuses it or fails on it, without, before blaming the picture.

        If this is too long the picture is not sent smaller: the caller can ask for less.
        """
        refused: Verdict | None = None
        if self._takes_schemas:
            try:
                reply = self._said(picture, request)
            except troubles.TooLong:
                raise
            except (Rejected, troubles.Fails) as verdict:
                refused = verdict
            else:
                self._schema_refusals = 0
                return reply
        reply = self._said(picture, replace(request, schema=None))
        if refused is not None:
            self._schema_refusals += ENOUGH_REFUSALS if isinstance(refused, Rejected) else 1
            told = {"url": self.url, "reason": refused.message, "for_good": not self._takes_schemas}
            log.warning("the server takes no JSON schema, and is asked for JSON in words", **told)
        return reply

    @property
    def _takes_schemas(self) -> bool:
        return self._schema_refusals < ENOUGH_REFUSALS

    def _said_or_smaller(self, picture: bytes, request: CaptionRequest) -> Reply:
        """Ask; if that is too long, once more at half the size.  If that is too long too, it is rejected."""
        try:
            return self._said(picture, request)
        except troubles.TooLong as refused:
            smaller = _reduced(picture, max(LEAST_SIDE, max(_size(picture)) // 2))
            try:
                return self._said(smaller, request)
            except troubles.TooLong:
                raise refused from None

    def _must_serve_others(self, verdict: Rejected | TryLater) -> None:
        """Raises: Surroundings, if a plain picture gets no answer either.

        Otherwise a server restarted with another model or with too little context, or a proxy in front that
        shows a page of its own, would have the whole inbox set aside.
        """
        try:
            self._said(self._plain("red"), PROBE)
        except (Rejected, TryLater):
            raise troubles.of_every_picture(verdict) from verdict

    def _said(self, picture: bytes, request: CaptionRequest) -> Reply:
        asked = body(picture, request, self._asking.model_id, self._no_thinking)
        with self._in_flight:
            status, headers, said = self._send("POST", "/chat/completions", asked)
            if status in BUSY and (seconds := retry_after(headers.get("retry-after"))) is not None:
                log.info("the server asks to wait", url=self.url, seconds=seconds)
                self._closing.wait(seconds)
                with self._counting:
                    self._requests_repeated += 1
                status, headers, said = self._send("POST", "/chat/completions", asked)
        if status != 200:
            verdict = troubles.of_status(
                status,
                headers,
                said,
                server=self._shown,
                model_id=self._asking.model_id,
                secret=self._asking.api_key,
            )
            is_picture_s = status == 500 and request.schema is None
            raise self._blame(asked, verdict) if is_picture_s else verdict
        if is_stream(headers.get("content-type", ""), said):
            raise troubles.of_stream(self._shown)
        if has_error_inside(said):
            verdict = troubles.of_error_inside(said, self._shown)
            is_picture_s = not isinstance(verdict, Rejected) and request.schema is None
            raise self._blame(asked, verdict) if is_picture_s else verdict
        self._answers += 1
        if self._failures and self._failures.pop(_digest(asked), None) is not None:
            self._mended_at.append(time.monotonic())
        reply = read(said, self.url)
        self.model = reply.model
        return reply

    @property
    def _shown(self) -> str:
        return f"{self.url} (by the proxy {self._proxy})" if self._proxy else self.url

    def _blame(self, asked: bytes, trouble: Verdict) -> Verdict:
        """The verdict: trouble of the server, or of this picture if the server answered others since.

        Without this, one picture that a server answers with 500 would make the daemon pause for ever.  But if
        questions that failed are answered after all, part of the server is ill: a balancer with a dead engine
        behind it fails on any picture, now and then.
        """
        digest = _digest(asked)
        if len(self._failures) >= REMEMBERED_FAILURES:
            self._failures.clear()
        answers_then = self._failures.get(digest)
        self._failures[digest] = self._answers
        is_unsteady = time.monotonic() - self._mended_at[0] < UNSTEADY_SECONDS
        if is_unsteady or answers_then in (None, self._answers):
            return trouble
        return TryLater(f"{trouble.message} (again, while it answers others)", advice=trouble.advice)

    def _send(self, method: str, path: str, asked: bytes | None) -> tuple[int, httpx.Headers, bytes]:
        """One request, bounded in time and size."""
        if self._closing.is_set():
            raise Surroundings("captiond is stopping")
        seconds = self._asking.timeout_seconds
        try:
            with self._counted():
                return exchange(
                    self._client,
                    method,
                    self._addresses[path],
                    seconds=seconds,
                    largest_bytes=LARGEST_ANSWER_BYTES,
                    content=asked,
                    headers=_JSON,
                )
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            raise Surroundings(
                f"the server {self._shown} did not answer within {seconds:g} s",
                advice="Look at its load; lower model.max_concurrency or raise model.timeout_seconds.",
            ) from None
        except httpx.TransportError as error:
            raise troubles.of_transport(error, server=self.url, proxy=self._proxy) from None
        except TooLarge:
            raise TryLater(f"the server {self.url} answers without end") from None
        except httpx.DecodingError:
            raise TryLater(f"the server {self.url} sent a damaged answer") from None

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self._requests += 1
            self._requests_in_flight += 1
        try:
            yield
        finally:
            with self._counting:
                self._requests_in_flight -= 1

    # ---- pictures ------------------------------------------------------------------------------

    def _fitted(self, picture: bytes) -> bytes:
        return picture if self._side == self._asking.max_side else _reduced(picture, self._side)

    def _plain(self, colour: str) -> bytes:
        """A plain picture as large as any that is sent: size alone decides how many tokens it takes."""
        buffer = io.BytesIO()
        Image.new("RGB", (self._side, max(1, self._side * 3 // 4)), colour).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()


def _size(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture), formats=["JPEG"]) as opened:
        return opened.size


def _reduced(picture: bytes, side: int) -> bytes:
    """The picture as a new JPEG, at most that long."""
    if max(_size(picture)) <= side:
        return picture
    with Image.open(io.BytesIO(picture), formats=["JPEG"]) as opened:
        opened.draft(None, (side, side))
        opened.load()
        buffer = io.BytesIO()
        jpeg.save(opened, None, JpegWish(side, side, quality=90), buffer)
    return buffer.getvalue()


def _digest(asked: bytes) -> bytes:
    return hashlib.sha256(asked).digest()
