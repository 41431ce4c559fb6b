"""The one way from a picture's bytes to what the captioner can be asked: within limits, decoded, prepared.

The inbox, `/infer` and `captiond caption` share one of these per process, and with it one bound on what is
decoded at once.  The decoded pixels, by far the largest thing in memory, are freed before a caller waits for
the model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Generic, NamedTuple

from captiond import formats
from captiond.captioners import Captioner, Prepared, Scales, SendsJpegs
from captiond.errors import Rejected
from captiond.formats import raw
from captiond.pictures.pool import Decoders, How
from captiond.records import PictureFacts
from captiond.support.cores import cores

# So many slow pictures give up their turn while they go on, so that they hold up no other picture.
SLOW_BESIDE_CORES = 2


class Ready(NamedTuple, Generic[Prepared]):
    """A picture about which the captioner can be asked."""

    prepared: Prepared
    facts: PictureFacts
    began: float  # when its turn to be decoded came, by the clock


class Preparing(Generic[Prepared]):
    """Safe to call from many threads."""

    def __init__(
        self,
        captioner: Captioner[Prepared],
        decoders: Decoders,
        *,
        preview_of: Callable[[bytes], bytes | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`preview_of`: finds the JPEG in a RAW that the decoders cannot read."""
        self._preview_of = preview_of
        self._captioner = captioner
        self._decoders = decoders
        self._clock = clock
        at_once = cores()
        # Decoding and preparing on more threads than cores gains nothing, and holds that many whole pictures.
        self._turns = threading.BoundedSemaphore(at_once)
        self._aside = threading.BoundedSemaphore(at_once + SLOW_BESIDE_CORES)

    def of(self, data: bytes, *, max_pixels: int, name: str = "") -> Ready[Prepared]:
        """The picture in `data`, ready to be asked about; waits for its turn.

        Raises: whatever decoding it and the captioner raise; MemoryError, if there is too little for it
        even alone.
        """
        how = How(max_pixels, called_raw=raw.has_ending(name))
        try:
            return self._whatever_it_takes(data, how)
        except Rejected as rejected:
            preview = self._preview_instead(data, name, rejected)
            if preview is None:
                raise
        ready = self._whatever_it_takes(preview, replace(how, called_raw=False))
        return ready._replace(facts=replace(ready.facts, format=formats.RAW.name))

    def _preview_instead(self, data: bytes, name: str, rejected: Rejected) -> bytes | None:
        """The JPEG that exiftool finds in a RAW that LibRaw cannot read."""
        is_raw = raw.kind_in(data) is not None or raw.has_ending(name)
        may_help = is_raw and rejected.kind == "unreadable" and formats.is_served(formats.RAW)
        return self._preview_of(data) if may_help and self._preview_of is not None else None

    def _whatever_it_takes(self, data: bytes, how: How) -> Ready[Prepared]:
        try:
            return self._prepared(data, how)
        except MemoryError:
            pass  # leaving this clause frees what the error held
        return self._prepared(data, replace(how, alone=True))

    def _prepared(self, data: bytes, how: How) -> Ready[Prepared]:
        with self._turn() as step_aside:
            began, captioner = self._clock(), self._captioner
            how = replace(how, on_slow=step_aside)
            if isinstance(captioner, SendsJpegs):
                encoded = self._decoders.encoded(data, captioner.wish, how)
                return Ready(captioner.prepare_encoded(encoded), encoded.facts, began)
            scaling = captioner.scaling if isinstance(captioner, Scales) else None
            with self._decoders.decoded(data, captioner.needed_side, how, scaling) as picture:
                return Ready(captioner.prepare(picture), picture.facts, began)

    @contextmanager
    def _turn(self) -> Iterator[Callable[[], None]]:
        """Hold a turn; what is yielded passes it on early, so that a few slow pictures block no other."""
        with ExitStack() as held:
            held.enter_context(self._turns)

            def step_aside() -> None:
                if self._aside.acquire(blocking=False):
                    held.close()
                    held.callback(self._aside.release)

            yield step_aside
