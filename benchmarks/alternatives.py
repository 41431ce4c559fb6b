"""captiond's model on the CPU beside what one would use instead: the demo checkpoint, from picture to words.

Ways: `generate` by hand, one picture at a time; transformers' `pipeline("image-text-to-text")`, one at a time
and in batches; `transformers serve`, asked by captiond's own openai door with several requests in flight; and
captiond's captioner, asked by as many threads as the daemon has.  Workload: drawn scenes of at most 800
pixels, decoded; the server is sent JPEGs, as ever.  All ways are asked in turns, one round ahead of those
that count.  The CPU's time is this process's: what the server takes is not in it.

Transformers does not know Phi-3.5-vision, so the pipeline and the server are given captiond's classes, and a
copy of the checkpoint with a chat template that takes pictures.  Needs transformers[serving] for the server;
without it, that way is left out.

    python benchmarks/alternatives.py --quick          # less than a minute on a quiet machine
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import torch
from PIL import Image
from transformers import AutoProcessor, pipeline
from transformers.image_utils import load_image
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging

from captiond import demo, phi3v
from captiond.captioners.local import LocalCaptioner
from captiond.captioners.remote import RemoteCaptioner
from captiond.demo import scenes
from captiond.records import CaptionRequest, Picture, PictureFacts

PROMPT = "Describe what is shown in this image."
NEW_TOKENS = 40
STARTING_SECONDS = 100.0
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|image_1|>\n{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}<|end|>\n{% endfor %}<|assistant|>\n"
)
Answer = Callable[[list[Image.Image]], list[str]]


class Phi3VProcessor(phi3v.Phi3VProcessor):
    """Ours, under the name that checkpoints give, for callers who pass more than pictures and words."""

    def __call__(self, images: Any = None, text: Any = None, **_: Any) -> Any:  # type: ignore[override]
        flat = [one for part in images or () for one in (part if isinstance(part, list) else [part])]
        return super().__call__([load_image(one) for one in flat], text)


def register() -> None:
    phi3v.register()
    AutoProcessor.register(phi3v.Phi3VConfig, Phi3VProcessor, exist_ok=True)  # type: ignore[no-untyped-call]


def talking_copy(folder: Path) -> Path:
    copy = folder / "demo"
    shutil.copytree(demo.checkpoint_path(), copy)
    file = copy / "tokenizer_config.json"
    tokenizer = {**json.loads(file.read_text(encoding="utf-8")), "chat_template": TEMPLATE}
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    return copy


def drawn(count: int) -> tuple[list[Image.Image], list[str]]:
    rng, pictures, captions = random.Random(0), [], []
    for _ in range(count):
        scene = scenes.random_scene(rng)
        pictures.append(scenes.draw(scene, *scenes.random_size(rng, scene, longest=800)))
        captions.append(scene.caption)
    return pictures, captions


def by_hand() -> Answer:
    model, processor = phi3v.load(demo.checkpoint_path(), dtype=torch.float32)
    generate: Any = model.generate  # type: ignore[misc]  # its `self` has a type of its own

    def say(picture: Image.Image) -> str:
        inputs = processor(picture, phi3v.build_prompt(PROMPT))
        said = generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
        answer: str = processor.answers(said, inputs["input_ids"].shape[1])[0].text
        return answer

    return lambda pictures: [say(picture) for picture in pictures]


def by_pipeline(checkpoint: Path, batch_size: int) -> Answer:
    piped: Any = pipeline("image-text-to-text", model=str(checkpoint), dtype=torch.float32)
    piped.tokenizer.padding_side = "left"
    # What it stops at and pads with; the folder's own file names neither all nor both.
    stops = phi3v.stop_token_ids(piped.tokenizer)
    options = {"eos_token_id": stops, "pad_token_id": piped.tokenizer.pad_token_id, "do_sample": False}

    def answer(pictures: list[Image.Image]) -> list[str]:
        chats = [
            [{"role": "user", "content": [{"type": "image", "image": one}, {"type": "text", "text": PROMPT}]}]
            for one in pictures
        ]
        # A dictionary of its own each time, since the pipeline writes into it.
        said = piped(
            text=chats, batch_size=batch_size, return_full_text=False,
            generate_kwargs={**options, "max_new_tokens": NEW_TOKENS},
        )  # fmt: skip
        return [(one[0] if isinstance(one, list) else one)["generated_text"].strip() for one in said]

    return answer


def by_captioner(captioner: LocalCaptioner | RemoteCaptioner, threads: int) -> Answer:
    def say(image: Image.Image) -> str:
        picture = Picture(image, PictureFacts("PNG", *image.size))
        prepared: Any = captioner.prepare(picture)
        return captioner.ask(prepared, CaptionRequest(PROMPT, NEW_TOKENS)).text

    def answer(pictures: list[Image.Image]) -> list[str]:
        with ThreadPoolExecutor(threads) as callers:
            return list(callers.map(say, pictures))

    return answer


@contextmanager
def server(checkpoint: Path, threads: int) -> Iterator[str]:
    """The address of a `transformers serve`, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    log = (checkpoint.parent / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(port)], stdout=log, stderr=log,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + STARTING_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (checkpoint.parent / "server.log").read_text(errors="replace")
                    raise SystemExit(f"transformers serve does not start:\n{said}") from None
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()
        log.close()


def serve(port: int) -> None:
    """What the server's process does: it looks for a checkpoint's class in transformers itself."""
    register()
    # Not what `import transformers` bound above: the library replaces itself while it is imported.
    sys.modules["transformers"].Phi3VForCausalLM = phi3v.Phi3VForCausalLM  # type: ignore[attr-defined]
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES["phi3_v"] = "Phi3VForCausalLM"
    from transformers.cli.transformers import main as transformers_main

    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    sys.argv = ["transformers", "serve", *where]
    transformers_main()  # type: ignore[no-untyped-call]


def measured(
    ways: dict[str, Answer], pictures: list[Image.Image], wanted: list[str], rounds: int
) -> list[Any]:
    said = {way: answer(pictures) for way, answer in ways.items()}
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, answer in ways.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            answer(pictures)
            times[way].append((time.perf_counter() - start, time.process_time() - start_cpu))
    first = next(iter(said.values()))
    return [
        {
            "way": way,
            "pictures_per_second": len(pictures) / median(seconds for seconds, _ in times[way]),
            "cpu_seconds_per_picture": median(cpu for _, cpu in times[way]) / len(pictures),
            "equal_captions": sum(one == other for one, other in zip(said[way], first, strict=True)),
            "exact_captions": sum(one == other for one, other in zip(said[way], wanted, strict=True)),
        }
        for way in ways
    ]


def compared(given: argparse.Namespace, folder: Path) -> list[Any]:
    pictures, wanted = drawn(given.pictures)
    checkpoint = talking_copy(folder)
    batch = given.batch_size
    ours = LocalCaptioner(model_id="demo", device="cpu", dtype="float32", batch_size=batch)
    ours.load()
    ways = {
        "generate by hand, one by one": by_hand(),
        "pipeline, one by one": by_pipeline(checkpoint, 1),
        f"pipeline, batches of {batch}": by_pipeline(checkpoint, batch),
        f"captiond, batch_size {batch}": by_captioner(ours, ours.capacity),
    }
    try:
        if not all(find_spec(name) for name in ("fastapi", "uvicorn", "openai")):
            print("transformers[serving] is not there: transformers serve is left out", file=sys.stderr)
            return measured(ways, pictures, wanted, given.rounds)
        with server(checkpoint, given.threads) as url:
            remote = RemoteCaptioner(base_url=url, model_id=str(checkpoint), max_concurrency=batch)
            remote.load()
            ways[f"transformers serve, {batch} in flight"] = by_captioner(remote, batch)
            found = measured(ways, pictures, wanted, given.rounds)
            remote.close()
            return found
    finally:
        ours.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch, here and in the server")
    parser.add_argument("--quick", action="store_true", help="48 pictures, 2 rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is found here as well")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    if given.quick:
        given.pictures, given.rounds = 48, 2
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(given.threads)
    register()
    with tempfile.TemporaryDirectory() as folder:
        rows = compared(given, Path(folder))
    first, count = rows[0]["pictures_per_second"], given.pictures
    print("| way | pictures/s | times | CPU s/picture here | captions equal | exact |")
    print("|---" * 6 + "|")
    for row in rows:
        rate = row["pictures_per_second"]
        print(
            f"| {row['way']} | {rate:.2f} | {rate / first:.2f} "
            f"| {row['cpu_seconds_per_picture']:.4f} | {row['equal_captions']} of {count} "
            f"| {row['exact_captions']} of {count} |"
        )
    if given.json:
        found = {"pictures": count, "threads": given.threads, "torch": torch.__version__, "rows": rows}
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
