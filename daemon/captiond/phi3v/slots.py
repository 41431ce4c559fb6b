"""The key-value cache of a batch whose rows come and go: one slot for each row.

A row begins at place 0 of its slot, whatever its neighbours' lengths, so nothing is padded on the left and a
key's place is its position.  The rows in work fill the first slots without a gap.  It knows no tokens, and
never asks the device for a number.
"""

from __future__ import annotations

from typing import Any

import torch

from captiond.phi3v.configuration import Phi3VConfig


class SlotCache:
    """What the decoder's layers take for a cache.

    `prefill` and `extend` say what the coming `update` calls write, and how much of it attention sees.
    """

    def __init__(
        self, config: Phi3VConfig, slots: int, length: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        heads = config.num_key_value_heads or config.num_attention_heads
        width = config.hidden_size // config.num_attention_heads
        # Zeros: masked places are multiplied by 0, and what lies in fresh memory may be NaN.
        self._data = torch.zeros(
            config.num_hidden_layers, 2, slots, heads, length, width, device=device, dtype=dtype
        )
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
        """Whole prompts come, for the slots from `first` on."""
        self._first, self._count, self._places = first, count, None

    def extend(self, first: int, places: torch.Tensor, seen: int) -> None:
        """More comes for the slots from `first` on, to `places` [rows, new]; it may see `seen` places."""
        self._first, self._count, self._places, self._seen = first, len(places), places, seen

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [rows, heads, new, width] in; those that attention sees out."""
        stored = self._data[layer_idx]
        slots = slice(self._first, self._first + self._count)
        if self._places is None:
            stored[0, slots, :, : keys.shape[2]] = keys
            stored[1, slots, :, : values.shape[2]] = values
            return keys, values
        rows = self._rows[slots, None]
        stored[0][rows, :, self._places] = keys.transpose(1, 2)
        stored[1][rows, :, self._places] = values.transpose(1, 2)
        return stored[0, slots, :, : self._seen], stored[1, slots, :, : self._seen]

    def move(self, source: int, target: int, length: int) -> None:
        """What one slot begins with into another."""
        self._data[:, :, target, :, :length] = self._data[:, :, source, :, :length]
