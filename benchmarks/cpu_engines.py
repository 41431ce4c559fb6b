"""captiond's model on a CPU beside vLLM and llama.cpp: one shape, random weights, all of them in turns.

    ENGINES_VLLM=.../bin/python ENGINES_LLAMACPP=.../bin/python python benchmarks/cpu_engines.py

Workload: Phi-3.5-vision at its true width with fewer layers (2 of the text's 32, 2 of the tower's 23), one
thread each, pictures of noise of 640 x 480 that nobody has looked at yet, in five views of 144 tokens each;
one at a time and eight at once.  What a picture takes: to its first word.  What a token takes: the same
question again, for many words, while each still holds what it read of the picture, divided by words and
pictures.  Seconds are CPU time of all processes of a way, which other work on the machine disturbs less;
by the clock stands beside them.

vLLM runs the same network on the same crops.  llama.cpp has no projector for it and is asked about five
pictures of 336 pixels, which are as many tokens, by its own server; its tower is InternVL's.  The floor is
what the machine itself needs for the products of a picture in bfloat16, and to read the weights in bfloat16
for a token, at the rates of a product and of a copy measured at the start.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
import torch
from transformers import BatchFeature

from shared import REPOSITORY, TICKS, Report, options

# isort: split
# `shared` shows the way to the tests' engines.
import cpu_vllm
from captiond.phi3v import (
    Decoder,
    Phi3VForCausalLM,
    Phi3VImageProcessor,
    Request,
    Seen,
    layers,
    memory,
    speed,
    squeeze,
)
from engines import servers

TEXT_LAYERS = TOWER_LAYERS = 2
SHAPE = {**memory.PUBLISHED, "num_hidden_layers": TEXT_LAYERS}
SIZE, VIEWS, SIDE = (640, 480), 5, 336
WORDS = 32
BATCHES = (1, 8)
Ask = Callable[[Sequence[int], int], None]  # numbers of pictures, new tokens


class Way(NamedTuple):
    ask: Ask
    cpu_seconds: Callable[[], float]  # so far


def cpu_seconds_of(session: int) -> float:
    """Of all living processes of a session, in which each server is alone."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def network(*, is_squeezed: bool) -> Phi3VForCausalLM:
    # The tower's last layer is never asked for.
    speed.SIZES["wide"] = {**SHAPE, "vision_config": {"num_hidden_layers": TOWER_LAYERS + 1}}
    model = speed.random_model("wide", torch.device("cpu"), torch.bfloat16)
    if is_squeezed:
        squeeze(model)
    return model


def ours(model: Phi3VForCausalLM, *, has_amx: bool = layers.HAS_AMX) -> Way:
    """The decoding loop, as the daemon has it, but for `has_amx`; preparing counts."""
    decoder, processor = Decoder(model, ()), Phi3VImageProcessor(4)
    kept: dict[int, Request] = {}

    def ask(numbers: Sequence[int], new_tokens: int) -> None:
        layers.HAS_AMX = has_amx
        for number in numbers:
            if number not in kept:
                kept[number] = _request(processor, number)
        requests = [replace(kept[number], max_new_tokens=new_tokens) for number in numbers]
        left = iter(requests)
        said = list(decoder.run(lambda room: [one for one, _ in zip(left, range(room), strict=False)], 8))
        assert all(len(answer.tokens) == new_tokens for _, answer in said)

    return Way(ask, time.process_time)


def _request(processor: Phi3VImageProcessor, number: int) -> Request:
    seen = Seen.of(processor, [cpu_vllm.noise(number, *SIZE)])
    (count,) = seen.token_counts(processor.merged_side)
    length = speed.BEFORE + count + speed.AFTER
    types = torch.zeros(1, length, dtype=torch.int64)
    types[:, speed.BEFORE : speed.BEFORE + count] = 1
    ids = torch.randint(3, SHAPE["vocab_size"], (1, length), generator=torch.Generator().manual_seed(number))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": types}
    return Request.about(seen, BatchFeature(batch), 1)


@contextmanager
def vllm(root: Path) -> Iterator[Way]:
    cpu_vllm.write(root / "vllm", SHAPE, TOWER_LAYERS)
    paths = f"{REPOSITORY / 'daemon'}:{REPOSITORY / 'benchmarks'}"
    surroundings = {
        **dict(servers.VLLM.surroundings),
        "PYTHONPATH": paths,
        "HF_MODULES_CACHE": str(root / "modules"),
    }
    with (root / "vllm.log").open("wb") as log:
        process = subprocess.Popen(
            [servers.VLLM.python, REPOSITORY / "benchmarks" / "cpu_vllm.py", root / "vllm", "bfloat16"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            env={**os.environ, **surroundings, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
                 "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
        )  # fmt: skip
    assert process.stdin and process.stdout
    said, told = process.stdout, process.stdin

    def answer(key: str) -> Any:
        for line in said:
            if line.startswith("{") and key in (found := json.loads(line)):
                return found[key]
        raise SystemExit((root / "vllm.log").read_text(errors="replace")[-3000:])

    def ask(numbers: Sequence[int], new_tokens: int) -> None:
        told.write(json.dumps({"pictures": list(numbers), "new_tokens": new_tokens, "size": SIZE}) + "\n")
        told.flush()
        answer("seconds")

    try:
        answer("ready")
        yield Way(ask, lambda: cpu_seconds_of(process.pid))
    finally:
        told.close()
        process.terminate()
        process.wait(60)


@contextmanager
def llama_cpp(root: Path, kind: str) -> Iterator[Way]:
    def write(python: str, folder: Path) -> None:
        paths = f"{REPOSITORY / 'tests'}:{REPOSITORY / 'benchmarks'}"
        script = str(REPOSITORY / "benchmarks" / "cpu_gguf.py")
        made = [python, script, str(folder), json.dumps(SHAPE), str(TOWER_LAYERS), kind]
        subprocess.run(made, check=True, env={**os.environ, "PYTHONPATH": paths})

    def command(python: str, folder: Path, port: int, context: int) -> list[str]:
        *before, _, key = servers.LLAMA_CPP.command(python, folder, port, context)
        return [*before, str(max(BATCHES)), key]

    engine = replace(servers.LLAMA_CPP, make=write, command=command)
    engine.make(engine.python, root / kind)
    server = servers.Server(engine, root / kind, 1024, root / f"{kind}.log")
    server.start()
    try:
        server.await_health()
        process = server.process
        with httpx.Client(timeout=600, headers={"Authorization": f"Bearer {server.key}"}) as client:
            yield Way(partial(_asked, client, server.url), lambda: cpu_seconds_of(process.pid))
    finally:
        server.kill()


def _asked(client: httpx.Client, url: str, numbers: Sequence[int], new_tokens: int) -> None:
    questions = [_question(number, new_tokens) for number in numbers]
    with ThreadPoolExecutor(len(questions)) as callers:
        said = list(callers.map(lambda asked: client.post(f"{url}/chat/completions", json=asked), questions))
    for one in said:
        assert one.status_code == 200 and one.json()["usage"]["completion_tokens"] == new_tokens, one.text


def _question(number: int, new_tokens: int) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for view in range(VIEWS):
        buffer = io.BytesIO()
        cpu_vllm.noise(VIEWS * number + view, SIDE, SIDE).save(buffer, "PNG", compress_level=0)
        uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        content.append({"type": "image_url", "image_url": {"url": uri}})
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": "What?"}]}]
    return {
        "model": "any",
        "messages": messages,
        "max_tokens": new_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }


class Took(NamedTuple):
    """Seconds for each picture, and for each token of each picture; of the CPU and by the clock."""

    picture: float
    picture_by_clock: float
    token: float
    token_by_clock: float


def measured(ways: dict[str, Way], rounds: int) -> dict[tuple[str, int], list[Took]]:
    """What each way took of each batch in each round; the first question of all is not counted."""
    found: dict[tuple[str, int], list[Took]] = {(way, batch): [] for way in ways for batch in BATCHES}
    fresh = iter(range(10_000))
    for way in ways.values():
        way.ask([next(fresh)], 2)
    for _ in range(rounds):
        for batch in BATCHES:
            for name, way in ways.items():
                numbers = [next(fresh) for _ in range(batch)]
                pictures, tokens = _timed(way, numbers, 1), _timed(way, numbers, WORDS)
                each = batch * WORDS
                took = Took(*(one / batch for one in pictures), *(one / each for one in tokens))
                found[name, batch].append(took)
                print(f"{name}, {batch}: {took}", file=sys.stderr, flush=True)
    return found


def _timed(way: Way, numbers: Sequence[int], new_tokens: int) -> tuple[float, float]:
    """Seconds of the CPU, and by the clock."""
    began, began_cpu = time.perf_counter(), way.cpu_seconds()
    way.ask(numbers, new_tokens)
    return way.cpu_seconds() - began_cpu, time.perf_counter() - began


def floors(model: Phi3VForCausalLM) -> tuple[speed.Rates, dict[int, tuple[float, float]]]:
    """The machine's rates, and for each batch the least seconds for a picture and for a token."""
    rate = _rates()
    tokens = speed.BEFORE + speed.AFTER + 757

    def least(batch: int, new_tokens: int) -> float:
        return speed.floor_seconds(
            model.config, 2, rate, batch_size=batch, prompt_tokens=tokens, crops=VIEWS, new_tokens=new_tokens
        )

    return rate, {batch: (least(batch, 1), (least(batch, 33) - least(batch, 1)) / 32) for batch in BATCHES}


def _rates() -> speed.Rates:
    """As `speed.rates` in bfloat16, with a copy too large for any cache."""
    source = torch.zeros(1 << 28, dtype=torch.int16)
    target = torch.empty_like(source)
    copying = speed.best_seconds(lambda: target.copy_(source), source.device, 3)
    return speed.Rates(
        2 * source.nbytes / copying, speed.rates(source.device, torch.bfloat16).flops_per_second
    )


def all_ways(running: ExitStack, root: Path, whole: Phi3VForCausalLM, kinds: str) -> dict[str, Way]:
    ways = {"captiond, bfloat16": ours(whole), "captiond, int8": ours(network(is_squeezed=True))}
    if layers.HAS_AMX:
        ways["captiond, bfloat16, a row by `linear`"] = ours(whole, has_amx=False)
    if servers.VLLM.missing() is None:
        ways[f"{servers.VLLM.version()}, bfloat16"] = running.enter_context(vllm(root))
    if servers.LLAMA_CPP.missing() is None:
        version = servers.LLAMA_CPP.version()
        for kind in kinds.split(","):
            ways[f"llama.cpp ({version}), {kind}"] = running.enter_context(llama_cpp(root, kind))
    return ways


def reported(
    found: dict[tuple[str, int], list[Took]], least: dict[int, tuple[float, float]], rate: str
) -> Report:
    report = Report("cpu_engines", f"{TEXT_LAYERS} layers of text and {TOWER_LAYERS} of the tower; {rate}")
    for batch in BATCHES:
        picture, token = least[batch]
        report.add(way="floor", batch=batch, s_a_picture=picture, ms_a_token=1000 * token)
        for (way, size), rounds in found.items():
            if size != batch:
                continue
            pictures, tokens = [one.picture for one in rounds], [1000 * one.token for one in rounds]
            report.add(
                way=way,
                batch=batch,
                s_a_picture=median(pictures),
                least_greatest_s=f"{min(pictures):.2f}, {max(pictures):.2f}",
                s_by_clock=median(one.picture_by_clock for one in rounds),
                ms_a_token=median(tokens),
                least_greatest_ms=f"{min(tokens):.0f}, {max(tokens):.0f}",
                ms_by_clock=median(1000 * one.token_by_clock for one in rounds),
            )
    return report


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--kinds", default="Q8_0", help="of llama.cpp's matrices, with commas: Q8_0,F16")
    given = parser.parse_args()
    torch.set_num_threads(1)
    whole = network(is_squeezed=False)
    rate, least = floors(whole)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        ways = all_ways(running, Path(folder), whole, given.kinds)
        found = measured(ways, given.rounds or (1 if given.quick else 3))
    told = f"{rate.flops_per_second / 1e9:.0f} GFLOP/s, {rate.bytes_per_second / 1e9:.1f} GB/s"
    reported(found, least, told).give(given.json)


if __name__ == "__main__":
    main()
