"""The records of the decoding loop: pictures prepared once, questions about them, and the answers' tokens.

They are made on the CPU, ahead of the device and on any thread.  It knows no words and runs no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from transformers import BatchFeature

from captiond.phi3v.image_processing import image_token_count
from captiond.phi3v.tower import distinct_crops, layouts_of


@dataclass(slots=True, eq=False, weakref_slot=True)
class Seen:
    """The pictures of one prompt, prepared for the tower; any number of questions may be about them.

    The tower looks at them once; then its vectors take the crops' place.
    """

    crops: torch.Tensor | None  # [m, 3, crop, crop], each distinct one once
    orders: list[list[int]]
    layouts: list[tuple[int, int]]
    vectors: torch.Tensor | None = None  # [all positions, H], in the computer's memory

    @classmethod
    def of(cls, pictures: BatchFeature, *, dtype: torch.dtype, pin: bool = False) -> Self:
        """From the image processor's result; `pin`: in pinned memory, for asynchronous copies to a GPU."""
        pixels = pictures["pixel_values"]
        layouts = layouts_of(pictures["image_sizes"], pixels.shape[-1])
        crops: list[torch.Tensor] = []
        orders: list[list[int]] = []
        for picture, (down, across) in zip(pixels, layouts, strict=True):
            distinct, order = distinct_crops(picture[: down * across + 1])
            orders.append([len(crops) + index for index in order])
            crops += distinct
        stacked = torch.empty(len(crops), *pixels.shape[2:], dtype=dtype)
        for index, crop in enumerate(crops):  # one by one, so that no full-precision stack is made
            stacked[index] = crop
        return cls(pinned(stacked) if pin else stacked, orders, layouts)

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
    def of(cls, batch: BatchFeature, max_new_tokens: int, *, dtype: torch.dtype, pin: bool = False) -> Self:
        """From the processor's batch of one prompt with its pictures, if it has any."""
        seen = Seen.of(batch, dtype=dtype, pin=pin) if "pixel_values" in batch else None
        return cls.about(seen, batch, max_new_tokens)

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
