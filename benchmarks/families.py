"""Pictures a second of another family: rows that come and go, beside `generate` in whole batches.

Workload: a LLaVA with random weights (84 million: a decoder of 12 layers of 640, a tower of 6 layers of 256),
pictures of noise at 112 pixels, 80 tokens of prompt each, and answers of mixed lengths, as captions have:
the end token is the one by which the answers' lengths differ most, among those that end half of them or more
before the limit.  Everything, from a decoded picture to words, in turns within one run, float32, one thread.
Beside the seconds stands the CPU's time, which other work on the machine disturbs less.

    python benchmarks/families.py                 # 24 pictures, limit 96, 2 rounds
    python benchmarks/families.py --quick         # 8 pictures, limit 32, 1 round
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

import shared as shared  # which puts tests/ and this checkout on the path
from captiond.captioners.auto import AutoEngine
from captiond.captioners.batches import Completion, Question
from captiond.records import CaptionRequest
from tiny_families import FIRST_BYTE, LETTERS, identify, save, template_of, tokenizer_of

SLOTS, SIDE = 8, 112
LAYERS = {"num_hidden_layers": 12, "num_attention_heads": 10, "num_key_value_heads": 10}
TEXT = {**LAYERS, "hidden_size": 640, "intermediate_size": 2560, "initializer_range": 0.05}
TOWER = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4}


def llava() -> tuple[Any, Any]:
    hf: Any = transformers
    tokenizer = tokenizer_of(image_token="<image>")
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER, image_size=SIDE, patch_size=14),
        text_config=hf.LlamaConfig(**TEXT, **ends, vocab_size=len(tokenizer)),
        image_token_index=identify(tokenizer, "<image>"),
    )
    size = {"height": SIDE, "width": SIDE}
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template_of("<image>"),
    )
    return hf.LlavaForConditionalGeneration(config), processor


def questions(engine: AutoEngine, count: int, limit: int) -> list[Question]:
    noise = np.random.default_rng(0)
    request = CaptionRequest("Describe.", limit)
    pictures = [noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(count)]
    return [engine.question(Image.fromarray(picture), request) for picture in pictures]


def said(engine: AutoEngine, asked: list[Question], slots: int) -> list[Completion]:
    left = list(asked)

    def more(room: int) -> list[Question]:
        taken = left[:room]
        del left[: len(taken)]
        return taken

    found = {id(question): completion for question, completion in engine.completions(more, slots)}
    return [found[id(question)] for question in asked]


def end_that_mixes(texts: list[str], limit: int) -> int:
    """The byte that ends the answers at the most different lengths."""
    letters = [chr(ord("!") + number) for number in range(LETTERS)]
    lengths = {one: [text.find(one) if one in text else limit for text in texts] for one in letters}
    mixed = {one: some for one, some in lengths.items() if statistics.median(some) < limit and min(some) > 0}
    best = max(mixed or lengths, key=lambda one: statistics.pstdev(lengths[one]))
    return FIRST_BYTE + letters.index(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--limit", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.quick:
        given.pictures, given.limit, given.rounds = 8, 32, 1
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = save("llava", Path(folder), {"llava": llava})
        measure(checkpoint, given)


def measure(checkpoint: Path, given: argparse.Namespace) -> None:
    loading = {"dtype": torch.float32}
    whole = AutoEngine(checkpoint, loading)
    whole.batch = None
    asked = questions(whole, given.pictures, given.limit)
    end = end_that_mixes([one.text for one in said(whole, asked, SLOTS)], given.limit)
    settings = checkpoint / "generation_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "eos_token_id": end}))
    whole = AutoEngine(checkpoint, loading)
    whole.batch = None
    rows = AutoEngine(checkpoint, loading)
    assert rows.batch is not None
    ways = {
        "generate, one by one": (whole, 1),
        f"generate, batches of {SLOTS}": (whole, SLOTS),
        f"row by row, {SLOTS} slots": (rows, SLOTS),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    answers: dict[str, list[Completion]] = {}
    for _ in range(given.rounds):
        for way, (engine, slots) in ways.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            answers[way] = said(engine, asked, slots)
            seconds[way].append(time.perf_counter() - began)
            cpu[way].append(time.process_time() - began_cpu)
    alone, *_ = answers.values()
    lengths = sorted(one.new_tokens for one in alone)
    weights = sum(parameter.numel() for parameter in whole.model.parameters())
    print(f"{weights / 1e6:.0f} million weights; prompt of {alone[0].prompt_tokens}; answers of {lengths}")
    first = next(iter(ways))
    print(
        "| way | pictures/s | times | times by CPU (least, greatest) | answers equal |\n|---|---|---|---|---|"
    )
    for way in ways:
        by_cpu = [one / mine for one, mine in zip(cpu[first], cpu[way], strict=True)]
        times = statistics.median(one / mine for one, mine in zip(seconds[first], seconds[way], strict=True))
        equal = sum(one == mine for one, mine in zip(alone, answers[way], strict=True))
        print(
            f"| {way} | {given.pictures / statistics.median(seconds[way]):.2f} | {times:.2f} |"
            f" {statistics.median(by_cpu):.2f} ({min(by_cpu):.2f}, {max(by_cpu):.2f}) |"
            f" {equal} of {len(alone)} |"
        )


if __name__ == "__main__":
    main()
