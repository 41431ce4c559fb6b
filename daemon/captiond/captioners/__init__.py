"""What the pipeline knows of a captioner: a picture is made ready once, and asked about as often as need be.

`prepare` does what can be done ahead (crops, or a JPEG for the wire) and frees the decoded picture, by far
the largest thing in memory.  `ask` blocks its caller until the answer is there; a prepared picture is good
for further questions, also after a first answer, and is neither decoded nor looked at again for them.  Both
are called from many threads at once; a captioner gathers the calls as it sees fit (batches for a GPU,
requests in flight for a server) and says with `capacity` how many it can make use of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

from captiond.encoded import Encoded, JpegWish
from captiond.errors import Rejected, TryLater
from captiond.records import Answer, CaptionRequest, ModelIdentity, Picture
from captiond.scaling import ScalingOf
from captiond.status import Gauges

PREPARING = 1  # raise it if the model is now shown or asked something else for the same picture and question

Prepared = TypeVar("Prepared")
MadeReady = TypeVar("MadeReady", covariant=True)
Known = TypeVar("Known", contravariant=True)


class Captioner(Protocol[Prepared]):
    """A model that describes pictures."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model answers.  Known in full once `load` has returned."""

    @property
    def capacity(self) -> int:
        """How many concurrent calls of `ask` this captioner can make use of."""

    @property
    def is_loaded(self) -> bool:
        """Whether the next question finds the model ready; if not, the model is loaded for it."""

    def gauges(self) -> Gauges:
        """The state of its device or server now; never waits, never raises."""

    def load(self) -> None:
        """Make the model ready: it has given one real answer when this returns.

        Raises: CannotStart, if it never will; Surroundings, if it may later.
        """

    def needed_side(self, width: int, height: int) -> int | None:
        """To how many pixels on its long side the model reduces a picture of this size; None: never.

        A decoder that reduces a picture must stay well above that.
        """

    def prepare(self, picture: Picture) -> Prepared:
        """Make a picture ready to be asked about, on the caller's thread.

        Raises: Rejected, if this picture can never be asked about.
        """

    def ask(self, prepared: Prepared, request: CaptionRequest) -> Answer:
        """Ask one question, and wait for the answer, which may be empty.

        Raises: Rejected, if the model cannot describe this picture; TryLater, if it gave no usable answer
        this time; Surroundings, if it can describe none at present (out of memory, server down).
        """

    def ask_all(
        self, prepared: Prepared, requests: Sequence[CaptionRequest]
    ) -> list[Answer | Rejected | TryLater]:
        """Ask several questions about one picture together, and wait for all: for little more than one costs.

        A Rejected or TryLater that `ask` would raise for one question is returned in its place.

        Raises: Surroundings, if `ask` would.
        """

    def close(self) -> None:
        """Let go of the device or the connections."""


@runtime_checkable
class SendsJpegs(Protocol[MadeReady]):
    """A captioner that sends pictures on as JPEGs: the process that decodes one can encode it as well."""

    @property
    def wish(self) -> JpegWish:
        """How large the JPEG should be."""

    def prepare_encoded(self, encoded: Encoded) -> MadeReady:
        """Like `prepare`, which makes the same JPEG from a decoded picture."""


@runtime_checkable
class Scales(Protocol):
    """A captioner that can say how its model scales pictures: the process that decodes one can do that."""

    @property
    def scaling(self) -> ScalingOf | None:
        """None: it does so as it pleases.  `prepare` takes pictures that are scaled so, and others."""


@runtime_checkable
class Recognizes(Protocol[Known]):
    """A captioner that can tell whether it would answer the same about two pictures."""

    def fingerprint(self, prepared: Known, /) -> bytes:
        """A fingerprint of all that decides an answer but the question: the model, and what it is shown.

        Call it before the first question.
        """


def fingerprint_of(model: ModelIdentity, origin: str, content: bytes) -> bytes:
    """`origin`: what else tells the model from others of its name; `content`: a digest of its input."""
    told = [PREPARING, model.id, model.backend, model.revision, model.dtype, model.quantization, origin]
    return hashlib.sha256(json.dumps(told).encode() + content).digest()
