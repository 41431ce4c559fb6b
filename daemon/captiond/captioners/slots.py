"""A key-value cache whose rows come and go, for decoders of transformers: one slot for each row.

A row begins at place 0 of its slot, whatever its neighbours' lengths; the rows in work fill the first slots
without a gap.  To the model it looks like a cache of its own in which every row is as long as the longest, so
the mask must say which places a row has.  It knows no tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

# Slots grow to multiples of so many places, and attention sees multiples of the other: few different shapes.
ROOM_STEP, SEEN_STEP = 128, 16


@dataclass(slots=True)
class Step:
    """What the coming step writes and sees, alike for all layers."""

    rows: torch.Tensor  # [rows], counted from 0
    places: torch.Tensor  # [rows], where each row's new keys go
    seen: int
    said: int  # how long the cache says it is, for making masks; nothing else may hang on it


class Slots(Cache):
    """A cache for steps of one token; `put` fills a slot with what a prefill has left."""

    def __init__(self, layers: int) -> None:
        self._slots = [_SlotLayer() for _ in range(layers)]  # type: ignore[no-untyped-call]
        super().__init__(layers=[*self._slots])

    def begin(self, places: torch.Tensor, longest: int, *, too_long: bool = False) -> int:
        """The coming step writes to one place of each of the first slots; the longest row has `longest` then.

        How many places attention will see, at least one of them beyond all rows.  With `too_long` the cache
        says that it is one place longer than it is.
        """
        held: int = self._slots[0].keys.shape[2]
        seen = min(rounded(longest + 1, SEEN_STEP), held)
        rows = torch.arange(len(places), device=places.device)
        for layer in self._slots:
            layer.step = Step(rows, places, seen, longest - 1 + too_long)
        return seen

    def put(self, slot: int, cache: Any, row: int, begin: int, end: int, room: int) -> None:
        """Copy the places from `begin` to `end` of a row of another cache to the beginning of a slot, which
        has room for at least `room` places; the slots grow for it."""
        for mine, other in zip(self._slots, cache.layers, strict=True):
            mine.grow(other, slot + 1, rounded(room, ROOM_STEP))
            mine.keys[slot, :, : end - begin] = other.keys[row, :, begin:end]
            mine.values[slot, :, : end - begin] = other.values[row, :, begin:end]

    def spoil(self, slot: int, begin: int) -> None:
        """Write something else into the places of a slot that no row has filled."""
        for layer in self._slots:
            layer.keys[slot, :, begin:] = 1.0
            layer.values[slot, :, begin:] = 1.0

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` places of one slot into another."""
        for layer in self._slots:
            for held in (layer.keys, layer.values):
                held[target, :, :length] = held[source, :, :length]


class _SlotLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # as it registers its subclasses
    step: Step
    keys: Any  # [slots, heads, places, width], once a row has come
    values: Any

    def grow(self, other: Any, slots: int, length: int) -> None:
        """Hold at least so many slots and places, of the other layer's width and kind."""
        self.keys = _grown(self.keys, other.keys, slots, length)
        self.values = _grown(self.values, other.values, slots, length)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, places, seen = self.step.rows, self.step.places, self.step.seen
        self.keys[rows, :, places] = key_states[:, :, 0]
        self.values[rows, :, places] = value_states[:, :, 0]
        return self.keys[: len(rows), :, :seen], self.values[: len(rows), :, :seen]

    def get_seq_length(self) -> int:
        return self.step.said

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.step.seen, 0


def _grown(held: torch.Tensor | None, like: torch.Tensor, slots: int, length: int) -> torch.Tensor:
    """Tensors are enlarged one by one, so that only one is held twice."""
    if held is not None:
        if held.shape[0] >= slots and held.shape[2] >= length:
            return held
        slots, length = max(held.shape[0], slots), max(held.shape[2], length)
    # Zeros: masked places are multiplied by 0, and uninitialized memory may hold NaN.
    larger = like.new_zeros(slots, like.shape[1], length, like.shape[3])
    if held is not None:
        larger[: held.shape[0], :, : held.shape[2]] = held
    return larger


def rounded(number: int, step: int) -> int:
    return -(-number // step) * step
