"""What the original code made of a tiny checkpoint, read from `golden/`, and how to ask ours the same.

`golden/` was printed by Microsoft's remote code under transformers 4.43.4 on seeded random weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import BatchFeature

from captiond.phi3v import Phi3VForCausalLM, Phi3VProcessor, Request, Seen

GOLDEN = Path(__file__).parent / "golden"
CHECKPOINT = GOLDEN / "checkpoint"
NEW_TOKENS = 24
# A correct implementation came within 3e-5; the smallest mistake tried moved the logits by 1e-3.
LOGIT_TOLERANCE = 2e-4


@dataclass(frozen=True)
class Case:
    """One prompt with its pictures, and what the original code said."""

    name: str
    record: dict[str, Any]

    def __str__(self) -> str:
        return self.name

    @property
    def prompt(self) -> str:
        return str(self.record["prompt"])

    @property
    def num_crops(self) -> int:
        return int(self.record["num_crops"])

    @property
    def greedy_tokens(self) -> list[int]:
        return list(self.record["greedy_tokens"])

    def pictures(self) -> list[Image.Image]:
        return [picture(name) for name in self.record["images"]]

    def tensor(self, name: str) -> torch.Tensor:
        return tensors()[f"{self.name}/{name}"]

    def has_tensor(self, name: str) -> bool:
        return f"{self.name}/{name}" in tensors()

    def batch(self, processor: Phi3VProcessor) -> BatchFeature:
        return processor(self.pictures(), self.prompt, num_crops=self.num_crops)

    def seen(self, processor: Phi3VProcessor, *, pin: bool = False) -> Seen | None:
        pictures = self.pictures()
        made = Seen.of(processor.image_processor, pictures, self.num_crops, pin=pin)
        return made if pictures else None

    def request(self, processor: Phi3VProcessor, new_tokens: int, *, pin: bool = False) -> Request:
        return Request.about(self.seen(processor, pin=pin), self.batch(processor), new_tokens)


def picture(name: str) -> Image.Image:
    with Image.open(GOLDEN / "images" / f"{name}.png") as opened:
        opened.load()
        return opened


@cache
def tensors() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "golden.safetensors")


CASES = [
    Case(record["name"], record)
    for record in json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))["cases"]
]
CASE = {case.name: case for case in CASES}
CASES_WITH_PICTURES = [case for case in CASES if case.record["images"]]


def batch_of(cases: list[Case], processor: Phi3VProcessor) -> BatchFeature:
    """All cases as one batch, each picture within its own case's budget."""
    pictures = [picture for case in cases for picture in case.pictures()]
    budgets = [case.num_crops for case in cases for _ in case.record["images"]]
    return processor(pictures, [case.prompt for case in cases], num_crops=budgets or None)


def generate(model: Any, batch: BatchFeature, **options: Any) -> torch.Tensor:
    """[B, L + new].  Untyped towards the library, whose `generate` has a return type for every mode."""
    sequences = model.generate(**batch, **options)
    assert isinstance(sequences, torch.Tensor)
    return sequences


def greedy(model: Phi3VForCausalLM, batch: BatchFeature, **options: Any) -> list[list[int]]:
    """New token ids per row; stop tokens do not stop, as the goldens were made without any."""
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": None, **options}
    sequences = generate(model, batch, **options)
    return [[int(token) for token in row] for row in sequences[:, batch["input_ids"].shape[1] :]]


@torch.no_grad()
def logits(model: Phi3VForCausalLM, batch: BatchFeature, **options: Any) -> torch.Tensor:
    """[B, L, vocabulary]"""
    found = model(**batch, **options).logits
    assert isinstance(found, torch.Tensor)
    return found


def as_original_ids(batch: BatchFeature) -> list[int]:
    """A one-row batch's ids as the original writes them: -k at the positions of the k-th picture."""
    ids, number, was_picture = [], 0, 0
    for token, is_picture in zip(
        batch["input_ids"][0].tolist(), batch["mm_token_type_ids"][0].tolist(), strict=True
    ):
        number += is_picture > was_picture
        ids.append(-number if is_picture else token)
        was_picture = is_picture
    return ids
