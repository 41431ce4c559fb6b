"""What a family's own `generate` makes of prompts with pictures, up to the first new token.

`generate` hands what it has prepared (inputs, masks, positions, a cache, what steers the answer) to a
function of ours in place of its loop.  So the tower, the merging of pictures and words, and the positions are
the family's own, also where another part than the whole model takes the steps, as in BLIP-2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

Found = TypeVar("Found")


class NotPlain(Exception):
    """The model's next step needs more than a token, its position, a mask, and keys and values."""


class Begun(NamedTuple):
    """Prompts behind their prefill, each with its first new token."""

    model: Any  # the part that takes the steps
    cache: DynamicCache
    ids: torch.Tensor  # [rows, all], padded on the left as `generate` does; the last one is the new one
    used: list[tuple[int, int]]  # where each row's places in the cache begin and end
    positions: torch.Tensor  # [..., rows, 1] of the new tokens
    more: dict[str, Any]  # what each step takes besides, whatever the row
    steering: Any  # changes the scores, such as by a penalty for repeating; empty if nothing does
    stop_ids: frozenset[int]
    limit: int | None  # beyond so many places a row's past, or its neighbours' answers, would change


class Walk:
    """The loop of `generate`, step by step, for the best token each time.

    Raises: NotPlain, if this loop is not all that `generate` would do.
    """

    def __init__(
        self, model: Any, ids: torch.Tensor, steering: Any, stopping: Any, given: dict[str, Any]
    ) -> None:
        if model.config.is_encoder_decoder:
            raise NotPlain("it has an encoder")
        if any(not isinstance(one, EosTokenCriteria | MaxLengthCriteria) for one in stopping):
            raise NotPlain("it stops by rules of its own")
        self._model, self.ids, self._steering, self._given = model, ids, steering, given
        ends = [one.eos_token_id.tolist() for one in stopping if isinstance(one, EosTokenCriteria)]
        self._stop_ids = frozenset(token for some in ends for token in some)

    def step(self, *, is_first: bool = False) -> torch.Tensor:
        """The scores [rows, vocabulary] of the next tokens; the best ones are in `ids` then."""
        how = {"is_first_iteration": True} if is_first else {"next_sequence_length": 1}
        inputs = self._model.prepare_inputs_for_generation(self.ids, **how, **self._given)
        outputs = self._model(**inputs, return_dict=True)
        self._given = self._model._update_model_kwargs_for_generation(
            outputs, self._given, is_encoder_decoder=False
        )
        scores: torch.Tensor = outputs.logits[:, -1].float()
        best = self._steering(self.ids, scores.clone()).argmax(dim=-1)
        self.ids = torch.cat((self.ids, best[:, None]), dim=1)
        return scores

    def begin(self) -> Begun:
        """Take the first step, and say what the family needs for those that follow."""
        self.step(is_first=True)
        rows = len(self.ids)
        next_step = self._model.prepare_inputs_for_generation(self.ids, next_sequence_length=1, **self._given)
        del next_step["input_ids"]
        cache = next_step.pop("past_key_values", None)
        length, windows = _size(cache)
        positions = next_step.pop("position_ids", None)
        if positions is None or positions.shape[-2:] != (rows, 1):
            raise NotPlain("it finds its positions by itself")
        used = _used(next_step.pop("attention_mask", None), rows, length)
        more = {name: _for_all_rows(name, value) for name, value in next_step.items()}
        return Begun(
            self._model, cache, self.ids, used, positions, more, self._steering, self._stop_ids,
            min((*windows, *_short_frequencies(self._model)), default=None),
        )  # fmt: skip


def through_generate(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    max_new_tokens: int,
    walked: Callable[[Walk], Found],
) -> Found:
    """What `walked` makes of the loop that `generate` would run for these inputs.

    Raises: NotPlain.
    """
    found: list[Found] = []

    def in_place_of_its_loop(
        model: Any, input_ids: torch.Tensor, logits_processor: Any, stopping_criteria: Any,
        generation_config: Any, **given: Any,
    ) -> torch.Tensor:  # fmt: skip
        walk = Walk(model, input_ids, logits_processor, stopping_criteria, given)
        found.append(walked(walk))
        return walk.ids

    generate: Any = model.generate
    with torch.inference_mode():
        generate(
            **inputs, max_new_tokens=max_new_tokens, num_beams=1, do_sample=False,
            **dict.fromkeys(("temperature", "top_p", "top_k")), custom_generate=in_place_of_its_loop,
        )  # fmt: skip
    return found[0]


def _size(cache: Any) -> tuple[int, list[int]]:
    """How many places each layer of the cache holds, and the windows of those that have one."""
    if type(cache) is not DynamicCache:
        raise NotPlain(f"its cache is of the kind {type(cache).__name__}")
    layers: list[Any] = cache.layers
    for layer in layers:
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
            raise NotPlain(f"a layer of its cache is of the kind {type(layer).__name__}")
    lengths = {layer.keys.shape[2] for layer in layers} | {cache.get_seq_length()}
    if len(lengths) != 1:
        raise NotPlain("the layers of its cache hold different places")
    sliding = [layer for layer in layers if type(layer) is DynamicSlidingWindowLayer]
    return lengths.pop(), [layer.sliding_window for layer in sliding]


def _short_frequencies(model: Any) -> Iterator[int]:
    """Lengths beyond which one row would turn the keys of all by other frequencies."""
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        for kind in kinds.values() if isinstance(kinds, dict) else [kinds]:
            if isinstance(kind, str) and ("dynamic" in kind or kind == "longrope"):
                given = module.config.rope_parameters
                for one in (given, *(one for one in given.values() if isinstance(one, dict))):
                    yield one.get("original_max_position_embeddings", module.original_max_seq_len)


def _used(mask: Any, rows: int, length: int) -> list[tuple[int, int]]:
    if mask is None:
        return [(0, length)] * rows
    if mask.shape != (rows, length + 1):
        raise NotPlain("its mask has a shape of its own")
    padding = (length + 1 - mask.sum(dim=-1)).tolist()
    if not all(mask[row, begin:].all() for row, begin in enumerate(padding)):
        raise NotPlain("its mask has holes")
    return [(begin, length) for begin in padding]


def _for_all_rows(name: str, value: Any) -> Any:
    """A step's other input, cut to one row if it has rows; the same for all."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    is_type = isinstance(value, torch.Tensor) and name.endswith("token_type_ids") and value.shape[1:] == (1,)
    if not is_type or not bool((value == value[0]).all()):
        raise NotPlain(f"each of its steps takes {name}")
    return value[:1]
