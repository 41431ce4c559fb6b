"""The key-value cache of a batch whose rows come and go: one slot for each row.

A row begins at place 0 of its slot, whatever its neighbours' lengths, so nothing is padded on the left and a
key's place is its position.  The rows in work fill the first slots without a gap.  It knows no tokens, and
never asks the device for a number.
"""

from __future__ import annotations

import torch

from captiond.phi3v.configuration import Phi3VConfig


class SlotCache:
    """`prefill` and `extend` say what the coming `store` calls write, and how much of it attention sees."""

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

    def move(self, source: int, target: int, length: int) -> None:
        """What one slot begins with into another."""
        self._data[:, :, target, :, :length] = self._data[:, :, source, :, :length]
