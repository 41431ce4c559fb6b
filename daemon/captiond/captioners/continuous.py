"""Continuous batching for other families: rows come and go, and each step is for all that are there.

A family's own `generate` prefills newcomers (`prefill`); then each row has a slot of the cache (`slots`), a
position and a mask of its own.  A family is served so if its next step needs nothing else, and if one step of
the loop has the scores of `generate`; that is tried with a question when the model is loaded, not known by
name.  The best token is taken each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from captiond.captioners.prefill import Begun, NotPlain, Walk, through_generate
from captiond.captioners.slots import Slots

# By how much of their spread scores may differ from those of `generate`, and still be the same: shapes of
# products differ, so that the last bits do, of 16 or fewer more of them.
NEAR, NEAR_ROUNDED = 1e-3, 5e-2
TRIED_STEPS = 3


@dataclass(slots=True, eq=False)
class Row:
    asked: Any
    limit: int
    tokens: list[int]
    length: int  # places of its slot that are filled
    ids: torch.Tensor | None  # [1, all] for what steers the answer; None if nothing does
    steering: Any


class ContinuousBatch:
    """Rows of one model, on one device, from one thread."""

    def __init__(self, model: PreTrainedModel, begun: Begun) -> None:
        """For rows like those that have begun."""
        self.rows: list[Row] = []
        self.stop_ids = begun.stop_ids
        self._model, self._steps = model, begun.model
        self._more, self._limit = begun.more, begun.limit
        self._layers, self._axes = len(begun.cache.layers), begun.positions.shape[:-2]
        self._device = begun.ids.device
        self._make_room(0)

    def clear(self, slots: int) -> None:
        """Begin anew, with at most so many rows at once."""
        if slots != len(self._last):
            self._make_room(slots)
        self.rows = []

    def has_room(self, prompt_length: int, max_new_tokens: int) -> bool:
        """False if a row of this length would reach where `Begun.limit` ends."""
        return self._limit is None or prompt_length + max_new_tokens <= self._limit

    def take_in(self, asked: Sequence[Any], inputs: Mapping[str, Any], max_new_tokens: int) -> None:
        """Prefill a batch of newcomers; each gets a slot, and its first token.

        Raises: NotPlain, if these need more than the question of the trial did; then none has joined.
        """
        begun = through_generate(self._model, inputs, max_new_tokens, Walk.begin)
        if not all(self.has_room(end - start, max_new_tokens) for start, end in begun.used):
            raise NotPlain("a prompt is longer than its tokens")  # where the picture is not among them
        for index, one in enumerate(asked):
            self.put(one, begun, index, max_new_tokens)

    def left(self) -> Iterator[tuple[Any, list[int]]]:
        """Take out the rows that have ended, with their tokens, a stop token among them."""
        for index in reversed(range(len(self.rows))):
            row = self.rows[index]
            if row.tokens[-1] in self.stop_ids or len(row.tokens) == row.limit:
                self._take_out(index)
                yield row.asked, row.tokens

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for each row."""
        scores = self.scores()
        for index, row in enumerate(self.rows):
            if row.ids is not None:
                scores[index : index + 1] = row.steering(row.ids, scores[index : index + 1])
        best = scores.argmax(dim=-1)
        self._last[: len(self.rows)] = best
        self._places[: len(self.rows)] += 1
        for index, (row, token) in enumerate(zip(self.rows, best.tolist(), strict=True)):
            row.tokens.append(token)
            row.length += 1
            if row.ids is not None:
                row.ids = torch.cat((row.ids, best[index : index + 1, None]), dim=1)

    @torch.inference_mode()
    def scores(self, *, too_long: bool = False) -> torch.Tensor:
        """Those [rows, vocabulary] of each row's next token; they do not hang on `too_long`."""
        count, longest = len(self.rows), max(row.length for row in self.rows) + 1
        places = self._places[:count]
        seen = self._slots.begin(places, longest, too_long=too_long)
        mask = torch.arange(seen, device=places.device) <= places[:, None]
        outputs = self._steps(
            input_ids=self._last[:count, None],
            attention_mask=mask.long(),
            position_ids=(places + self._offsets[..., :count])[..., None],
            past_key_values=self._slots,
            return_dict=True,
            **{name: self._for_rows(value, count) for name, value in self._more.items()},
        )
        scores: torch.Tensor = outputs.logits[:, -1].float()
        return scores

    @torch.inference_mode()
    def spoil(self) -> None:
        """Write something else behind each row."""
        for slot, row in enumerate(self.rows):
            self._slots.spoil(slot, row.length)

    def _for_rows(self, value: Any, count: int) -> Any:
        return value.expand(count, -1) if isinstance(value, torch.Tensor) else value

    def _make_room(self, slots: int) -> None:
        self._slots = Slots(self._layers)
        self._last, self._places = torch.zeros(2, slots, dtype=torch.int64, device=self._device)
        # What a row's position is beyond its place, in each dimension that the family gives it.
        self._offsets = torch.zeros(*self._axes, slots, dtype=torch.int64, device=self._device)

    @torch.inference_mode()
    def put(self, asked: Any, begun: Begun, index: int, limit: int) -> None:
        slot, (begin, end) = len(self.rows), begun.used[index]
        length, ids = end - begin, begun.ids[index : index + 1]
        token = int(ids[0, -1])
        self._slots.put(slot, begun.cache, index, begin, end, length + limit)
        self._last[slot] = token
        self._places[slot] = length
        self._offsets[..., slot] = begun.positions[..., index, 0] - length
        is_steered = len(begun.steering) > 0
        self.rows.append(Row(asked, limit, [token], length, ids if is_steered else None, begun.steering))

    @torch.inference_mode()
    def _take_out(self, index: int) -> None:
        """The last row moves into the gap: when removing several rows, remove the last one first."""
        row, last = self.rows[index], self.rows.pop()
        if last is not row:
            self.rows[index] = last
            self._slots.move(len(self.rows), index, last.length)
            for state in (self._last, self._places, self._offsets):
                state[..., index] = state[..., len(self.rows)]


def opened(model: PreTrainedModel, inputs: Mapping[str, Any]) -> ContinuousBatch:
    """A batch without rows, after a trial with the inputs of `generate` for one question.

    Raises: NotPlain, if the model is not served so.
    """
    if len({parameter.device for parameter in model.parameters()}) > 1:
        raise NotPlain("it is on several devices")

    def walked(walk: Walk) -> tuple[Begun, torch.Tensor, torch.Tensor]:
        begun = walk.begin()
        return begun, torch.cat([walk.step() for _ in range(TRIED_STEPS)]), walk.ids

    try:
        begun, expected, ids = through_generate(model, inputs, TRIED_STEPS + 1, walked)
        batch = ContinuousBatch(model, begun)
        _try(batch, begun, expected, ids)
    except _OF_OTHERS_CODE as error:  # what is wrong with the model itself is told when `generate` asks it
        raise NotPlain(f"{type(error).__name__}: {error}") from error
    batch.clear(0)
    return batch


def _try(batch: ContinuousBatch, begun: Begun, expected: torch.Tensor, ids: torch.Tensor) -> None:
    """Take one step for three rows, made of one question and what `generate` answers.

    Each is one token longer than the last.  Their scores must be those that `generate` has one after the
    other.  To the last bit they must not hang on what lies in a slot behind its row, nor on how long the
    cache says it is: a position that is taken from there may move scores by less than rounding to 16 bits.

    Raises: NotPlain.
    """
    batch.clear(TRIED_STEPS)
    (_, end), length = begun.used[0], begun.ids.shape[1]
    if not batch.has_room(end, TRIED_STEPS + 2):
        raise NotPlain("it forgets the beginning of a question, or is told another length then")
    for more in range(TRIED_STEPS):
        row = begun._replace(
            ids=ids[:, : length + more], used=[(0, end + more)], positions=begun.positions + more
        )
        batch.put(None, row, 0, TRIED_STEPS)
    once, again = batch.scores(), batch.scores()
    off, is_rounded = _distance(once, expected), begun.model.dtype != torch.float32
    if not off <= (NEAR_ROUNDED if is_rounded or getattr(begun.model, "is_quantized", False) else NEAR):
        raise NotPlain(f"its scores are off by {off:.2g} of their spread")
    batch.spoil()
    if not _distance(batch.scores(too_long=True), once) <= 2 * _distance(again, once):
        raise NotPlain("its scores hang on a row's neighbours")


def _distance(scores: torch.Tensor, expected: torch.Tensor) -> float:
    """The root mean square of the difference, as a share of the spread."""
    return float((scores - expected).square().mean().sqrt() / expected.std())


# What a family's code raises if it is driven otherwise than it was written for.
_OF_OTHERS_CODE = (
    AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError
)  # fmt: skip
