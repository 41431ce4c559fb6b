"""The model behind servers that speak OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama and so on.

Of several servers the least busy one is asked; one in trouble is left out for a while and its questions go to
the others, so that work stops only if none answers.  It knows nothing of batches: the servers make those from
the requests in flight.  Trouble with a server concerns every picture and is charged to none, unless the
server keeps failing on one picture while it serves others.
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from PIL import Image

from captiond import jpeg
from captiond.captioners import fingerprint_of
from captiond.captioners.chat import Reply, count
from captiond.captioners.server import Asking, Server
from captiond.captioners.text import clean
from captiond.encoded import Encoded, JpegWish
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings, TryLater
from captiond.records import Answer, CaptionRequest, ModelIdentity, Notice, Picture
from captiond.status import Gauges

log = structlog.get_logger(__name__)

# How long a server in trouble is left out: doubled each time, as long as it stays in trouble.
SHORTEST_ABSENCE_SECONDS, LONGEST_ABSENCE_SECONDS = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture ready for the wire."""

    jpeg: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class _Member:
    """A server and its state."""

    server: Server
    asked: int = 0  # questions on their way to it
    asked_ever: int = 0
    absence_seconds: float = 0.0
    absent_until: float = 0.0
    is_loaded: bool = False


class RemoteCaptioner:
    """A Captioner on one or several chat-completions servers with one model."""

    def __init__(
        self,
        *,
        base_url: str | Sequence[str],
        model_id: str,
        api_key: str | None = None,
        max_concurrency: int = 8,
        timeout_seconds: float = 120.0,
        max_side: int = 2048,
        proxy: str | None = None,
        ca_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`base_url` includes the API's version: http://vllm:8000/v1.  `max_concurrency` is for each server.

        Raises: CannotStart, if the proxy or the certificates cannot be used.
        """
        urls = [base_url] if isinstance(base_url, str) else list(base_url)
        self._asking = Asking(model_id, api_key, max_concurrency, timeout_seconds, max_side, proxy, ca_file)
        self._members = [_Member(Server(url, self._asking)) for url in urls]
        self._identity = ModelIdentity(model_id, backend="openai")
        self._clock = clock
        self._choosing = threading.Lock()

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    @property
    def is_loaded(self) -> bool:
        return True  # loading is the servers' affair

    @property
    def capacity(self) -> int:
        return self._asking.max_concurrency * len(self._members)

    @property
    def may_be_blind(self) -> bool:
        """Whether `load` got the same answer about two pictures that have nothing in common."""
        return any(member.server.may_be_blind for member in self._members)

    def gauges(self) -> Gauges:
        loads = [member.server.load_now for member in self._members]
        return Gauges(
            requests_in_flight=sum(load.in_flight for load in loads),
            requests=sum(load.requests for load in loads),
            requests_repeated=sum(load.repeated for load in loads),
        )

    def load(self) -> None:
        """Try all servers; one that cannot be reached is left out as long as another answers."""
        troubles: list[Surroundings] = []
        for member in self._members:
            try:
                self._load(member)
            except Surroundings as trouble:
                troubles.append(trouble)
                self._leave_out(member, trouble)
        if len(troubles) == len(self._members):
            raise troubles[0]

    def _load(self, member: _Member) -> None:
        member.server.load()
        others = [one.server for one in self._members if one.is_loaded]
        if others and others[0].model != member.server.model:
            raise CannotStart(
                f"the servers do not run the same model: {others[0].url} says {others[0].model}, "
                f"{member.server.url} says {member.server.model}",
                exit_code=ExitCode.WRONG_SETTINGS,
                advice="Start them with one model, or leave one of them out of model.base_url.",
            )
        member.is_loaded = True

    def needed_side(self, width: int, height: int) -> int | None:
        # The decoder keeps twice as many pixels, and such a picture is sent without reducing it again.
        return self.wish.least_side // 2

    def prepare(self, picture: Picture) -> Prepared:
        buffer = io.BytesIO()
        image: Image.Image = picture.image
        jpeg.save(image, image.info.get("icc_profile"), self.wish, buffer)
        return Prepared(buffer.getvalue())

    @property
    def wish(self) -> JpegWish:
        return self._asking.wish

    def prepare_encoded(self, encoded: Encoded) -> Prepared:
        return Prepared(encoded.jpeg)

    def fingerprint(self, prepared: Prepared) -> bytes:
        # If several servers have one model, it does not matter which of them answers.
        origin = self._members[0].server.url if len(self._members) == 1 else ""
        return fingerprint_of(self._identity, origin, hashlib.sha256(prepared.jpeg).digest())

    def ask(self, prepared: Prepared, request: CaptionRequest) -> Answer:
        answer, _ = self._asked(prepared, request, None)
        return answer

    def ask_all(
        self, prepared: Prepared, requests: Sequence[CaptionRequest]
    ) -> list[Answer | Rejected | TryLater]:
        """Ask one after the other, so that a server's prefix cache still holds the picture."""
        found: list[Answer | Rejected | TryLater] = []
        before: _Member | None = None
        for request in requests:
            try:
                answer, before = self._asked(prepared, request, before)
            except (Rejected, TryLater) as verdict:
                found.append(verdict)
            else:
                found.append(answer)
        return found

    def close(self) -> None:
        for member in self._members:
            member.server.close()

    # ---- which server --------------------------------------------------------------------------

    def _asked(
        self, prepared: Prepared, request: CaptionRequest, before: _Member | None
    ) -> tuple[Answer, _Member]:
        """Ask the server that answered before, if it is well, else the least busy one, and so on."""
        tried: list[_Member] = []
        while True:
            member = self._chosen(tried, before, request.server)
            try:
                reply = self._reply(member, prepared, request)
            except Surroundings as trouble:
                tried.append(member)
                if not member.server.is_closing:
                    self._leave_out(member, trouble)
                if member.server.is_closing or len(tried) == len(self._members):
                    raise
            else:
                member.absence_seconds = member.absent_until = 0.0
                return self._answer(reply, request, member.server.url), member
            finally:
                with self._choosing:
                    member.asked -= 1

    def _chosen(self, tried: Sequence[_Member], before: _Member | None, server: str | None = None) -> _Member:
        """The next server to try; one that is left out comes last until its absence is over.

        `server`: the address to prefer, if it was not tried yet.
        """
        with self._choosing:
            now = self._clock()
            left = [member for member in self._members if member not in tried]
            left = [member for member in left if member.server.url == server] or left
            present = [member for member in left if member.absent_until <= now] or left
            member = before if before in present else min(present, key=_busyness)
            assert member is not None
            if member.absence_seconds:  # no other caller tries it until this one knows whether it is well
                member.absent_until = now + member.absence_seconds
            member.asked += 1
            member.asked_ever += 1
            return member

    def _reply(self, member: _Member, prepared: Prepared, request: CaptionRequest) -> Reply:
        if not member.is_loaded and len(self._members) > 1:
            self._load_later(member)
        return member.server.ask(prepared.jpeg, request)

    def _load_later(self, member: _Member) -> None:
        """Load a server that was not there at the start.  If it has another model, it stays left out."""
        try:
            self._load(member)
        except CannotStart as wrong:
            raise Surroundings(wrong.message, advice=wrong.advice) from wrong

    def _leave_out(self, member: _Member, trouble: Surroundings) -> None:
        with self._choosing:
            doubled = max(2 * member.absence_seconds, SHORTEST_ABSENCE_SECONDS)
            member.absence_seconds = min(doubled, LONGEST_ABSENCE_SECONDS)
            member.absent_until = self._clock() + member.absence_seconds
        if len(self._members) > 1:
            log.warning(
                "a server is left out for a while",
                url=member.server.url,
                seconds=member.absence_seconds,
                reason=trouble.message,
                advice=trouble.advice,
            )

    def _answer(self, reply: Reply, request: CaptionRequest, server: str) -> Answer:
        text = clean(reply.text)
        is_cut = reply.finish_reason == "length"
        cut = Notice("cut_off", f"the caption reached caption.max_new_tokens ({request.max_new_tokens})")
        is_other = reply.model not in (None, self._identity.id)
        return Answer(
            text=text,
            raw_output=reply.text if reply.text != text else None,
            model=replace(self._identity, served_as=reply.model) if is_other else self._identity,
            request=request,
            prompt_tokens=count(reply.usage.get("prompt_tokens")),
            new_tokens=count(reply.usage.get("completion_tokens")),
            finish_reason="length" if is_cut else "stop",
            notices=(cut,) if is_cut else (),
            has_thoughts=reply.has_thoughts,
            server=server,
        )


def _busyness(member: _Member) -> tuple[int, int]:
    """Of two idle servers the one that was asked less often goes first: also one that has come back."""
    return member.asked, member.asked_ever
