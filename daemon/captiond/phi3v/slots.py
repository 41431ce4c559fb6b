"""The key-value cache of a batch whose rows come and go: one slot for each row.

A row begins at place 0 of its slot, whatever its neighbours' lengths, so nothing is padded on the left and a
key's place is its position.  The rows in work fill the first slots without a gap.  It knows no tokens, and
never asks the device for a number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from captiond.phi3v.configuration import Phi3VConfig


class RealLengths(NamedTuple):
    """For a step: where each slot begins among all places, where each row's query is, how many it sees."""

    starts: torch.Tensor  # int32 [rows + 1]
    queries: torch.Tensor  # int32 [rows + 1]
    used: torch.Tensor  # int32 [rows]
    longest: int


class SlotCache:
    """`prefill` and `extend` say what the coming `store` calls write, and how much of it attention sees.

    With `place_by_place` the heads of a place lie beside each other, as attention over real lengths reads
    them; else the places of a head.  `is_short_way` tells layers to take the way with fewer kernels.
    """

    def __init__(
        self, config: Phi3VConfig, slots: int, length: int, *, device: torch.device, dtype: torch.dtype,
        place_by_place: bool = False, is_short_way: bool = True,
    ) -> None:  # fmt: skip
        heads = config.num_key_value_heads or config.num_attention_heads
        width = config.hidden_size // config.num_attention_heads
        # Zeros: masked places are multiplied by 0, and uninitialized memory may hold NaN.
        inner = (length, heads) if place_by_place else (heads, length)
        data = torch.zeros(config.num_hidden_layers, 2, slots, *inner, width, device=device, dtype=dtype)
        self._data = data.transpose(3, 4) if place_by_place else data
        self.is_short_way = is_short_way
        self.real: RealLengths | None = None  # of the coming step, if attention goes by real lengths
        self._rows = torch.arange(slots, device=device)
        self._first = self._count = self._seen = 0
        self._places: torch.Tensor | None = None

    @property
    def slots(self) -> int:
        return self._data.shape[2]

    @property
    def length(self) -> int:
        return self._data.shape[4]

    def prefill(self, first: int, count: int) -> None:
        """The coming `store` calls write whole prompts to the slots from `first` on."""
        self._first, self._count, self._places, self.real = first, count, None, None

    def extend(self, first: int, places: torch.Tensor, seen: int) -> None:
        """They write to `places` [rows, new] of the slots from `first` on; attention sees `seen` places."""
        self._first, self._count, self._places, self._seen = first, len(places), places, seen
        self.real = None

    def store(self, both: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [rows, new, 2, heads, width] in; those that attention sees out, each
        [rows, heads, places, width]."""
        stored = self._data[layer]
        slots = slice(self._first, self._first + self._count)
        if self._places is None:
            stored[:, slots, :, : both.shape[1]] = both.permute(2, 0, 3, 1, 4)
            return both[:, :, 0].transpose(1, 2), both[:, :, 1].transpose(1, 2)
        stored[:, self._rows[slots, None], :, self._places] = both
        return stored[0, slots, :, : self._seen], stored[1, slots, :, : self._seen]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`store` for the library's layers: keys and values [rows, heads, new, width]."""
        return self.store(torch.stack((keys, values), dim=2).permute(0, 3, 2, 1, 4), layer_idx)

    def flat(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and values [slots * length, heads, width] of a cache that lies place by place."""
        keys, values = self._data[layer].transpose(2, 3).flatten(1, 2)
        return keys, values

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` places of one slot into another."""
        self._data[:, :, target, :, :length] = self._data[:, :, source, :, :length]
