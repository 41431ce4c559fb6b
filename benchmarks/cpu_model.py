"""The model on the CPU: our decoding loop against `generate`, on the demo checkpoint or on random weights.

Workload: drawn scenes for the demo model (its own answers, stop tokens heeded); pictures of noise and
answers of 20 tokens for `--size mid`, a random network of 147 million weights.  All ways run in one process,
in turns, on pictures that are preprocessed ahead; a round before those that count makes what a daemon keeps.
Beside the median of pictures a second stands the CPU's time for each picture, which other work on the machine
disturbs less, and how many captions are equal to those of `generate` in float32, asked one by one.

With `--beside CHECKOUT` the same ways of another checkout are measured, each round in two processes in turns:
what stands there is the CPU's time for a picture, theirs and ours, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from captiond import demo
from captiond.demo import scenes
from captiond.phi3v import Decoder, Phi3VForCausalLM, Seen, build_prompt, load, speed, squeeze

Said = list[list[int]]
REPOSITORY = Path(__file__).resolve().parents[1]


class Work(NamedTuple):
    """What is asked of every way."""

    prompts: list[speed.Prompt]
    stops: frozenset[int]
    limit: int


def network(size: str, dtype: torch.dtype = torch.float32) -> Phi3VForCausalLM:
    if size == "demo":
        return load(demo.checkpoint_path(), dtype=dtype, attn_implementation="sdpa")[0]
    return speed.random_model(size, torch.device("cpu"), dtype)


def work(size: str, count: int) -> Work:
    if size == "demo":
        _, processor = load(demo.checkpoint_path())
        prompt, rng = build_prompt("Describe what is shown in this image."), random.Random(0)
        found: list[speed.Prompt] = []
        for _ in range(count):
            scene = scenes.random_scene(rng)
            picture = scenes.draw(scene, *scenes.random_size(rng, scene, longest=800))
            seen = Seen.of(processor.image_processor, [picture], num_crops=4)
            found.append(speed.Prompt(processor(picture, prompt, num_crops=4), seen))
        return Work(found, processor.stop_ids, 40)
    made = speed.prompts(network(size), 1)
    return Work([made[index % len(made)] for index in range(count)], frozenset(), 20)


def by_generate(model: Phi3VForCausalLM, asked: Work, together: int) -> Said:
    said: Said = []
    for start in range(0, len(asked.prompts), together):
        part = [prompt.batch for prompt in asked.prompts[start : start + together]]
        longest = max(one["input_ids"].shape[1] for one in part)
        inputs: dict[str, Any] = {}
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            rows = [torch.nn.functional.pad(one[name], (longest - one[name].shape[1], 0)) for one in part]
            inputs[name] = torch.cat(rows)
        for name in ("pixel_values", "image_sizes"):
            inputs[name] = torch.cat([one[name] for one in part])
        generate: Any = model.generate  # type: ignore[misc]  # its `self` has a type of its own
        with torch.inference_mode():
            out = generate(
                **inputs,
                max_new_tokens=asked.limit,
                do_sample=False,
                eos_token_id=sorted(asked.stops) or None,
                pad_token_id=0,
            )
        for row in out[:, longest:].tolist():
            end = next((at for at, token in enumerate(row) if token in asked.stops), len(row))
            said.append(row[:end])
    return said


def by_ours(decoder: Decoder, asked: Work, together: int) -> Said:
    requests = [prompt.request(asked.limit) for prompt in asked.prompts]
    left = deque(requests)
    answers = decoder.run(lambda room: [left.popleft() for _ in range(min(room, len(left)))], together)
    found = {id(request): said.tokens for request, said in answers}
    return [found[id(request)] for request in requests]


def all_ways(size: str, asked: Work, batch: int) -> dict[str, Callable[[], Said]]:
    whole, halved, eighths = network(size), network(size, torch.bfloat16), network(size)
    squeeze(eighths)
    one, many, half, eight = (Decoder(model, asked.stops) for model in (whole, whole, halved, eighths))
    return {
        "generate, one by one": lambda: by_generate(whole, asked, 1),
        "ours, one slot": lambda: by_ours(one, asked, 1),
        f"generate, batches of {batch}": lambda: by_generate(whole, asked, batch),
        f"ours, {batch} slots": lambda: by_ours(many, asked, batch),
        f"ours, {batch} slots, int8": lambda: by_ours(eight, asked, batch),
        f"ours, {batch} slots, bfloat16": lambda: by_ours(half, asked, batch),
    }


def measured(ways: dict[str, Callable[[], Said]], rounds: int) -> list[dict[str, Any]]:
    """All ways in turns, so that what else the machine does meets them alike."""
    said = {way: answer() for way, answer in ways.items()}
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, answer in ways.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            answer()
            times[way].append((time.perf_counter() - start, time.process_time() - start_cpu))
    expected = next(iter(said.values()))
    count = len(expected)
    return [
        {
            "way": way,
            "pictures_per_second": count / median(seconds for seconds, _ in times[way]),
            "cpu_seconds_per_picture": median(cpu for _, cpu in times[way]) / count,
            "equal_captions": sum(one == other for one, other in zip(said[way], expected, strict=True)),
        }
        for way in ways
    ]


def compare(given: argparse.Namespace) -> None:
    """This checkout against another, round by round."""
    found = [[_elsewhere(given, root) for root in (given.beside, REPOSITORY)] for _ in range(given.rounds)]
    print("| way | CPU s/picture there | here | ratio, median (least, greatest) | captions equal |")
    print("|---|---|---|---|---|")
    for at, row in enumerate(found[0][1]):
        pairs = [[run[at]["cpu_seconds_per_picture"] for run in turn] for turn in found]
        ratios = sorted(here / there for there, here in pairs)
        there, here = (median(pair[side] for pair in pairs) for side in (0, 1))
        span = f"{median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        print(f"| {row['way']} | {there:.4f} | {here:.4f} | {span} | {row['equal_captions']} |")


def _elsewhere(given: argparse.Namespace, root: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "found.json")
        options = {"--size": given.size, "--pictures": given.pictures, "--batch-size": given.batch_size,
                   "--threads": given.threads, "--rounds": 1, "--json": file}  # fmt: skip
        command = [sys.executable, str(root / "benchmarks" / "cpu_model.py")]
        command += [str(one) for pair in options.items() for one in pair]
        env = {**os.environ, "PYTHONPATH": str(root.resolve() / "daemon")}
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=["demo", "tiny", "mid"], default="demo")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="16 pictures, 3 rounds: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is found here as well")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="compare with another checkout")
    given = parser.parse_args()
    if given.beside is not None:
        compare(given)
        return
    torch.set_num_threads(given.threads)
    pictures, rounds = (16, 3) if given.quick else (given.pictures, given.rounds)
    rows = measured(all_ways(given.size, work(given.size, pictures), given.batch_size), rounds)
    first = rows[0]
    print("| way | pictures/s | times | CPU s/picture | times | captions equal |\n|---|---|---|---|---|---|")
    for row in rows:
        rate, cpu = row["pictures_per_second"], row["cpu_seconds_per_picture"]
        print(
            f"| {row['way']} | {rate:.2f} | {rate / first['pictures_per_second']:.2f} | {cpu:.4f} "
            f"| {first['cpu_seconds_per_picture'] / cpu:.2f} | {row['equal_captions']} of {pictures} |"
        )
    if given.json:
        found = {
            "size": given.size,
            "pictures": pictures,
            "batch_size": given.batch_size,
            "rounds": rounds,
            "threads": given.threads,
            "torch": torch.__version__,
            "rows": rows,
        }
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
