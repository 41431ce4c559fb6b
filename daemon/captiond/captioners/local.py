"""The model on this machine: one thread owns it, callers queue for it.

`ask` puts a question into the queue.  The model's thread takes as many questions as it has room for, and
more whenever one is answered, so a busy daemon keeps the device full and a quiet one has no delay.  With
`keep_alive_seconds` the model is unloaded if no question came for that long, and loaded again for the next.
This room turns what torch raises into verdicts; it never touches a file of the user's.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import torch
from PIL import Image

from captiond.captioners import fingerprint_of, unloadable
from captiond.captioners.batches import Completion
from captiond.captioners.digests import digest_of
from captiond.captioners.downloads import Downloads
from captiond.captioners.engines import Engine, TakesScaled, open_engine, stored_dtype
from captiond.captioners.placement import Placement, placement
from captiond.captioners.text import clean
from captiond.captioners.threads import use_all_cores, use_one_core
from captiond.captioners.weights import locate
from captiond.errors import CannotStart, ExitCode, Rejected, Surroundings, TryLater
from captiond.records import Answer, CaptionRequest, ModelIdentity, Notice, Picture
from captiond.scaling import ScalingOf
from captiond.status import Gauges

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Asked:
    """A question on its way through the model, and the caller who waits for it."""

    question: Any
    completion: Future[Completion] = field(default_factory=Future)
    is_alone: bool = False  # its batch failed before, so it shares no batch now


class _CardLost(CannotStart):
    """The device is lost to this process: loading the model again would fail too."""


class LocalCaptioner:
    """A Captioner on torch and transformers."""

    def __init__(
        self,
        *,
        model_id: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        quantization: str = "none",
        num_crops: int = 4,
        batch_size: int | None = None,
        max_new_tokens: int = 160,
        keep_alive_seconds: float | None = None,
        open_engine: Callable[[Path, Placement, int], Engine] = open_engine,
    ) -> None:
        """`batch_size`: None for what fits with `num_crops` and captions of `max_new_tokens`; either way it
        is halved when memory runs out."""
        self._model_id = model_id
        self._revision = revision
        self._device = device
        self._dtype = dtype
        self._quantization = quantization
        self._num_crops = num_crops
        self._batch_size = batch_size
        self._max_new_tokens = max_new_tokens
        self._keep_alive_seconds = keep_alive_seconds
        self._open_engine = open_engine
        self._downloads = Downloads()
        self._identity = ModelIdentity(model_id, "transformers", revision, quantization=quantization)
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._lock = threading.Lock()  # for the queue and what is in work
        self._queue: deque[_Asked] = deque()
        self._in_work: dict[int, _Asked] = {}  # by the identity of the question
        self._is_serving = False
        self._users = 0  # threads that prepare or ask
        self._used_at = time.monotonic()
        self._closing = threading.Event()
        self._engine: Engine | None = None
        self._weights = ""  # the checkpoint's signature: another one in the same folder differs

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    @property
    def is_loaded(self) -> bool:
        return self._engine is not None

    @property
    def capacity(self) -> int:
        # As many as the model works on at once, and the same number ready to follow.
        return 2 * (self._batch_size or 1)

    def gauges(self) -> Gauges:
        device = self._identity.device  # known once CUDA has a context: mem_get_info would make one
        if device is None or not device.startswith("cuda"):
            return Gauges(download=self._downloads.now)
        try:
            free, total = torch.cuda.mem_get_info(device)
        except RuntimeError:  # the card is lost; the next question to the model reports it
            return Gauges()
        return Gauges(memory_used_bytes=total - free, memory_bytes=total)

    def load(self) -> None:
        self._model_thread.submit(self._load).result()
        if self._keep_alive_seconds is not None:
            threading.Thread(
                target=self._mind_idleness, args=(self._keep_alive_seconds,), name="keep-alive", daemon=True
            ).start()

    def needed_side(self, width: int, height: int) -> int | None:
        engine = self._engine
        # None also while the model is unloaded: the picture is decoded in full, to the same result.
        return None if engine is None else engine.needed_side(width, height)

    @property
    def scaling(self) -> ScalingOf | None:
        engine = self._engine
        return engine.scaling if isinstance(engine, TakesScaled) else None

    def prepare(self, picture: Picture) -> Any:
        """On the caller's thread, so that many cores work ahead of one device."""
        use_one_core()
        with self._in_use() as engine:
            if not picture.is_scaled:
                return engine.prepare(picture.image)
            if isinstance(engine, TakesScaled):
                return engine.prepare_scaled(picture.image)
        # It was let go since, and has come back spread over several devices, by another way of preparing.
        raise TryLater("the model was loaded again in another way", after_seconds=1.0)

    def fingerprint(self, prepared: Any) -> bytes:
        return fingerprint_of(self._identity, self._weights, digest_of(prepared))

    def ask(self, prepared: Any, request: CaptionRequest) -> Answer:
        (asked,) = self._queued(prepared, [request])
        return self._answer(asked.completion.result(), request)

    def ask_all(
        self, prepared: Any, requests: Sequence[CaptionRequest]
    ) -> list[Answer | Rejected | TryLater]:
        asked = self._queued(prepared, requests)
        return [
            self._answer(one.completion.result(), request)
            for one, request in zip(asked, requests, strict=True)
        ]

    def _queued(self, prepared: Any, requests: Sequence[CaptionRequest]) -> list[_Asked]:
        """Queue the questions one behind the other, so that the model gets them together."""
        with self._in_use() as engine:
            asked = [_Asked(engine.question(prepared, request)) for request in requests]
            with self._lock:
                self._queue += asked
        self._see_to_it()
        return asked

    @contextmanager
    def _in_use(self) -> Iterator[Engine]:
        """The model, which stays loaded while this lasts; it is loaded again if it was unloaded."""
        with self._lock:
            self._users += 1
        try:
            yield self._engine or self._model_thread.submit(self._awake).result()
        finally:
            with self._lock:
                self._users -= 1
                self._used_at = time.monotonic()

    def close(self) -> None:
        self._closing.set()
        # No wait for the thread: it may be in the middle of a download, and no caller asks any more.
        self._model_thread.shutdown(wait=False, cancel_futures=True)

    def _mind_idleness(self, keep_alive_seconds: float) -> None:
        """On a thread of its own: have the model unloaded once it was idle for so long."""
        while not self._closing.wait(self._seconds_left(keep_alive_seconds)):
            try:
                self._model_thread.submit(self._let_go_if_idle, keep_alive_seconds)
            except RuntimeError:  # closed meanwhile
                return

    def _seconds_left(self, keep_alive_seconds: float) -> float:
        with self._lock:
            if self._engine is None or self._is_in_use():
                return keep_alive_seconds
            return max(self._used_at + keep_alive_seconds - time.monotonic(), 0.01)

    def _is_in_use(self) -> bool:
        return bool(self._users or self._is_serving or self._queue)

    def _see_to_it(self) -> None:
        """Have the queue served, unless it is being served already."""
        with self._lock:
            if self._is_serving or not self._queue:
                return
            self._is_serving = True
            serving = self._model_thread.submit(self._serve)
        serving.add_done_callback(self._served)

    def _served(self, serving: Future[None]) -> None:
        """Answer, fail or queue again every question in work, whatever ended the serving."""
        error = CancelledError() if serving.cancelled() else serving.exception()
        with self._lock:
            self._is_serving = False
            self._used_at = time.monotonic()
            left = list(self._in_work.values())
            self._in_work.clear()
            if isinstance(error, CancelledError):
                left += self._queue
                self._queue.clear()
            elif not isinstance(error, Surroundings | CannotStart) and len(left) > 1:
                # One of these pictures made the model fail, and it is unknown which: each is asked by itself,
                # so that the bad picture fails alone.
                for asked in reversed(left):
                    asked.is_alone = True
                    self._queue.appendleft(asked)
                left = []
        for asked in left:
            asked.completion.set_exception(error or RuntimeError("the model gave no answer"))
        self._see_to_it()

    # Everything below runs on the model's thread.

    def _serve(self) -> None:
        """Answer until the queue is empty; when memory runs out, put what is unanswered back into it."""
        engine = self._awake_for_the_queue()
        size = self._batch_size or 1
        try:
            for question, completion in engine.completions(self._more, size):
                with self._lock:
                    asked = self._in_work.pop(id(question))
                asked.completion.set_result(completion)
        except RuntimeError as error:
            if _is_out_of_memory(error):
                self._shrink(size, error)
            elif isinstance(error, torch.AcceleratorError):
                raise _lost(self._identity.device, error) from error
            else:
                raise
        if torch.cuda.is_available() and size != self._batch_size:
            torch.cuda.empty_cache()

    def _shrink(self, size: int, error: Exception) -> None:
        """Halve the batch size from now on; the questions in work are asked again, in their order."""
        if size == 1:
            raise Surroundings(
                f"out of memory on {self._identity.device}: {error}", advice=_MEMORY_ADVICE
            ) from error
        self._batch_size = size // 2
        log.warning("out of memory: smaller batches from now on", batch_size=self._batch_size)
        with self._lock:
            self._queue.extendleft(reversed(self._in_work.values()))
            self._in_work.clear()

    def _more(self, room: int) -> list[Any]:
        """The next questions for the model, at most `room`."""
        found: list[Any] = []
        with self._lock:
            is_reserved = any(asked.is_alone for asked in self._in_work.values())
            while self._queue and len(found) < room and not is_reserved:
                is_reserved = self._queue[0].is_alone
                if is_reserved and self._in_work:
                    break
                asked = self._queue.popleft()
                self._in_work[id(asked.question)] = asked
                found.append(asked.question)
        return found

    def _awake_for_the_queue(self) -> Engine:
        try:
            return self._awake()
        except BaseException:
            # Fail every queued caller: otherwise each would ask for the load again.
            with self._lock:
                self._in_work.update({id(asked.question): asked for asked in self._queue})
                self._queue.clear()
            raise

    def _awake(self) -> Engine:
        """The model, loaded again if it was unloaded."""
        if self._engine is None:
            log.info("loading the model again", model=self._identity.id)
            try:
                self._load()
            except _CardLost:
                raise
            except CannotStart as trouble:
                # It could be loaded once, so something about it changed, and may change back.
                raise Surroundings(trouble.message, advice=trouble.advice) from trouble
        assert self._engine is not None
        return self._engine

    def _let_go_if_idle(self, keep_alive_seconds: float) -> None:
        with self._lock:
            is_idle = time.monotonic() >= self._used_at + keep_alive_seconds and not self._is_in_use()
            if self._engine is None or not is_idle:
                return
            self._engine = None
        gc.collect()  # a network refers to itself in many places
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.info("the model is let go until the next picture", idle_seconds=keep_alive_seconds)

    def _load(self) -> None:
        use_all_cores()
        checkpoint = locate(self._model_id, self._revision, self._downloads)
        place = placement(self._device, self._dtype, self._quantization, stored_dtype(checkpoint.folder))
        try:
            engine = self._open_engine(checkpoint.folder, place, self._num_crops)
            batch_size = self._batch_size or engine.batch_size_that_fits(self._max_new_tokens)
            # Ready means that an answer came, not that the weights lie in memory.
            gray = engine.prepare(Image.new("RGB", (64, 64), "gray"))
            questions = [engine.question(gray, CaptionRequest("Describe this.", 1))]
            for _ in engine.completions(lambda room: [questions.pop()] if questions else [], 1):
                pass
        except RuntimeError as error:
            if _is_out_of_memory(error):
                raise Surroundings(
                    f"the model does not fit on {place.device}: {error}", advice=_MEMORY_ADVICE
                ) from error
            if isinstance(error, torch.AcceleratorError):
                raise _lost(place.device, error) from error
            raise self._unloadable(error) from error
        except Exception as error:  # the libraries raise anything for what they cannot load
            raise self._unloadable(error) from error
        # Fixed for loading it again: a lost card must not become the CPU, nor this commit another one.
        self._batch_size, self._device = batch_size, place.device
        self._revision, self._weights = checkpoint.revision, checkpoint.signature
        self._identity = ModelIdentity(
            id=self._model_id,
            backend="transformers",
            revision=checkpoint.revision,
            device=str(engine.model.device),
            dtype=str(place.dtype).removeprefix("torch."),
            quantization=self._quantization,
        )
        with self._lock:
            self._used_at = time.monotonic()
            self._engine = engine

    def _unloadable(self, error: Exception) -> CannotStart:
        said = str(error).strip() or type(error).__name__
        return CannotStart(
            f"model.id: {self._model_id} cannot be loaded: {said}",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice=unloadable.advice(error),
        )

    def _answer(self, completion: Completion, request: CaptionRequest) -> Answer:
        text = clean(completion.text)
        cut = Notice("cut_off", f"the caption reached caption.max_new_tokens ({request.max_new_tokens})")
        return Answer(
            text=text,
            raw_output=completion.text if completion.text != text else None,
            model=self._identity,
            request=request,
            prompt_tokens=completion.prompt_tokens,
            new_tokens=completion.new_tokens,
            finish_reason="stop" if completion.is_finished else "length",
            notices=() if completion.is_finished else (cut,),
        )


def _is_out_of_memory(error: RuntimeError) -> bool:
    """True also if torch has no class of its own for it: on the CPU, in cuBLAS, and outside its allocator."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(words in said for words in _NO_MEMORY)


def _lost(device: str | None, error: Exception) -> _CardLost:
    """The card fell off its bus, or a kernel failed: every CUDA call of this process fails from now on."""
    return _CardLost(
        f"{device} is lost to this process: {str(error).splitlines()[0]}",
        exit_code=ExitCode.TRY_AGAIN,
        advice="Look at `nvidia-smi` and the kernel log; a restart of captiond may be enough.",
    )


_NO_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
_MEMORY_ADVICE = (
    "Close what else uses the card, or set model.quantization to int8 or int4, model.num_crops lower or "
    "model.batch_size to 1."
)
