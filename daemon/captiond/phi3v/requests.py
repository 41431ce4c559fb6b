"""The records of the decoding loop: pictures prepared once, questions about them, and the answers' tokens.

They are made on the CPU, ahead of the device and on any thread.  It knows no words and runs no network.
A picture waits as bytes, a quarter of the floats that the device makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from PIL import Image
from transformers import BatchFeature

from captiond.phi3v.image_processing import Phi3VImageProcessor, image_token_count
from captiond.phi3v.tower import different


class Fitted(NamedTuple):
    """A picture cut to whole crops, of which no float is made yet."""

    pixels: torch.Tensor  # uint8 [height, width, 3]
    different: list[int]  # which of its views differ from those before; view 0 is the global one
    order: list[int]  # for each view, which of the different ones it is

    @classmethod
    def of(cls, processor: Phi3VImageProcessor, pixels: torch.Tensor, *, pin: bool) -> Self:
        """A picture of one crop is its own global view (336 to 336 bicubic is the identity)."""
        firsts, order = different(processor.crops(pixels))
        if pin:
            pixels = pinned(pixels)
        if order == [0]:
            return cls(pixels, [0], [0, 0])
        return cls(pixels, [0, *(1 + first for first in firsts)], [0, *(1 + place for place in order)])


@dataclass(slots=True, eq=False, weakref_slot=True)
class Seen:
    """The pictures of one prompt, prepared for the tower; any number of questions may be about them.

    The tower looks at them once; then its vectors take the pictures' place.
    """

    processor: Phi3VImageProcessor
    pictures: list[Fitted] | None
    layouts: list[tuple[int, int]]
    vectors: torch.Tensor | None = None  # [all positions, H], in the computer's memory

    @classmethod
    def of(
        cls,
        processor: Phi3VImageProcessor,
        pictures: Sequence[Image.Image],
        num_crops: int | None = None,
        *,
        pin: bool = False,
    ) -> Self:
        """`pin`: in pinned memory, for asynchronous copies to a GPU."""
        return cls.of_scaled(processor, [processor.scaled(one, num_crops) for one in pictures], pin=pin)

    @classmethod
    def of_scaled(
        cls, processor: Phi3VImageProcessor, pictures: Sequence[Image.Image], *, pin: bool = False
    ) -> Self:
        """Of pictures that were scaled as the processor does it."""
        fitted = [Fitted.of(processor, processor.padded(one), pin=pin) for one in pictures]
        return cls(processor, fitted, [processor.layout_of(one.pixels) for one in fitted])

    def token_counts(self, merged_side: int) -> list[int]:
        """Prompt positions that each picture takes."""
        return [image_token_count(*layout, merged_side) for layout in self.layouts]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One prompt, with the pictures that it is about."""

    input_ids: torch.Tensor  # [L]
    spans: tuple[tuple[int, int], ...]  # where each run of picture positions begins and ends
    seen: Seen | None
    max_new_tokens: int
    temperature: float = 0.0  # 0: the best token each time; above 0: a sampled one
    seed: int | None = None  # of the sampling; None: another one each time

    @classmethod
    def about(
        cls,
        seen: Seen | None,
        prompt: BatchFeature,
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Self:
        """From the processor's batch of one prompt, about pictures that were prepared before."""
        spans = tuple(_runs(prompt["mm_token_type_ids"][0].tolist()))
        return cls(prompt["input_ids"][0], spans, seen, max_new_tokens, temperature, seed)


class Said(NamedTuple):
    """The new tokens, a stop token not among them."""

    tokens: list[int]
    is_finished: bool
    """False if `max_new_tokens` cut it off."""


def pinned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in pinned memory, which a GPU copies asynchronously; unchanged if there is no more of it."""
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor


def _runs(types: list[int]) -> Iterator[tuple[int, int]]:
    """Begin and end of each run of ones."""
    begin = None
    for index, kind in enumerate([*types, 0]):
        if kind == 1 and begin is None:
            begin = index
        elif kind != 1 and begin is not None:
            yield begin, index
            begin = None
