"""Pictures a second of Phi-3.5-vision on this GPU, against the simplest way and against plain `generate`.

Workload: a full-size network with random weights in bfloat16, made on the card; 640x480 pictures of noise at
num_crops 4 (757 picture tokens and 24 of prompt), answers of exactly 60 tokens.  Measured in one run: the
card's bandwidth and matrix speed; our loop at several batch sizes; `generate` on batches; one picture at a
time with eager attention, the simplest way, at 20 tokens and at 60.  The comparison at equal tokens is the
fair one; both are printed.  All ways use our network, so that each gains from crops that pass the tower once.

Needs torch, transformers, safetensors, numpy and pillow only:

    PYTHONPATH=daemon python benchmarks/gpu.py                                # some minutes on one H200
    PYTHONPATH=daemon python benchmarks/gpu.py --size tiny --device cpu       # that it runs at all
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from captiond.phi3v import Decoder, Phi3VForCausalLM, Request, memory, speed

FEW_TOKENS = 20


def told(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def with_generate(
    model: Phi3VForCausalLM,
    *,
    batch_size: int,
    num_crops: int,
    new_tokens: int,
    pictures: int,
    attention: str,
) -> tuple[float, list[list[int]]]:
    """Pictures a second by the library's loop, preprocessed ahead like ours; and the tokens of one batch."""
    model.set_attn_implementation({"": attention, "vision_config": attention})
    batches = speed.prompts(model, num_crops)
    rows = [batches[index % len(batches)] for index in range(batch_size)]
    pinned = model.device.type == "cuda"
    inputs = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    if pinned:
        inputs = {name: value.pin_memory() for name, value in inputs.items()}

    def once(tokens: int) -> torch.Tensor:
        on_device = {name: value.to(model.device) for name, value in inputs.items()}
        with torch.inference_mode():
            out: Any = model.generate(**on_device, max_new_tokens=tokens, do_sample=False, eos_token_id=None)
        return out[:, inputs["input_ids"].shape[1] :].cpu()

    once(2)
    rounds = max(1, pictures // batch_size)
    speed.waited(model.device)
    start = time.perf_counter()
    for _ in range(rounds):
        tokens = once(new_tokens)
    seconds = time.perf_counter() - start
    model.set_attn_implementation({"": "sdpa", "vision_config": "sdpa"})
    return rounds * batch_size / seconds, tokens.tolist()


def attention_probe(model: Phi3VForCausalLM, batch_size: int, seen: int) -> list[dict[str, Any]]:
    """How fast each of sdpa's backends reads a cache for one new token a row, masked as our steps mask it."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    config, device = model.config, model.device
    width = config.hidden_size // config.num_attention_heads
    shape = (batch_size, config.num_attention_heads, seen, width)
    keys, values = (torch.randn(shape, device=device, dtype=model.dtype) for _ in range(2))
    query = torch.randn(batch_size, config.num_attention_heads, 1, width, device=device, dtype=model.dtype)
    mask = torch.ones(batch_size, 1, 1, seen, device=device, dtype=torch.bool)
    found = []
    for backend in (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH):

        def attend() -> object:
            return torch.nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)

        try:
            with sdpa_kernel(backend):
                seconds = speed.best_seconds(attend, device, times=20)
        except RuntimeError as error:
            found.append({"backend": backend.name, "refused": str(error).splitlines()[0]})
        else:
            found.append({"backend": backend.name, "bytes_per_second": 2 * keys.nbytes / seconds})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(speed.SIZES), default="full")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--num-crops", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3, help="pictures measured, in batches")
    parser.add_argument("--out", type=Path, help="write the JSON here as well")
    given = parser.parse_args()
    device = torch.device(given.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    told(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}")
    rate = speed.rates(device)
    told(f"measured {rate.bytes_per_second / 1e12:.3f} TB/s, {rate.flops_per_second / 1e12:.2f} TFLOP/s")
    start = time.perf_counter()
    model = speed.random_model(given.size, device, dtype)
    weights = memory.weight_bytes(model.config, dtype.itemsize)
    told(f"made {weights / 1e9:.2f} GB of weights in {time.perf_counter() - start:.1f} s")

    work = {"num_crops": given.num_crops, "new_tokens": given.new_tokens}
    rows: list[dict[str, Any]] = []
    decoder = Decoder(model, ())
    for batch_size in given.batch_sizes:
        pictures = max(4, given.rounds * batch_size)
        found = speed.measure(model, rate, batch_size=batch_size, pictures=pictures, decoder=decoder, **work)
        told(f"ours, batch {batch_size}: {found.pictures_per_second:.2f} pictures/s")
        rows.append({"way": "ours", **found.as_json()})
    ours = rows[-1]
    requests = [
        Request.of(one, given.new_tokens, dtype=dtype) for one in speed.prompts(model, given.num_crops)
    ]
    alone = [speed.answer_all(decoder, [one], 1, 1)[0] for one in requests]
    del decoder  # its cache gives way to generate's
    if device.type == "cuda":
        torch.cuda.empty_cache()
    largest = max(given.batch_sizes)
    ways = [
        ("generate, batched", largest, "sdpa", given.new_tokens),
        ("one at a time, eager", 1, "eager", given.new_tokens),
        ("one at a time, eager, 20 tokens", 1, "eager", FEW_TOKENS),
    ]
    for way, batch_size, attention, tokens in ways:
        pictures = batch_size if batch_size > 1 else len(requests)
        per_second, said = with_generate(
            model, batch_size=batch_size, num_crops=given.num_crops, new_tokens=tokens, pictures=pictures,
            attention=attention,
        )  # fmt: skip
        told(f"{way}, {tokens} tokens: {per_second:.2f} pictures/s")
        row = {"way": way, "batch_size": batch_size, "new_tokens": tokens, "pictures_per_second": per_second}
        rows.append({**row, "ours_is_times": ours["pictures_per_second"] / per_second})
        if way == "generate, batched":
            same = sum(a == b for a, b in zip(alone, said, strict=False))
            told(f"answers equal to ours alone: {same} of {min(len(alone), len(said))}")
    probe = (
        attention_probe(model, largest, ours["prompt_tokens"] + given.new_tokens)
        if device.type == "cuda"
        else []
    )

    print(f"\n| way | batch | tokens | pictures/s | tokens/s | of the floor | ours is |\n{'|---' * 7}|")
    for row in rows:
        share = f"{row['share_of_floor']:.0%}" if "share_of_floor" in row else ""
        times = f"{row['ours_is_times']:.1f} times" if "ours_is_times" in row else ""
        speed_of = row["pictures_per_second"]
        cells = (row["way"], row["batch_size"], row["new_tokens"], f"{speed_of:.2f}",
                 f"{speed_of * row['new_tokens']:.0f}", share, times)  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |")
    for one in probe:
        print(
            f"attention by {one['backend']}: {one.get('bytes_per_second', 0) / 1e12:.2f} TB/s",
            one.get("refused", ""),
        )
    result = {
        "device": name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "size": given.size,
        "dtype": str(dtype),
        "rates": rate._asdict(),
        "weight_bytes": weights,
        "rows": rows,
        "attention": probe,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
