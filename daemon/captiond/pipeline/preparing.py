"""The one way from a picture's bytes to what the captioner can be asked: within limits, decoded, prepared.

The inbox, `/infer` and `captiond caption` share one of these per process, and with it one bound on what is
decoded at once.  The decoded pixels, by far the largest thing in memory, are let go before anybody waits for
the model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Generic, NamedTuple

from captiond.captioners import Captioner, Prepared, SendsJpegs
from captiond.pictures import Decoders, How
from captiond.records import PictureFacts
from captiond.support.cores import cores

# Slow pictures that go on beside the cores' turns, so that a few of them hold up nobody else.
SLOW_BESIDE_CORES = 2


class Ready(NamedTuple, Generic[Prepared]):
    """A picture about which the captioner can be asked."""

    prepared: Prepared
    facts: PictureFacts
    began: float  # when its turn to be decoded came, on the clock


class Preparing(Generic[Prepared]):
    """Safe to call from many threads."""

    def __init__(
        self,
        captioner: Captioner[Prepared],
        decoders: Decoders,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._captioner = captioner
        self._decoders = decoders
        self._clock = clock
        at_once = cores()
        # Decoding and preparing on more threads than cores gains nothing, and holds that many whole pictures.
        self._turns = threading.BoundedSemaphore(at_once)
        self._aside = threading.BoundedSemaphore(at_once + SLOW_BESIDE_CORES)

    def of(self, data: bytes, *, max_pixels: int) -> Ready[Prepared]:
        """The picture in `data`, ready to be asked about; waits for its turn.

        Raises: whatever decoding it and the captioner raise; MemoryError if there is too little for it
        even alone.
        """
        try:
            return self._prepared(data, max_pixels, alone=False)
        except MemoryError:
            pass  # what it held is let go when this clause is left
        return self._prepared(data, max_pixels, alone=True)

    def _prepared(self, data: bytes, max_pixels: int, *, alone: bool) -> Ready[Prepared]:
        with self._turn() as step_aside:
            began, captioner = self._clock(), self._captioner
            how = How(max_pixels, alone=alone, on_slow=step_aside)
            if isinstance(captioner, SendsJpegs):
                encoded = self._decoders.encoded(data, captioner.wish, how)
                return Ready(captioner.prepare_encoded(encoded), encoded.facts, began)
            with self._decoders.decoded(data, captioner.needed_side, how) as picture:
                return Ready(captioner.prepare(picture), picture.facts, began)

    @contextmanager
    def _turn(self) -> Iterator[Callable[[], None]]:
        """A turn, and what gives it to the next in line before its time: a few slow ones may go on beside."""
        with ExitStack() as held:
            held.enter_context(self._turns)

            def step_aside() -> None:
                if self._aside.acquire(blocking=False):
                    held.close()
                    held.callback(self._aside.release)

            yield step_aside
