"""The same picture, one inference: what was answered about an equal picture is not asked for again.

Pictures are equal if the model would see the same, whatever the file: a copy with another name, other
metadata or a lossless re-save is equal, a re-encoded one is not.  Each question of a chain is remembered by
itself, with its temperature and seed, so a copy goes through the same chain and ends with the same words.
Answers are kept once `SameAnswer` believes them; equal pictures in work meanwhile wait for the one that asks.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, Protocol

from captiond.captioners import Captioner, Prepared, Recognizes
from captiond.errors import Rejected, TryLater
from captiond.pipeline.preparing import Ready
from captiond.records import Answer, AskAll, CaptionRequest, Remembered, Rules, Said

Outcome = Answer | Rejected | TryLater


class Memory(Protocol):
    """Neither raises nor waits for long."""

    def get(self, key: bytes, request: CaptionRequest, /) -> Remembered | None: ...

    def put(self, answers: Sequence[tuple[bytes, Remembered]], /) -> None: ...


_Told = Future[Remembered | None]  # None: no answer came, and each caller that waits asks for itself


class Remembering(Generic[Prepared]):
    """Safe to use from many threads."""

    def __init__(self, captioner: Captioner[Prepared], memory: Memory | None) -> None:
        """`memory`: if None, each picture is asked about."""
        self._captioner = captioner
        self._memory = memory
        self._under_way = _UnderWay()

    @contextmanager
    def about(self, ready: Ready[Prepared], rules: Rules, source: str) -> Iterator[About]:
        """What is said about a picture, whose file has the sha256 `source`; the caller decides to keep it."""
        captioner, memory = self._captioner, self._memory
        ask_all = partial(captioner.ask_all, ready.prepared)
        if memory is None or not isinstance(captioner, Recognizes):
            yield About(lambda: rules.interview(ask_all, ready.facts))
            return
        fingerprint = captioner.fingerprint(ready.prepared)
        asking = _Asking(memory, self._under_way, ask_all, fingerprint, source, rules.asks_anew)
        try:
            yield About(lambda: asking.traced(rules.interview(asking.ask_all, ready.facts)), asking.keep)
        finally:
            asking.let_go()


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class About:
    """One picture: `said` asks, `keep` remembers what came of it."""

    said: Callable[[], Said]  # raises whatever `Interviewing` raises
    keep: Callable[[], None] = _nothing


class _UnderWay:
    """The questions whose answers are awaited, or are there and not yet kept or dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[bytes, _Told] = {}

    def claim(self, key: bytes, look: Callable[[], Remembered | None]) -> Remembered | _Told | None:
        """The answer, or a future for it; None: the caller must ask now, and others wait for its answer."""
        with self._lock:
            told = self._told.get(key)
            if told is not None:
                return told
            # Under the lock: otherwise the answer may be kept between a look in vain and the claim.
            found = look()
            if found is None:
                self._told[key] = Future()
            return found

    def answered(self, key: bytes, remembered: Remembered) -> None:
        with self._lock:
            self._told[key].set_result(remembered)

    def let_go(self, key: bytes) -> None:
        """Give up the claim; callers that wait for an answer that never came ask for themselves."""
        with self._lock:
            told = self._told.pop(key, None)
            if told is not None and not told.done():
                told.set_result(None)


@dataclass(slots=True, eq=False)
class _Asking:
    """One picture while it is asked about; used by one thread."""

    memory: Memory
    under_way: _UnderWay
    ask: AskAll
    fingerprint: bytes
    source: str
    goes_past: bool
    claimed: list[bytes] = field(default_factory=list)
    asked: dict[bytes, Remembered] = field(default_factory=dict)
    sources: dict[CaptionRequest, str] = field(default_factory=dict)  # sha256s of files asked about instead

    def ask_all(self, requests: Sequence[CaptionRequest]) -> list[Outcome]:
        """Like `Captioner.ask_all`, but from memory if possible.

        A picture asks its own questions before it waits for another's: two that wait for each other would
        otherwise wait for ever.
        """
        claims = [self._claim(request) for request in requests]
        own = [request for request, claim in zip(requests, claims, strict=True) if claim is None]
        answers = iter(self._ask(own) if own else [])
        return [
            next(answers) if claim is None else self._taken(request, claim)
            for request, claim in zip(requests, claims, strict=True)
        ]

    def traced(self, said: Said) -> Said:
        """`said` with the source of its caption, if that came from memory."""
        return replace(said, cached_from=self.sources.get(said.answer.request))

    def keep(self) -> None:
        if self.asked:
            self.memory.put(list(self.asked.items()))

    def let_go(self) -> None:
        for key in self.claimed:
            self.under_way.let_go(key)

    def _claim(self, request: CaptionRequest) -> Remembered | _Told | None:
        if self.goes_past or _is_by_chance(request):
            return None
        key = self._key(request)
        found = self.under_way.claim(key, lambda: self.memory.get(key, request))
        if found is None:
            self.claimed.append(key)
        return found

    def _ask(self, requests: Sequence[CaptionRequest]) -> list[Outcome]:
        answers = self.ask(requests)
        for request, answer in zip(requests, answers, strict=True):
            key = self._key(request)
            if isinstance(answer, Answer) and not _is_by_chance(request):
                remembered = self.asked[key] = Remembered(answer, self.source)
                if key in self.claimed:
                    self.under_way.answered(key, remembered)
            elif key in self.claimed:
                self.claimed.remove(key)
                self.under_way.let_go(key)
        return answers

    def _taken(self, request: CaptionRequest, claim: Remembered | _Told) -> Outcome:
        remembered = claim.result() if isinstance(claim, Future) else claim
        if remembered is None:
            return self.ask_all([request])[0]
        if self._key(request) not in self.asked:
            self.sources[request] = remembered.source
        return replace(remembered.answer, request=request)

    def _key(self, request: CaptionRequest) -> bytes:
        question = [request.prompt, request.max_new_tokens, request.temperature, request.seed]
        return hashlib.sha256(self.fingerprint + json.dumps(question).encode()).digest()


def _is_by_chance(request: CaptionRequest) -> bool:
    """Whether each answer may differ: it is sampled without a seed."""
    return request.temperature > 0 and request.seed is None
