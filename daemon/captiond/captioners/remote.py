"""The model behind a server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama and so on.

It sends a JPEG of the picture and the prompt, never the file, its name or its metadata.  It knows nothing of
batches: the server makes those from the requests in flight.  Trouble with the server is trouble for everybody
and never charged to a picture, unless the server keeps failing on that picture while it serves others.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import structlog
from PIL import Image

from captiond import __version__, jpeg
from captiond.captioners.chat import complaint, count, read, retry_after
from captiond.captioners.text import clean
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings, TryLater, Verdict
from captiond.records import Answer, CaptionRequest, Encoded, JpegWish, ModelIdentity, Notice, Picture
from captiond.status import Gauges
from captiond.support.http import TooLarge, exchange

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10.0
LARGEST_ANSWER_BYTES = 4_000_000
REMEMBERED_FAILURES = 10_000
# An idle connection is let go before the server may do so (uvicorn: after 5 s), since a request that meets
# a connection being closed fails.
KEEP_ALIVE_SECONDS = 2.0

ABOUT_THE_PICTURE = frozenset({400, 413, 415, 422})
BUSY = frozenset({429, 503})

# Ways to ask a reasoning model for its answer alone: vLLM, SGLang and llama.cpp know the first field, OpenAI
# and Ollama the second.  Some servers refuse what they do not know, so `load` finds out which are taken.
NO_THINKING: tuple[dict[str, Any], ...] = (
    {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"reasoning_effort": "none"},
    {},
)
# What vision models look at is smaller still.
WISH = JpegWish(longest_side=2048, least_side=2000, quality=90)
_JSON = {"Content-Type": "application/json"}
PROBE = CaptionRequest("Which colour is this image? Answer with one word.", 16)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture ready for the wire."""

    jpeg: bytes = field(repr=False)


class _NotThere(Surroundings):
    """The server does not know the model, or has no chat completions at this address."""


class RemoteCaptioner:
    """A Captioner on a chat-completions server."""

    def __init__(
        self,
        *,
        base_url: str,
        model_id: str,
        api_key: str | None = None,
        max_concurrency: int = 8,
        timeout_seconds: float = 120.0,
    ) -> None:
        """`base_url` ends where the API does: http://vllm:8000/v1."""
        self._url = base_url.rstrip("/")
        self._addresses = {path: httpx.URL(self._url + path) for path in ("/models", "/chat/completions")}
        self._identity = ModelIdentity(model_id, backend="openai")
        self._capacity = max_concurrency
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            headers={"User-Agent": f"captiond/{__version__}"}
            | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
            timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
            limits=httpx.Limits(max_connections=max_concurrency, keepalive_expiry=KEEP_ALIVE_SECONDS),
        )
        # Whoever waits for a connection waits here, so that its time begins with its request.
        self._in_flight = threading.BoundedSemaphore(max_concurrency)
        self._closing = threading.Event()
        self._api_key = api_key
        self._no_thinking = NO_THINKING[0]
        self._may_be_blind = False
        self._counting = threading.Lock()
        self._requests = self._requests_in_flight = self._requests_repeated = 0
        self._answers = 0  # how many the server gave
        self._failures: dict[bytes, int] = {}  # JPEG's digest -> `_answers` when the server failed on it

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    @property
    def is_loaded(self) -> bool:
        return True  # the server's affair

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def may_be_blind(self) -> bool:
        """Whether `load` was told the same about two pictures that have nothing in common."""
        return self._may_be_blind

    def gauges(self) -> Gauges:
        return Gauges(
            requests_in_flight=self._requests_in_flight,
            requests=self._requests,
            requests_repeated=self._requests_repeated,
        )

    def load(self) -> None:
        try:
            red = self._first_answer(_plain("red"))
            blue, _, _ = self._said(_plain("blue"), PROBE)
        except Rejected as rejected:
            # A picture without any fault: the server takes none, and would refuse the whole inbox one by one.
            raise CannotStart(
                f"the model {self._identity.id} on {self._url} takes no pictures: {rejected.message}",
                exit_code=ExitCode.WRONG_SETTINGS,
                advice="Choose a model that sees (model.id), or start the server with its vision part.",
            ) from rejected
        except TryLater as odd:
            raise Surroundings(
                odd.message, advice="Is model.base_url right?  It usually ends in /v1."
            ) from odd
        except _NotThere as trouble:
            # Asked only now: `transformers serve` fails to list its models where it has none in a cache.
            known = self._known_models()
            if known and self._identity.id not in known:
                raise Surroundings(
                    trouble.message, advice=f"Set model.id to what the server has: {', '.join(known[:10])}."
                ) from trouble
            raise
        # Ollama and llama.cpp take pictures for text-only models, and drop them without a word.
        self._may_be_blind = bool(clean(red)) and clean(red) == clean(blue)
        if self._may_be_blind:
            log.warning(
                "the model does not seem to see pictures: it says the same of a red and of a blue one",
                model=self._identity.id,
                url=self._url,
                answer=clean(red)[:100],
            )

    def _first_answer(self, prepared: Prepared) -> str:
        """What the server says, asked with the most of NO_THINKING that it takes."""
        for self._no_thinking in NO_THINKING:
            try:
                return self._said(prepared, PROBE)[0]
            except Rejected:
                if not self._no_thinking:
                    raise
                log.debug("asking with fewer fields", refused=list(self._no_thinking), url=self._url)
        raise AssertionError("the last way has no field that could be refused")

    def needed_side(self, width: int, height: int) -> int | None:
        return WISH.least_side // 2  # whoever decodes keeps twice as many, and what came so is sent as it is

    def prepare(self, picture: Picture) -> Prepared:
        return Prepared(_as_jpeg(picture.image))

    @property
    def wish(self) -> JpegWish:
        return WISH

    def prepare_encoded(self, encoded: Encoded) -> Prepared:
        return Prepared(encoded.jpeg)

    def ask(self, prepared: Prepared, request: CaptionRequest) -> Answer:
        try:
            raw, finish_reason, usage = self._said(prepared, request)
        except Rejected as refused:
            self._must_take_others(refused)
            raise
        text = clean(raw)
        is_cut = finish_reason == "length"
        cut = Notice("cut_off", f"the caption reached caption.max_new_tokens ({request.max_new_tokens})")
        return Answer(
            text=text,
            raw_output=raw if raw != text else None,
            model=self._identity,
            request=request,
            prompt_tokens=count(usage.get("prompt_tokens")),
            new_tokens=count(usage.get("completion_tokens")),
            finish_reason="length" if is_cut else "stop",
            notices=(cut,) if is_cut else (),
        )

    def ask_all(
        self, prepared: Prepared, requests: Sequence[CaptionRequest]
    ) -> list[Answer | Rejected | TryLater]:
        """One after the other, so that the server still has in mind what it read of the picture."""
        return [self._tried(prepared, request) for request in requests]

    def _tried(self, prepared: Prepared, request: CaptionRequest) -> Answer | Rejected | TryLater:
        try:
            return self.ask(prepared, request)
        except (Rejected, TryLater) as verdict:
            return verdict

    def _must_take_others(self, refused: Rejected) -> None:
        """Surroundings where the server refuses a plain picture as well.

        Started anew with another model, or with too little context, it would have the whole inbox set aside.
        """
        try:
            self._said(_plain("red"), PROBE)
        except Rejected:
            raise Surroundings(
                f"the server takes no pictures any more: {refused.message}",
                advice="Look at how the server was started; work goes on by itself.",
            ) from refused

    def close(self) -> None:
        self._closing.set()  # whoever waits for a busy server waits no more
        self._client.close()

    # ---- asking --------------------------------------------------------------------------------

    def _known_models(self) -> list[str]:
        """What the server says it has; nothing where it keeps no list, or fails to."""
        try:
            with self._in_flight:
                _, _, body = self._send("GET", "/models", None)
            return [str(model["id"]) for model in json.loads(body)["data"]]
        except (Verdict, ValueError, LookupError, TypeError):
            return []

    def _said(self, prepared: Prepared, request: CaptionRequest) -> tuple[str, str, dict[str, Any]]:
        """What the server said: text, why it ended, token counts."""
        asked = self._body(prepared, request)
        with self._in_flight:
            status, headers, body = self._send("POST", "/chat/completions", asked)
            if status in BUSY and (seconds := retry_after(headers.get("retry-after"))) is not None:
                log.info("the server asks to wait", url=self._url, seconds=seconds)
                self._closing.wait(seconds)
                with self._counting:
                    self._requests_repeated += 1
                status, _, body = self._send("POST", "/chat/completions", asked)
        if status != 200:
            verdict = self._verdict(status, body)
            raise self._blame(prepared, verdict) if status == 500 else verdict
        self._answers += 1
        return read(body, self._url)

    def _blame(self, prepared: Prepared, trouble: Verdict) -> Verdict:
        """Whether it is the server, or this picture that the server fails on while it serves others.

        Without this, one picture that a server answers with 500 would make the daemon pause for ever.
        """
        digest = hashlib.sha256(prepared.jpeg).digest()
        if len(self._failures) >= REMEMBERED_FAILURES:
            self._failures.clear()
        answers_then = self._failures.get(digest)
        self._failures[digest] = self._answers
        if answers_then is None or answers_then == self._answers:
            return trouble
        return TryLater(f"{trouble.message} (again, while it answers others)", advice=trouble.advice)

    def _body(self, prepared: Prepared, request: CaptionRequest) -> bytes:
        """What is sent, in JSON.  The picture is put in as bytes: it is long, and has nothing to escape.

        It stands before the words, so that a server which keeps what it has read of a prompt (vLLM's and
        SGLang's prefix caches) reads it once for all questions about it.
        """
        content = [
            {"type": "image_url", "image_url": {"url": ""}},
            {"type": "text", "text": request.prompt},
        ]
        payload = {
            "model": self._identity.id,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            **({} if request.seed is None else {"seed": request.seed}),
            **self._no_thinking,
        }
        # Nowhere else: a quotation mark within a text has a backslash before it.
        before, key, after = json.dumps(payload).encode().partition(b'"url": "')
        return b"".join((before, key, b"data:image/jpeg;base64,", base64.b64encode(prepared.jpeg), after))

    def _send(self, method: str, path: str, asked: bytes | None) -> tuple[int, httpx.Headers, bytes]:
        """One request, bounded in time and size."""
        if self._closing.is_set():
            raise Surroundings("captiond is stopping")
        try:
            with self._counted():
                return exchange(
                    self._client,
                    method,
                    self._addresses[path],
                    seconds=self._timeout_seconds,
                    largest_bytes=LARGEST_ANSWER_BYTES,
                    content=asked,
                    headers=_JSON,
                )
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            raise Surroundings(
                f"the server {self._url} did not answer within {self._timeout_seconds:g} s",
                advice="Look at its load; lower model.max_concurrency or raise model.timeout_seconds.",
            ) from None
        except httpx.TransportError as error:
            raise Surroundings(
                f"the server {self._url} cannot be reached: {error or type(error).__name__}",
                advice="Start the server, or correct model.base_url; work goes on by itself.",
            ) from None
        except TooLarge:
            raise TryLater(f"the server {self._url} answers without end") from None
        except httpx.DecodingError:
            raise TryLater(f"the server {self._url} sent a damaged answer") from None

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

    def _verdict(self, status: int, body: bytes) -> Verdict:
        """What a status other than 200 means: something about the picture, or about everything."""
        said, code = complaint(body)
        if self._api_key:  # some servers quote the key that they refuse
            said = said.replace(self._api_key, "***")
        told = f"the server {self._url} answers {status}: {said}"
        if status in ABOUT_THE_PICTURE and code != "model_not_found":
            return Rejected("refused_by_server", told, stage="caption", advice="Read what the server says.")
        if status in (401, 403):
            advice = "Set model.api_key_file or CAPTIOND_MODEL__API_KEY to a key that the server accepts."
        elif status in (400, 404):
            return _NotThere(
                told,
                advice=f"Does the server have {self._identity.id} (model.id), and is model.base_url right?",
            )
        elif status == 429:
            advice = "Lower model.max_concurrency; work goes on by itself."
        elif 300 <= status < 400:
            advice = "Set model.base_url to the address that it redirects to."
        else:
            advice = "Look at the server's log; work goes on by itself."
        return Surroundings(told, advice=advice)


def _plain(colour: str) -> Prepared:
    return Prepared(_as_jpeg(Image.new("RGB", (224, 224), colour)))


def _as_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    jpeg.save(image, image.info.get("icc_profile"), WISH, buffer)
    return buffer.getvalue()
