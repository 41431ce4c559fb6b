"""A loaded checkpoint that answers batches: our own Phi-3.5-vision, or what transformers' auto classes load.

An engine makes a picture ready, and of a request about it a question (on any thread); it completes questions
(on the one thread that owns the device) and asks for more of them whenever it has room.  It knows nothing of
files, queues or verdicts.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BatchFeature,
    PreTrainedModel,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils import logging

from captiond import phi3v
from captiond.captioners.placement import Placement
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


class Engine(Protocol):
    @property
    def model(self) -> PreTrainedModel:
        """The loaded network."""

    def needed_side(self, width: int, height: int) -> int | None:
        """To how many pixels on its long side a picture of this size is reduced; None if nobody knows."""

    def prepare(self, image: Image.Image) -> Any:
        """What can be done ahead of the device, on the CPU: a picture that many questions can be about."""

    def question(self, prepared: Any, request: CaptionRequest) -> Any:
        """What is asked about a picture, on the CPU; told apart by its identity."""

    def completions(self, more: More, batch_size: int) -> Iterator[tuple[Any, Completion]]:
        """Questions with their completions, in the order in which they end.

        `more(room)` is asked for at most that many questions whenever there is room; it ends when there are
        none, and all are completed.  `batch_size` are in work at once, each completed as it would be alone.
        """

    def batch_size_that_fits(self, max_new_tokens: int) -> int:
        """What `model.batch_size: auto` means on this device, as far as can be told ahead."""


# At most so many questions, please: fewer or none where there are no more now.
More = Callable[[int], Sequence[Any]]

BATCH_SIZE_GPU, BATCH_SIZE_CPU = 16, 8


def open_engine(folder: Path, place: Placement, num_crops: int) -> Engine:
    """Load the checkpoint in `folder`.

    Raises OSError or ValueError for a folder that is no checkpoint we can load, ImportError for a missing
    extra, torch.OutOfMemoryError where it does not fit.
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
    # What lies on several devices, or partly in the computer's memory, is left to the library's own loop.
    return Phi3VEngine(model, processor) if phi3v.can_decode(model) else SpreadPhi3VEngine(model, processor)


class Phi3VEngine:
    """Phi-3.5-vision by our own code and decoding loop, on one device."""

    def __init__(self, model: phi3v.Phi3VForCausalLM, processor: phi3v.Phi3VProcessor) -> None:
        self.model, self._processor = model, processor
        self._decoder = phi3v.Decoder(model, processor.stop_ids)
        self._dtype = model.model.norm.weight.dtype  # of the computation, also where weights are squeezed

    def needed_side(self, width: int, height: int) -> int | None:
        side: int = self._processor.image_processor.long_side(width, height)
        return side

    def prepare(self, image: Image.Image) -> phi3v.Seen:
        on_gpu = self.model.device.type == "cuda"
        # The pixels wait in the model's own precision: half the memory ahead of a GPU.
        return phi3v.Seen.of(self._processor.image_processor(image), dtype=self._dtype, pin=on_gpu)

    def question(self, prepared: phi3v.Seen, request: CaptionRequest) -> phi3v.Request:
        counts = prepared.token_counts(self._processor.image_processor.merged_side)
        asked = self._processor.prompt(phi3v.build_prompt(request.prompt), counts)
        return phi3v.Request.about(
            prepared, asked, request.max_new_tokens, temperature=request.temperature, seed=request.seed
        )

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
        return _in_batches(more, batch_size, self._generate)

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
        sequences = _generated(self.model, inputs, request)
        answers = self._processor.answers(sequences, inputs["input_ids"].shape[1])
        return [
            Completion(answer.text, one["input_ids"].shape[1], answer.token_count, answer.is_finished)
            for answer, one in zip(answers, batch, strict=True)
        ]


class AutoEngine:
    """Any checkpoint that AutoModelForImageTextToText loads and whose processor has a chat template.

    Raises ValueError if there is no chat template, since a prompt would then be a guess.
    """

    def __init__(self, folder: Path, loading: dict[str, Any]) -> None:
        self._processor = _processor_class(folder).from_pretrained(folder, trust_remote_code=False)
        if not getattr(self._processor, "chat_template", None):
            raise ValueError("its processor has no chat template, so nobody knows how to ask it")
        self.model: PreTrainedModel = AutoModelForImageTextToText.from_pretrained(
            folder, trust_remote_code=False, **loading
        )
        self.model.eval()  # type: ignore[no-untyped-call]
        tokenizer = self._processor.tokenizer
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        eos = self.model.generation_config.eos_token_id
        self._stop_ids = {tokenizer.eos_token_id, *([eos] if isinstance(eos, int) else eos or ())}

    def needed_side(self, width: int, height: int) -> int | None:
        return None  # each family resizes by rules of its own

    def prepare(self, image: Image.Image) -> Image.Image:
        return image

    def question(self, prepared: Image.Image, request: CaptionRequest) -> Question:
        content = [{"type": "image", "image": prepared}, {"type": "text", "text": request.prompt}]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return Question((prepared, text), request)

    def completions(self, more: More, batch_size: int) -> Iterator[tuple[Question, Completion]]:
        return _in_batches(more, batch_size, self._generate)

    def batch_size_that_fits(self, max_new_tokens: int) -> int:
        return BATCH_SIZE_CPU if self.model.device.type == "cpu" else BATCH_SIZE_GPU

    def _generate(
        self, batch: Sequence[tuple[Image.Image, str]], request: CaptionRequest
    ) -> list[Completion]:
        inputs = self._processor(
            images=[[image] for image, _ in batch],
            text=[text for _, text in batch],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        sequences = _generated(self.model, inputs, request)
        prompt_tokens = inputs["attention_mask"].sum(dim=-1).tolist()
        new = sequences[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._completion(ids, count) for ids, count in zip(new, prompt_tokens, strict=True)]

    def _completion(self, new_ids: list[int], prompt_tokens: int) -> Completion:
        length = next((at for at, new in enumerate(new_ids) if new in self._stop_ids), len(new_ids))
        text = self._processor.tokenizer.decode(new_ids[:length], skip_special_tokens=True)
        return Completion(text.strip(), prompt_tokens, length, is_finished=length < len(new_ids))


def _processor_class(folder: Path) -> Any:
    """The class that loads the folder's processor, without its part for videos where that cannot be had.

    Families that also understand videos (Qwen-VL, SmolVLM) load a processor for those, which needs
    torchvision; we show pictures only, and torchvision's builds rarely match torch's.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    known: Any = PROCESSOR_MAPPING.get(type(config), None)
    if known is None or find_spec("torchvision") or "video_processor" not in known.get_attributes():
        return AutoProcessor

    def get_attributes(cls: type) -> list[str]:
        return [name for name in known.get_attributes() if name != "video_processor"]

    return type(known.__name__, (known,), {"get_attributes": classmethod(get_attributes)})


def _in_batches(
    more: More, batch_size: int, generate: Callable[[Sequence[Any], CaptionRequest], list[Completion]]
) -> Iterator[tuple[Question, Completion]]:
    """Batch after batch, each of one token limit; by itself what is left to chance, whose seed is its own."""

    def limit(question: Question) -> int:
        return question.request.max_new_tokens

    while batch := more(batch_size):
        greedy = [question for question in batch if question.request.temperature == 0]
        together = [list(group) for _, group in groupby(sorted(greedy, key=limit), key=limit)]
        for questions in together + [[question] for question in batch if question not in greedy]:
            completions = generate([question.inputs for question in questions], questions[0].request)
            yield from zip(questions, completions, strict=True)


def _generated(model: PreTrainedModel, inputs: Any, request: CaptionRequest) -> torch.Tensor:
    on_device = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    # Sampling left on by a checkpoint's own generation_config would give another caption at each repeat.
    sampling: dict[str, Any] = {"do_sample": False, **dict.fromkeys(("temperature", "top_p", "top_k"))}
    if request.temperature > 0:
        sampling = {"do_sample": True, "temperature": request.temperature, "top_p": 1.0, "top_k": 0}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices):
        torch.manual_seed(secrets.randbits(63) if request.seed is None else request.seed)
        sequences: torch.Tensor = model.generate(  # type: ignore[operator]  # mixed into the base, untyped
            **on_device, max_new_tokens=request.max_new_tokens, num_beams=1, **sampling
        )
    return sequences.cpu()


def _left_padded(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    """[1, L] tensors of several lengths as one [B, longest], the content at the right."""
    longest = max(row.shape[1] for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (longest - row.shape[1], 0), value=value) for row in rows])


def stored_dtype(folder: Path) -> str | None:
    """The precision that the checkpoint says it is in; what is wrong with it is said when it is loaded."""
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
    """All on the one device where it fits; else accelerate spreads what does not over the CPU's memory."""
    if place.device.startswith("cuda") and place.quantization == "none":
        free, _ = torch.cuda.mem_get_info(place.device)
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        if weights + ROOM_BESIDE_WEIGHTS_BYTES > free:
            return "auto"
    return {"": place.device}
