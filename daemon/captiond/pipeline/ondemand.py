"""Pictures that come without a file: bytes to a caption, by the captioner and within the limits of the inbox.

It touches no folder and closes no gate: the next picture of the inbox meets the same trouble, and judges it.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from captiond import pictures
from captiond.captioners import Captioner
from captiond.errors import Surroundings
from captiond.pipeline import PIXELS_TOGETHER
from captiond.pipeline.gate import Gate
from captiond.records import Caption, RulesOf
from captiond.support.budget import ALONE, Budget


class Answering:
    """Safe to call from many threads."""

    def __init__(self, captioner: Captioner[Any], rules_of: RulesOf, gate: Gate) -> None:
        """`rules_of`: of a picture without a path, those of the inbox itself."""
        self._captioner = captioner
        self._rules_of = rules_of
        self._gate = gate
        self._ready = threading.Event()
        self._decoding = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._pixels = Budget(PIXELS_TOGETHER)

    def begin(self) -> None:
        """From here on the model answers."""
        self._ready.set()

    def trouble(self) -> str | None:
        """Why nobody can be answered at present, if so."""
        trouble = self._gate.trouble
        if trouble is not None:
            return trouble.message
        return None if self._ready.is_set() else "the model is being loaded"

    def caption(self, data: bytes) -> Caption:
        """Raises Surroundings where nobody is answered, and whatever decoding and the captioner raise."""
        reason = self.trouble()
        if reason is not None:
            raise Surroundings(reason)
        return self._captioner.caption(self._question(data))

    def _question(self, data: bytes) -> Any:
        """As in the pipeline, the decoded pixels end here, before a long wait for the model."""
        try:
            return self._decoded(data, pictures.declared_pixels(data))
        except MemoryError:
            pass  # what it held is let go when this clause is left
        return self._decoded(data, ALONE)

    def _decoded(self, data: bytes, pixels: float) -> Any:
        with self._decoding, self._pixels.holding(pixels):
            rules = self._rules_of("")
            needed_side = self._captioner.needed_side
            picture = pictures.decode(data, max_pixels=rules.max_pixels, needed_side=needed_side)
            return self._captioner.prepare(picture, rules.request)
