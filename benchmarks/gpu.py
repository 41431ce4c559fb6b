"""Pictures a second of Phi-3.5-vision on this GPU, against the simplest way and against plain `generate`.

Workload: a full-size network with random weights in bfloat16, made on the card; 640x480 pictures of noise at
num_crops 4 (757 picture tokens and 24 of prompt), answers of exactly 60 tokens.  Measured in one run, the
most important first: our loop at the largest batch; one picture at a time with eager attention, the simplest
way, at 60 tokens and at 20 (the comparison at equal tokens is the fair one); `generate` on batches; our loop
at other batch sizes, through the library's layers, with attention over real lengths, without CUDA graphs and
then with every shape as it comes, for the first token alone, on answers of mixed lengths and with other
prefill groups; sdpa's backends and attention over real lengths on a step's shapes.  All ways use our network,
so that each gains from crops that pass the tower once.  Whether all ways say the same is checked in float32
on a small network, where rounding decides nothing; in bfloat16 a random network's words may turn on the last
bit, and are only counted.

Needs torch, transformers, safetensors, numpy and pillow only.  What is found is written at once: a run that
is cut off loses the measurement it was at.  After `--seconds` nothing new is begun.

    PYTHONPATH=daemon python benchmarks/gpu.py --out gpu.json                 # some minutes on one H200
    PYTHONPATH=daemon python benchmarks/gpu.py --size tiny --device cpu       # that it runs at all
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

from captiond.phi3v import Decoder, Phi3VForCausalLM, Request, layers, memory, speed
from captiond.phi3v.generation import SEEN_STEP
from captiond.phi3v.slots import RealLengths

FEW_TOKENS = 20
PREFILL_GROUPS = (2048, 8192)
BACKENDS = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH)
Row = dict[str, Any]


class Report:
    """What is found, told and written as it comes."""

    def __init__(self, path: Path | None, seconds: float) -> None:
        self.found: Row = {"rows": [], "failed": {}, "left_out": []}
        self._path = path
        self._begun = time.monotonic()
        self._seconds = seconds

    def tell(self, text: str) -> None:
        print(f"[{time.monotonic() - self._begun:5.0f} s] {text}", flush=True)

    def add(self, **found: Any) -> None:
        self.found.update(found)
        if self._path:
            part = self._path.with_name(self._path.name + ".part")
            part.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
            part.replace(self._path)

    def stage(self, name: str, measure: Callable[[], Row]) -> None:
        """One row more; memory that runs out, or what this torch does not do, costs that row alone."""
        if time.monotonic() - self._begun > self._seconds:
            self.found["left_out"].append(name)
            self.tell(f"{name}: left out, the time is over")
            return
        self.tell(f"{name} ...")
        try:
            row = {"way": name, **measure()}
        except RuntimeError as error:
            self.found["failed"][name] = str(error).splitlines()[0]
            self.tell(f"{name}: {self.found['failed'][name]}")
        else:
            self.found["rows"].append(row)
            self.tell(f"{name}: {row['pictures_per_second']:.2f} pictures/s")
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.add()

    def print_table(self) -> None:
        rows = self.found["rows"]
        first = rows[0]["pictures_per_second"] if rows else 0.0
        print("\n| way | batch | tokens | pictures/s | share of the floor | GB | the first is |")
        print("|---" * 7 + "|")
        for row in rows:
            share = f"{row['share_of_floor']:.0%}" if "share_of_floor" in row else ""
            cells = (row["way"], row["batch_size"], row["new_tokens"], f"{row['pictures_per_second']:.2f}",
                     share, f"{row['memory_bytes'] / 1e9:.1f}",
                     f"{first / row['pictures_per_second']:.2f} times")  # fmt: skip
            print("| " + " | ".join(map(str, cells)) + " |")
        for key in ("equal_in_float32", "equal_in_this_precision", "attention", "failed", "left_out"):
            if self.found.get(key):
                print(f"{key}: {json.dumps(self.found[key])}")


class Ways:
    """One network, asked in several ways."""

    def __init__(self, model: Phi3VForCausalLM, rate: speed.Rates, num_crops: int, rounds: int) -> None:
        self.model, self.rate, self.num_crops, self.rounds = model, rate, num_crops, rounds
        self.device = model.device

    def requests(self, new_tokens: int) -> list[Request]:
        return [one.request(new_tokens) for one in speed.prompts(self.model, self.num_crops)]

    def ours(self, batch_size: int, new_tokens: int, **options: Any) -> Row:
        """Our loop, its cache and graphs made in a round that is not counted."""
        found = speed.measure(
            self.model, self.rate, batch_size=batch_size, num_crops=self.num_crops, new_tokens=new_tokens,
            pictures=max(4, self.rounds * batch_size), decoder=Decoder(self.model, (), **options),
        )  # fmt: skip
        return found.as_json()

    def generate(self, batch_size: int, new_tokens: int, attention: str, rounds: int) -> Row:
        """The library's loop, on pictures preprocessed and pinned ahead like ours."""
        self.model.set_attn_implementation({"": attention, "vision_config": attention})
        try:
            inputs = self._batch(batch_size)
            self._generated(inputs, 2)
            self._forget_peak()
            speed.waited(self.device)
            start = time.perf_counter()
            for _ in range(rounds):
                self._generated(inputs, new_tokens)
            seconds = time.perf_counter() - start
        finally:
            self.model.set_attn_implementation({"": "sdpa", "vision_config": "sdpa"})
        return self._row(batch_size, new_tokens, rounds * batch_size, seconds)

    def mixed(self, batch_size: int, longest: int, *, refill: bool) -> Row:
        """Our loop on answers of a sixth to all of `longest` tokens; or each batch left to end by itself."""
        rng, made = random.Random(0), self.requests(longest)
        asked = [
            replace(made[index % len(made)], max_new_tokens=rng.randint(max(1, longest // 6), longest))
            for index in range(self.rounds * batch_size)
        ]
        decoder = Decoder(self.model, ())
        size = len(asked) if refill else batch_size
        parts = [asked[at : at + size] for at in range(0, len(asked), size)]
        answered(decoder, made[:1] * batch_size, batch_size)
        self._forget_peak()
        speed.waited(self.device)
        start = time.perf_counter()
        for part in parts:
            answered(decoder, part, batch_size)
        speed.waited(self.device)
        return self._row(batch_size, longest, len(asked), time.perf_counter() - start)

    def equal(self, batch_size: int, new_tokens: int) -> Row:
        """Of how many pictures each way says what `generate` says to them alone."""
        asked = self.requests(new_tokens)
        alone = [self._generated(self._batch(1, first), new_tokens)[0] for first in range(len(asked))]
        many = [asked[index % len(asked)] for index in range(batch_size)]
        said = {
            "generate, batched": self._generated(self._batch(batch_size), new_tokens),
            "ours, one slot": answered(Decoder(self.model, ()), asked, 1),
            "ours, batched": answered(Decoder(self.model, ()), many, batch_size),
            "ours, batched, the library's layers": answered(
                Decoder(self.model, (), in_fewer_passes=False), many, batch_size
            ),
            "ours, batched, steps not recorded": answered(
                Decoder(self.model, (), with_graphs=False), many, batch_size
            ),
        }
        return {
            way: f"{sum(one == alone[at % len(alone)] for at, one in enumerate(words))} of {len(words)}"
            for way, words in said.items()
        }

    def _batch(self, batch_size: int, first: int = 0) -> dict[str, torch.Tensor]:
        batches = [one.batch for one in speed.prompts(self.model, self.num_crops)]
        rows = [batches[(first + index) % len(batches)] for index in range(batch_size)]
        inputs = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        if self.device.type == "cuda":
            inputs = {name: value.pin_memory() for name, value in inputs.items()}
        return inputs

    def _generated(self, inputs: dict[str, torch.Tensor], new_tokens: int) -> list[list[int]]:
        on_device = {name: value.to(self.device, non_blocking=True) for name, value in inputs.items()}
        generate: Any = self.model.generate  # type: ignore[misc]  # its `self` has a type of its own
        with torch.inference_mode():
            out = generate(**on_device, max_new_tokens=new_tokens, do_sample=False, eos_token_id=None)
        said: list[list[int]] = out[:, inputs["input_ids"].shape[1] :].tolist()
        return said

    def _forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def _row(self, batch_size: int, new_tokens: int, pictures: int, seconds: float) -> Row:
        return {
            "batch_size": batch_size,
            "new_tokens": new_tokens,
            "pictures": pictures,
            "pictures_per_second": pictures / seconds,
            "memory_bytes": speed.memory_taken(self.device),
        }


def answered(decoder: Decoder, requests: Sequence[Request], slots: int) -> list[list[int]]:
    """In the order of the requests, of which several may be the same."""
    asked = [speed.afresh(request) for request in requests]
    left = deque(asked)
    answers = decoder.run(lambda room: [left.popleft() for _ in range(min(room, len(left)))], slots)
    found = {id(request): said.tokens for request, said in answers}
    return [found[id(request)] for request in asked]


def attention_rates(model: Phi3VForCausalLM, batch_size: int, seen: int) -> Row:
    """Bytes of cache a second that a step's attention reads, masked as our steps mask it: by each of sdpa's
    backends, by what sdpa chooses, and by two plain products."""
    config, device = model.config, model.device
    width = config.hidden_size // config.num_attention_heads
    shape = (batch_size, config.num_attention_heads, seen, width)
    keys, values = (torch.randn(shape, device=device, dtype=model.dtype) for _ in range(2))
    query = torch.randn(*shape[:2], 1, width, device=device, dtype=model.dtype)
    mask = torch.ones(batch_size, 1, 1, seen, device=device, dtype=torch.bool)

    def attend() -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)

    def products() -> torch.Tensor:
        scores = (query @ keys.transpose(-1, -2)).float() * width**-0.5
        read: torch.Tensor = scores.masked_fill(~mask, -torch.inf).softmax(-1).to(values.dtype) @ values
        return read

    starts = torch.arange(batch_size + 1, dtype=torch.int32, device=device)
    used = torch.full((batch_size,), seen, dtype=torch.int32, device=device)
    real = RealLengths(starts * seen, starts, used, seen)

    def by_real_lengths() -> torch.Tensor:
        flat = (keys.view(-1, *shape[1::2]), values.view(-1, *shape[1::2]))
        return layers.by_real_lengths(query[:, :, 0], *flat, real, width**-0.5)

    def rate(work: Callable[[], torch.Tensor]) -> float:
        return 2 * keys.nbytes / speed.best_seconds(work, device, times=20)

    found: Row = {"chosen by sdpa": rate(attend), "two products": rate(products)}
    for backend in BACKENDS:
        try:
            with sdpa_kernel(backend):
                found[backend.name] = rate(attend)
        except RuntimeError as error:
            found[backend.name] = str(error).splitlines()[0]
    if device.type == "cuda" and layers.varlen_attn is not None:
        try:
            found["by real lengths"] = rate(by_real_lengths)
        except RuntimeError as error:
            found["by real lengths"] = str(error).splitlines()[0]
    return found


def measure_all(report: Report, ways: Ways, batch_sizes: Sequence[int], new_tokens: int) -> None:
    """The most important first: the time may be over before the last."""
    largest = max(batch_sizes)
    is_cuda = ways.device.type == "cuda"
    report.stage(f"ours, {largest} slots", lambda: ways.ours(largest, new_tokens))
    alone = "generate, one at a time, eager"
    report.stage(alone, lambda: ways.generate(1, new_tokens, "eager", 4))
    report.stage(f"{alone}, {FEW_TOKENS} tokens", lambda: ways.generate(1, FEW_TOKENS, "eager", 4))
    report.stage(f"generate, batches of {largest}", lambda: ways.generate(largest, new_tokens, "sdpa", 2))
    report.stage("generate, one at a time", lambda: ways.generate(1, new_tokens, "sdpa", 4))
    for size in sorted(set(batch_sizes) - {largest}):
        report.stage(f"ours, {size} slot(s)", partial(ways.ours, size, new_tokens))
        if size > 1:
            report.stage(f"generate, batches of {size}", partial(ways.generate, size, new_tokens, "sdpa", 2))
    report.stage(
        f"ours, {largest} slots, the library's layers",
        lambda: ways.ours(largest, new_tokens, in_fewer_passes=False),
    )
    if is_cuda:
        on_and_off_on_a_card(report, ways, largest, new_tokens)
    report.stage("ours, first token alone", lambda: ways.ours(largest, 1))
    report.stage("ours, mixed lengths, refilled", lambda: ways.mixed(largest, new_tokens, refill=True))
    report.stage(
        "ours, mixed lengths, batch after batch", lambda: ways.mixed(largest, new_tokens, refill=False)
    )
    for tokens in PREFILL_GROUPS:
        report.stage(
            f"ours, {tokens} tokens prefilled together",
            partial(ways.ours, largest, new_tokens, prefill_tokens=tokens),
        )


def on_and_off_on_a_card(report: Report, ways: Ways, largest: int, new_tokens: int) -> None:
    """What only a CUDA device can do, or does otherwise than the CPU."""
    if layers.varlen_attn is None:
        report.found["left_out"].append("attention by real lengths: this torch has none")
    else:
        report.stage(
            f"ours, {largest} slots, attention by real lengths",
            lambda: ways.ours(largest, new_tokens, by_real_lengths=True),
        )
    for size in (largest, 1):
        report.stage(
            f"ours, {size} slot(s), steps not recorded",
            partial(ways.ours, size, new_tokens, with_graphs=False),
        )
    report.stage(
        f"ours, {largest} slots, steps not recorded, every shape as it comes",
        lambda: ways.ours(largest, new_tokens, with_graphs=False, with_round_shapes=False),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(speed.SIZES), default="full")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--num-crops", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3, help="batches measured of each size")
    parser.add_argument("--seconds", type=float, default=480, help="nothing new is begun after these")
    parser.add_argument("--out", type=Path, help="write what is found here, as it is found")
    given = parser.parse_args()
    device = torch.device(given.device)
    is_cuda = device.type == "cuda"
    dtype = torch.bfloat16 if is_cuda else torch.float32
    name = torch.cuda.get_device_name(device) if is_cuda else platform.processor() or "CPU"
    report = Report(given.out, given.seconds)
    report.add(
        device=name, torch=torch.__version__, transformers=transformers.__version__, size=given.size,
        dtype=str(dtype), num_crops=given.num_crops,
    )  # fmt: skip
    report.tell(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}")
    rate = speed.rates(device)
    report.add(rates=rate._asdict())
    report.tell(f"{rate.bytes_per_second / 1e12:.3f} TB/s, {rate.flops_per_second / 1e12:.2f} TFLOP/s")

    small = speed.random_model("mid" if is_cuda else "tiny", device, torch.float32)
    few = min(8, max(given.batch_sizes))
    report.add(equal_in_float32=Ways(small, rate, given.num_crops, 1).equal(few, given.new_tokens))
    report.tell(f"says what generate says alone, in float32: {report.found['equal_in_float32']}")
    del small

    model = speed.random_model(given.size, device, dtype)
    weights = sum(one.nbytes for one in model.parameters())
    report.add(weight_bytes=weights, computed_weight_bytes=memory.weight_bytes(model.config, dtype.itemsize))
    report.tell(f"made {weights / 1e9:.2f} GB of weights")
    ways = Ways(model, rate, given.num_crops, given.rounds)
    measure_all(report, ways, given.batch_sizes, given.new_tokens)
    largest = max(given.batch_sizes)
    seen = len(ways.requests(1)[0].input_ids) + given.new_tokens
    seen = -(-seen // SEEN_STEP) * SEEN_STEP
    report.add(attention=attention_rates(model, largest, seen))
    report.add(equal_in_this_precision=ways.equal(min(16, largest), given.new_tokens))
    report.print_table()


if __name__ == "__main__":
    main()
