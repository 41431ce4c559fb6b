"""What the pipeline knows of a captioner: a picture goes in, a caption comes out, in two steps.

`prepare` does what can be done ahead (crops and token ids, or a JPEG for the wire) and lets go of the
decoded picture, which is by far the largest thing in memory.  `caption` blocks its caller until the answer is
there.  Both are called from many threads at once; a captioner gathers the calls as it sees fit (batches for a
GPU, requests in flight for a server) and says with `capacity` how many it can make use of.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from captiond.records import Caption, CaptionRequest, ModelIdentity, Picture
from captiond.status import Gauges

Question = TypeVar("Question")


class Captioner(Protocol[Question]):
    """A model that describes pictures."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model answers.  Known in full once `load` has returned."""

    @property
    def capacity(self) -> int:
        """How many concurrent calls of `caption` this captioner can make use of."""

    @property
    def is_loaded(self) -> bool:
        """Whether the next question finds the model ready; where not, it is loaded for it."""

    def gauges(self) -> Gauges:
        """How its device or its server fares just now; never waits, never raises."""

    def load(self) -> None:
        """Make the model ready: afterwards one real answer has come.

        Raises CannotStart where it never will, Surroundings where it may later.
        """

    def needed_side(self, width: int, height: int) -> int | None:
        """To how many pixels on its long side the model reduces a picture of this size; None: never.

        What decodes a picture smaller than it is must keep well above that.
        """

    def prepare(self, picture: Picture, request: CaptionRequest) -> Question:
        """Make a picture ready to be asked about, on the caller's thread.

        Raises Rejected where this picture can never be asked about.
        """

    def caption(self, question: Question) -> Caption:
        """Ask, and wait for the answer.

        Raises Rejected where the model cannot describe this picture, TryLater where it gave no usable answer
        this time, Surroundings where it can describe none at present (out of memory, server down).
        """

    def close(self) -> None:
        """Let go of the device or the connections."""
