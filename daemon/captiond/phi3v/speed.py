"""How fast the network answers on this machine, and how fast it could.

A picture's floor is the time that this device needs for the operations of its prompt and crops, and to read,
for each new token, the weights once for all rows and every row's cache, at the rates measured in the same
run.  The pictures are noise and nothing stops an answer early, so every run does the same work, with any
weights.  It prints nothing.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from captiond.phi3v import memory
from captiond.phi3v.configuration import Phi3VConfig
from captiond.phi3v.generation import Decoder
from captiond.phi3v.image_processing import Phi3VImageProcessor
from captiond.phi3v.modeling import Phi3VForCausalLM
from captiond.phi3v.requests import Request, Seen

# Tokens of the default prompt around its picture: before it, and after.
BEFORE, AFTER = 4, 20
# A picture of 4:3, the commonest shape.
PICTURE_SIZE = (640, 480)
DIFFERENT_PICTURES = 4

SIZES: dict[str, dict[str, Any]] = {
    "full": memory.PUBLISHED,
    "mid": {
        "vocab_size": 32064,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "vision_config": {
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
        },
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vision_config": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 84,
        },
    },
}


class Rates(NamedTuple):
    """The device's best rates: bytes read or written, and 16-bit (on a CPU the network's) operations."""

    bytes_per_second: float
    flops_per_second: float


class Measured(NamedTuple):
    batch_size: int
    num_crops: int
    prompt_tokens: int
    new_tokens: int
    pictures: int
    seconds: float
    floor_seconds: float
    memory_bytes: int  # the peak: of the card, or of the process

    @property
    def pictures_per_second(self) -> float:
        return self.pictures / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.pictures_per_second * self.new_tokens

    @property
    def share_of_floor(self) -> float:
        return self.floor_seconds / self.seconds

    def as_json(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "pictures_per_second": self.pictures_per_second,
            "tokens_per_second": self.tokens_per_second,
            "share_of_floor": self.share_of_floor,
        }


def random_model(size: str, device: torch.device, dtype: torch.dtype) -> Phi3VForCausalLM:
    """A network of that size with seeded random weights, made where it is to run: no file, no copy."""
    shape: dict[str, Any] = {
        "max_position_embeddings": 131_072,
        "original_max_position_embeddings": 4096,
        "eos_token_id": None,
        "pad_token_id": 0,
        "bos_token_id": None,
        **SIZES[size],
    }
    width = shape["hidden_size"] // shape["num_attention_heads"]
    factors = [1.0] * (width // 2)
    shape["rope_parameters"] = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": factors,
        "long_factor": factors,
        "original_max_position_embeddings": 4096,
    }
    torch.manual_seed(0)
    with torch.device(device):
        model = Phi3VForCausalLM._from_config(  # type: ignore[no-untyped-call]
            Phi3VConfig(**shape), dtype=dtype, attn_implementation="sdpa"
        )
    model.train(False)
    assert isinstance(model, Phi3VForCausalLM)
    return model


class Prompt(NamedTuple):
    """A picture with as many tokens around it as the default prompt has."""

    batch: BatchFeature  # for `generate`
    seen: Seen

    def request(self, new_tokens: int) -> Request:
        return Request.about(replace(self.seen), self.batch, new_tokens)


def prompts(model: Phi3VForCausalLM, num_crops: int) -> list[Prompt]:
    tower = model.config.vision_config
    processor = Phi3VImageProcessor(num_crops, tower.image_size, tower.patch_size)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(DIFFERENT_PICTURES):
        noise = rng.integers(0, 256, (*reversed(PICTURE_SIZE), 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        prepared = processor(picture)
        count = int(prepared.pop("num_img_tokens"))
        length = BEFORE + count + AFTER
        types = torch.zeros(1, length, dtype=torch.int64)
        types[:, BEFORE : BEFORE + count] = 1
        ids = torch.from_numpy(rng.integers(3, model.config.vocab_size, (1, length)))
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": types}
        seen = Seen.of(processor, [picture], pin=model.device.type == "cuda")
        found.append(Prompt(BatchFeature({**batch, **prepared}), seen))
    return found


def rates(device: torch.device, dtype: torch.dtype = torch.float32) -> Rates:
    """The device's own speed, by a copy and a matrix product large enough for it."""
    on_gpu = device.type == "cuda"
    count, side = (1 << 29, 8192) if on_gpu else (1 << 25, 1024)
    dtype = torch.bfloat16 if on_gpu else dtype
    source = torch.zeros(count, dtype=torch.int16, device=device)
    target = torch.empty_like(source)
    copying = best_seconds(lambda: target.copy_(source), device)
    left = torch.randn(side, side, device=device, dtype=dtype)
    multiplying = best_seconds(lambda: left @ left, device)
    return Rates(2 * source.nbytes / copying, 2 * side**3 / multiplying)


def best_seconds(work: Callable[[], object], device: torch.device, times: int = 5) -> float:
    best = float("inf")
    for _ in range(times + 1):
        waited(device)
        start = time.perf_counter()
        work()
        waited(device)
        best = min(best, time.perf_counter() - start)
    return best


def waited(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def floor_seconds(
    config: Phi3VConfig, number_bytes: int, rate: Rates, *, batch_size: int, prompt_tokens: int, crops: int,
    new_tokens: int,
) -> float:  # fmt: skip
    """The least time for one picture; `crops` includes the global view."""
    tower = config.vision_config
    patches = (tower.image_size // tower.patch_size) ** 2 + 1
    layers = tower.num_hidden_layers - 1
    vision = layers * (2 * memory.tower_layer_weights(config) + 4 * patches * tower.hidden_size)
    # Causal attention computes half of the square.
    attention = 2 * prompt_tokens * config.hidden_size * config.num_hidden_layers
    decoder = 2 * memory.decoder_weights(config) + attention
    image_tokens = prompt_tokens - BEFORE - AFTER
    projector = 2 * memory.projector_weights(config)
    flops = crops * patches * vision + image_tokens * projector + prompt_tokens * decoder
    weights = (memory.decoder_weights(config) + config.vocab_size * config.hidden_size) * number_bytes
    cache = (prompt_tokens + new_tokens / 2) * memory.kv_bytes_per_token(config, number_bytes)
    # The first new token comes from the prefill.
    reading = (new_tokens - 1) * (weights / batch_size + cache)
    return float(flops / rate.flops_per_second + reading / rate.bytes_per_second)


def measure(
    model: Phi3VForCausalLM,
    rate: Rates,
    *,
    batch_size: int,
    num_crops: int,
    new_tokens: int,
    pictures: int,
    decoder: Decoder | None = None,
) -> Measured:
    """Our loop over that many pictures, after one round that is not counted (it records graphs)."""
    dtype = model.model.norm.weight.dtype
    device = model.device
    made = [prompt.request(new_tokens) for prompt in prompts(model, num_crops)]
    decoder = decoder or Decoder(model, ())
    answer_all(decoder, made, batch_size, batch_size)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    waited(device)
    start = time.perf_counter()
    answer_all(decoder, made, pictures, batch_size)
    waited(device)
    seconds = time.perf_counter() - start
    prompt_tokens = len(made[0].input_ids)
    assert made[0].seen is not None and made[0].seen.pictures is not None
    (looked_at,) = made[0].seen.pictures
    floor = floor_seconds(
        model.config, dtype.itemsize, rate, batch_size=batch_size, prompt_tokens=prompt_tokens,
        crops=len(looked_at.different), new_tokens=new_tokens,
    )  # fmt: skip
    return Measured(
        batch_size,
        num_crops,
        prompt_tokens,
        new_tokens,
        pictures,
        seconds,
        floor * pictures,
        memory_taken(device),
    )


def answer_all(decoder: Decoder, made: list[Request], pictures: int, batch_size: int) -> list[list[int]]:
    """Answer the requests over and over until `pictures` are done; their tokens in the order they end."""
    left = deque(afresh(made[index % len(made)]) for index in range(pictures))
    answers = decoder.run(lambda room: [left.popleft() for _ in range(min(room, len(left)))], batch_size)
    return [said.tokens for _, said in answers]


def afresh(request: Request) -> Request:
    """The same question about the same pictures, as if the tower had not looked at them yet."""
    return replace(request, seen=None if request.seen is None else replace(request.seen))


def memory_taken(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
