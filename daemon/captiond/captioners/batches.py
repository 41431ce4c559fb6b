"""Whole batches through transformers' own `generate`, and the records an engine is asked and answers with."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from captiond.records import CaptionRequest


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One picture and prompt for an engine that works in batches."""

    inputs: Any
    request: CaptionRequest


class Completion(NamedTuple):
    """What the network made of one question."""

    text: str
    prompt_tokens: int
    new_tokens: int
    is_finished: bool  # False if max_new_tokens cut it off


# Called for at most so many questions; returns fewer or none if there are no more now.
More = Callable[[int], Sequence[Any]]

BATCH_SIZE_GPU, BATCH_SIZE_CPU = 16, 8


def in_batches(
    more: More,
    batch_size: int,
    generate: Callable[[Sequence[Any], CaptionRequest], list[Completion]],
    alike: Callable[[Question], str] = lambda _: "",
) -> Iterator[tuple[Question, Completion]]:
    """Batch after batch, by `together`."""
    while batch := more(batch_size):
        for questions in together(batch, alike):
            completions = generate([question.inputs for question in questions], questions[0].request)
            yield from zip(questions, completions, strict=True)


def together(batch: Sequence[Question], alike: Callable[[Question], str]) -> list[list[Question]]:
    """Questions of one token limit and one `alike` together; a sampled question goes by itself."""

    def kind(question: Question) -> tuple[int, str]:
        return question.request.max_new_tokens, alike(question)

    greedy = [question for question in batch if question.request.temperature == 0]
    found = [list(group) for _, group in groupby(sorted(greedy, key=kind), key=kind)]
    return found + [[question] for question in batch if question not in greedy]


def on_device(model: PreTrainedModel, inputs: Any) -> dict[str, torch.Tensor]:
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }


def generated(model: PreTrainedModel, inputs: Any, request: CaptionRequest) -> torch.Tensor:
    # If a checkpoint's generation_config left sampling on, each repeat would give another caption.
    sampling: dict[str, Any] = {"do_sample": False, **dict.fromkeys(("temperature", "top_p", "top_k"))}
    if request.temperature > 0:
        sampling = {"do_sample": True, "temperature": request.temperature, "top_p": 1.0, "top_k": 0}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices):
        torch.manual_seed(secrets.randbits(63) if request.seed is None else request.seed)
        sequences: torch.Tensor = model.generate(  # type: ignore[operator]  # mixed into the base, untyped
            **on_device(model, inputs), max_new_tokens=request.max_new_tokens, num_beams=1, **sampling
        )
    return sequences.cpu()
