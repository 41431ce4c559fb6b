"""The model on the CPU: our decoding loop against `generate`, on the demo checkpoint or on random weights.

Workload: drawn scenes for the demo model (its own answers, stop tokens heeded); pictures of noise and
answers of 20 tokens for `--size mid`, a random network of 147 million weights.  All ways run in one process,
one after the other, on pictures that are preprocessed ahead.  How many captions are equal to those of
`generate`, asked one by one, stands beside each way.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from transformers import BatchFeature

from captiond import demo
from captiond.demo import scenes
from captiond.phi3v import Decoder, Phi3VForCausalLM, Request, build_prompt, load, speed

Said = list[list[int]]


def demo_work(count: int) -> tuple[Phi3VForCausalLM, list[BatchFeature], frozenset[int], int]:
    model, processor = load(demo.checkpoint_path(), dtype=torch.float32, attn_implementation="sdpa")
    prompt, rng, batches = build_prompt("Describe what is shown in this image."), random.Random(0), []
    for _ in range(count):
        scene = scenes.random_scene(rng)
        picture = scenes.draw(scene, *scenes.random_size(rng, scene, longest=800))
        batches.append(processor(picture, prompt, num_crops=4))
    return model, batches, processor.stop_ids, 40


def random_work(size: str, count: int) -> tuple[Phi3VForCausalLM, list[BatchFeature], frozenset[int], int]:
    model = speed.random_model(size, torch.device("cpu"), torch.float32)
    made = speed.prompts(model, 1)
    return model, [made[index % len(made)] for index in range(count)], frozenset(), 20


def by_generate(
    model: Phi3VForCausalLM, batches: list[BatchFeature], stops: frozenset[int], limit: int, together: int
) -> Said:
    said: Said = []
    for start in range(0, len(batches), together):
        part = batches[start : start + together]
        longest = max(one["input_ids"].shape[1] for one in part)
        inputs: dict[str, Any] = {}
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            rows = [torch.nn.functional.pad(one[name], (longest - one[name].shape[1], 0)) for one in part]
            inputs[name] = torch.cat(rows)
        for name in ("pixel_values", "image_sizes"):
            inputs[name] = torch.cat([one[name] for one in part])
        with torch.inference_mode():
            out: Any = model.generate(
                **inputs,
                max_new_tokens=limit,
                do_sample=False,
                eos_token_id=sorted(stops) or None,
                pad_token_id=0,
            )
        for row in out[:, longest:].tolist():
            end = next((at for at, token in enumerate(row) if token in stops), len(row))
            said.append(row[:end])
    return said


def by_ours(
    model: Phi3VForCausalLM, batches: list[BatchFeature], stops: frozenset[int], limit: int, together: int
) -> Said:
    requests = [Request.of(one, limit, dtype=torch.float32) for one in batches]
    left = deque(requests)
    answers = Decoder(model, stops).run(
        lambda room: [left.popleft() for _ in range(min(room, len(left)))], together
    )
    found = {id(request): said.tokens for request, said in answers}
    return [found[id(request)] for request in requests]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=["demo", "tiny", "mid"], default="demo")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON rather than a table")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    work = demo_work(given.pictures) if given.size == "demo" else random_work(given.size, given.pictures)
    model, batches, stops, limit = work
    batch = given.batch_size

    ways: dict[str, Callable[[], Said]] = {
        "generate, one by one": lambda: by_generate(model, batches, stops, limit, 1),
        f"generate, batches of {batch}": lambda: by_generate(model, batches, stops, limit, batch),
        "ours, one slot": lambda: by_ours(model, batches, stops, limit, 1),
        f"ours, {batch} slots": lambda: by_ours(model, batches, stops, limit, batch),
    }
    by_generate(model, batches[:1], stops, 2, 1)
    rows: list[dict[str, Any]] = []
    expected: Said = []
    for way, answer in ways.items():
        start = time.perf_counter()
        said = answer()
        seconds = time.perf_counter() - start
        expected = expected or said
        same = sum(one == other for one, other in zip(said, expected, strict=True))
        rows.append({"way": way, "pictures_per_second": len(said) / seconds, "equal_captions": same})
    first = rows[0]["pictures_per_second"]
    if given.json:
        print(json.dumps({"size": given.size, "pictures": len(batches), "rows": rows}, indent=1))
        return
    print("| way | pictures/s | against one by one | captions equal |\n|---|---|---|---|")
    for row in rows:
        speed_of = row["pictures_per_second"]
        equal = f"{row['equal_captions']} of {len(batches)}"
        print(f"| {row['way']} | {speed_of:.2f} | {speed_of / first:.2f} | {equal} |")


if __name__ == "__main__":
    main()
