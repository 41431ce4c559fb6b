"""A loaded checkpoint that answers batches: our own Phi-3.5-vision, or what transformers' auto classes load.

An engine prepares a picture and turns a request about it into a question (on any thread); it completes
questions (on the one thread that owns the device) and asks for more whenever it has room.  It knows nothing
of files, queues or verdicts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedModel
from transformers.utils import logging

from captiond import phi3v
from captiond.captioners.auto import AutoEngine
from captiond.captioners.batches import (
    BATCH_SIZE_CPU,
    BATCH_SIZE_GPU,
    Completion,
    More,
    Question,
    generated,
    in_batches,
)
from captiond.captioners.placement import Placement
from captiond.records import CaptionRequest
from captiond.scaling import Scaling


class Engine(Protocol):
    @property
    def model(self) -> PreTrainedModel:
        """The loaded network."""

    def needed_side(self, width: int, height: int) -> int | None:
        """To how many pixels on its long side a picture of this size is reduced; None if that is unknown."""

    def prepare(self, image: Image.Image) -> Any:
        """Do on the CPU what can be done ahead of the device; many questions can be about the result."""

    def question(self, prepared: Any, request: CaptionRequest) -> Any:
        """The question about a picture, made on the CPU; each is an object of its own, told apart by id()."""

    def completions(self, more: More, batch_size: int) -> Iterator[tuple[Any, Completion]]:
        """Questions with their completions, in the order in which they end.

        Whenever there is room, the engine calls `more(room)` for at most that many questions; it ends when
        there are none and all are completed.  `batch_size` are in work at once, each completed as if alone.
        """

    def batch_size_that_fits(self, max_new_tokens: int) -> int:
        """What `model.batch_size: auto` means on this device, as far as can be predicted."""


@runtime_checkable
class TakesScaled(Protocol):
    """An engine that knows how its model scales pictures, so that it can be done elsewhere."""

    def scaling(self, width: int, height: int) -> Scaling:
        """How an upright picture of this size is scaled."""

    def prepare_scaled(self, image: Image.Image) -> Any:
        """Like `prepare`, which scales a picture first."""


def open_engine(folder: Path, place: Placement, num_crops: int) -> Engine:
    """Load the checkpoint in `folder`.

    Raises: OSError or ValueError, if the folder is no checkpoint that we can load; ImportError, if an extra
    is missing; torch.OutOfMemoryError, if it does not fit.
    """
    if not sys.stderr.isatty():
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar in a journal is a hundred lines of nothing
    loading: dict[str, Any] = {
        "dtype": place.dtype,
        "device_map": _device_map(folder, place),
        "use_safetensors": True,  # a .bin is a pickle, and loading one may run code
    }
    is_ours = _config(folder).get("model_type") == "phi3_v"
    is_by_us = is_ours and place.device == "cpu" and place.quantization == "int8" and phi3v.multiplies_int8()
    if place.quantization != "none" and not is_by_us:
        loading["quantization_config"] = phi3v.quantization_config(
            8 if place.quantization == "int8" else 4, compute_dtype=place.dtype
        )
    if not is_ours:
        return AutoEngine(folder, loading)
    model, processor = phi3v.load(folder, num_crops=num_crops, attn_implementation="sdpa", **loading)
    if is_by_us:
        phi3v.squeeze(model)
    # A model on several devices, or partly in the computer's memory, is left to transformers' own loop.
    return Phi3VEngine(model, processor) if phi3v.can_decode(model) else SpreadPhi3VEngine(model, processor)


PROMPTS_KEPT = 256  # of some KB each


class Phi3VEngine:
    """Phi-3.5-vision by our own code and decoding loop, on one device."""

    def __init__(self, model: phi3v.Phi3VForCausalLM, processor: phi3v.Phi3VProcessor) -> None:
        self.model, self._processor = model, processor
        self._decoder = phi3v.Decoder(model, processor.stop_ids)
        self._dtype = model.model.norm.weight.dtype  # of the computation, also if weights are quantized
        # Most pictures are asked the same, in one of few shapes.
        self._worded = lru_cache(maxsize=PROMPTS_KEPT)(self._request_without_picture)

    def needed_side(self, width: int, height: int) -> int | None:
        side: int = self._processor.image_processor.long_side(width, height)
        return side

    def scaling(self, width: int, height: int) -> Scaling:
        return Scaling(*self._processor.image_processor.scaling(width, height))

    def prepare(self, image: Image.Image) -> phi3v.Seen:
        return self.prepare_scaled(self._processor.image_processor.scaled(image))

    def prepare_scaled(self, image: Image.Image) -> phi3v.Seen:
        pictures = self._processor.image_processor
        return phi3v.Seen.of_scaled(pictures, [image], pin=self.model.device.type == "cuda")

    def question(self, prepared: phi3v.Seen, request: CaptionRequest) -> phi3v.Request:
        counts = prepared.token_counts(self._processor.image_processor.merged_side)
        return replace(
            self._worded(request.prompt, tuple(counts)),
            seen=prepared,
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            seed=request.seed,
        )

    def _request_without_picture(self, prompt: str, counts: tuple[int, ...]) -> phi3v.Request:
        asked = self._processor.prompt(phi3v.build_prompt(prompt), counts)
        return phi3v.Request.about(None, asked, 0)

    def completions(self, more: More, batch_size: int) -> Iterator[tuple[phi3v.Request, Completion]]:
        for question, said in self._decoder.run(more, batch_size):
            text = self._processor.text(said.tokens)
            yield question, Completion(text, len(question.input_ids), len(said.tokens), said.is_finished)

    def batch_size_that_fits(self, max_new_tokens: int) -> int:
        if self.model.device.type != "cuda":
            return BATCH_SIZE_CPU
        free, _ = torch.cuda.mem_get_info(self.model.device)
        rows = phi3v.memory.rows_that_fit(
            self.model.config,
            self._dtype.itemsize,
            free_bytes=free,
            num_crops=self._processor.image_processor.num_crops,
            max_new_tokens=max_new_tokens,
        )
        return max(1, rows)


class SpreadPhi3VEngine:
    """Phi-3.5-vision over several devices, or with layers in the computer's memory: `generate` in batches."""

    def __init__(self, model: phi3v.Phi3VForCausalLM, processor: phi3v.Phi3VProcessor) -> None:
        self.model, self._processor = model, processor
        self._pad_id = processor.tokenizer.pad_token_id

    def needed_side(self, width: int, height: int) -> int | None:
        side: int = self._processor.image_processor.long_side(width, height)
        return side

    def prepare(self, image: Image.Image) -> BatchFeature:
        seen: BatchFeature = self._processor.image_processor(image)
        return seen

    def question(self, prepared: BatchFeature, request: CaptionRequest) -> Question:
        counts = prepared["num_img_tokens"].tolist()
        asked = self._processor.prompt(phi3v.build_prompt(request.prompt), counts)
        return Question({**prepared, **asked}, request)

    def completions(self, more: More, batch_size: int) -> Iterator[tuple[Question, Completion]]:
        return in_batches(more, batch_size, self._generate)

    def batch_size_that_fits(self, max_new_tokens: int) -> int:
        return BATCH_SIZE_GPU if torch.cuda.is_available() else BATCH_SIZE_CPU

    def _generate(
        self, batch: Sequence[dict[str, torch.Tensor]], request: CaptionRequest
    ) -> list[Completion]:
        inputs = {
            "input_ids": _left_padded([one["input_ids"] for one in batch], self._pad_id),
            "attention_mask": _left_padded([one["attention_mask"] for one in batch], 0),
            "mm_token_type_ids": _left_padded([one["mm_token_type_ids"] for one in batch], 0),
            "pixel_values": torch.cat([one["pixel_values"] for one in batch]),
            "image_sizes": torch.cat([one["image_sizes"] for one in batch]),
        }
        sequences = generated(self.model, inputs, request)
        answers = self._processor.answers(sequences, inputs["input_ids"].shape[1])
        return [
            Completion(answer.text, one["input_ids"].shape[1], answer.token_count, answer.is_finished)
            for answer, one in zip(answers, batch, strict=True)
        ]


def _left_padded(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    """[1, L] tensors of several lengths as one [B, longest], each padded at its left."""
    longest = max(row.shape[1] for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (longest - row.shape[1], 0), value=value) for row in rows])


def stored_dtype(folder: Path) -> str | None:
    """The precision that the checkpoint names, if readable; loading it reports what is wrong with it."""
    try:
        config = _config(folder)
    except (OSError, ValueError):
        return None
    found = config.get("dtype") or config.get("torch_dtype")
    return found if isinstance(found, str) else None


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


# Beside the weights a card must hold the key-value cache, the activations and CUDA's own context.
ROOM_BESIDE_WEIGHTS_BYTES = 2 << 30


def _device_map(folder: Path, place: Placement) -> str | dict[str, str]:
    """All on the one device if it fits; otherwise accelerate puts the rest into the CPU's memory."""
    if place.device.startswith("cuda") and place.quantization == "none":
        free, _ = torch.cuda.mem_get_info(place.device)
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        if weights + ROOM_BESIDE_WEIGHTS_BYTES > free:
            return "auto"
    return {"": place.device}
