"""Pictures that come without a file: bytes to a caption, by the captioner and within the limits of the inbox.

It touches no folder and closes no gate: the next picture of the inbox meets the same trouble and closes it.
"""

from __future__ import annotations

from typing import Any

from captiond.captioners import Captioner
from captiond.errors import Surroundings
from captiond.pipeline.asking import said_about
from captiond.pipeline.gate import Gate
from captiond.pipeline.preparing import Preparing
from captiond.records import RulesOf, Said


class Answering:
    """Safe to call from many threads."""

    def __init__(self, rules_of: RulesOf, gate: Gate) -> None:
        """`rules_of`: is asked with an empty path, which gets the rules of the inbox itself."""
        self._rules_of = rules_of
        self._gate = gate
        self._model: tuple[Captioner[Any], Preparing[Any]] | None = None

    def begin(self, captioner: Captioner[Any], preparing: Preparing[Any]) -> None:
        """From now on `said` asks this captioner."""
        self._model = captioner, preparing

    def trouble(self) -> str | None:
        """Why `said` cannot answer at present, or None."""
        trouble = self._gate.trouble
        if trouble is not None:
            return trouble.message
        rest = self._gate.rest
        if rest is not None:
            return f"the work is paused: {rest.reason}"
        return "the model is being loaded" if self._model is None else None

    def said(self, data: bytes) -> Said:
        """Raises: Surroundings, if there is `trouble`; whatever decoding and the captioner raise."""
        reason = self.trouble()
        if reason is not None or self._model is None:
            raise Surroundings(reason or "the model is being loaded")
        captioner, preparing = self._model
        rules = self._rules_of("")
        ready = preparing.of(data, max_pixels=rules.max_pixels)
        return said_about(ready, captioner, rules)
