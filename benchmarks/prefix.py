"""What several questions about one picture cost on a real vLLM, with its prefix caching and without it.

    ENGINES_VLLM=.../bin/python python benchmarks/prefix.py

Workload: pictures of 1 megapixel that have nothing in common, five questions each, one after the other over
the same JPEG, the picture first and the words last, as captiond asks; at most 12 new tokens an answer.  The
model is a Qwen2-VL with random weights that reads about 1,270 tokens of such a picture, and large enough that
reading them takes most of the time; what counts is the share: five questions against one, in turns.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers as hf

from shared import Report, options, photo

# isort: split
# `shared` shows the way to the tests' engines.
from captiond.captioners.remote import Prepared, RemoteCaptioner
from captiond.pictures.pool import Decoders
from captiond.records import CaptionRequest
from engines import servers
from tiny_families import FAMILIES

FLAGS = {"on": "--enable-prefix-caching", "off": "--no-enable-prefix-caching"}
QUESTIONS = ("What is shown?", "For whom is it?", "A title.", "Keywords.", "Which words can be read?")
NEW_TOKENS = 12
CONTEXT = 4096
# 26 million weights in the text's layers; heads of 64.
TEXT = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8,
        "num_key_value_heads": 8}  # fmt: skip
TOWER = {"depth": 4, "embed_dim": 256, "hidden_size": 512, "num_heads": 4, "mlp_ratio": 4}
SECTIONS = [8, 12, 12]  # of half a head, which Qwen2-VL turns by time, height and width


def _qwen2_vl() -> tuple[Any, Any]:
    """The tests' tiny one, made larger, and with pictures of as many tokens as the published one takes."""
    tiny, processor = FAMILIES["qwen2_vl"]()
    shape: dict[str, Any] = tiny.config.to_dict()
    shape["text_config"].update(TEXT)
    shape["text_config"]["rope_parameters"]["mrope_section"] = SECTIONS
    shape["text_config"].pop("head_dim", None)
    shape["text_config"].pop("layer_types", None)
    shape["vision_config"].update(TOWER)
    pictures: Any = processor
    pictures.image_processor = hf.Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=28 * 28 * 1280)
    return hf.Qwen2VLForConditionalGeneration(hf.Qwen2VLConfig(**shape)), processor


@contextmanager
def vllm(caching: str, root: Path) -> Iterator[RemoteCaptioner]:
    """A server of its own, with a checkpoint of its own."""
    checkpoint = root / "checkpoint"
    if not checkpoint.exists():
        servers.save_qwen2_vl(checkpoint, {"qwen2_vl": _qwen2_vl})

    def command(python: str, folder: Path, port: int, context: int) -> list[str]:
        return [*servers.VLLM.command(python, folder, port, context), FLAGS[caching]]

    engine = dataclasses.replace(servers.VLLM, command=command)
    server = servers.Server(engine, checkpoint, CONTEXT, root / f"{caching}.log")
    try:
        server.start()
        server.await_health()
        yield RemoteCaptioner(base_url=server.url, model_id=server.model_id, api_key=server.key)
    finally:
        server.kill()


def seconds_for(captioner: RemoteCaptioner, prepared: Prepared, questions: tuple[str, ...]) -> float:
    began = time.perf_counter()
    for words in questions:
        captioner.ask(prepared, CaptionRequest(words, NEW_TOKENS))
    return time.perf_counter() - began


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int, help="for each of the two ways")
    given = parser.parse_args()
    if (reason := servers.VLLM.missing()) is not None:
        parser.error(reason)
    count = given.pictures or (4 if given.quick else 10)
    report = Report("prefix", f"{servers.VLLM.version()}, {count} pictures with one question and with five")
    with tempfile.TemporaryDirectory() as folder, Decoders() as decoders:
        for caching in FLAGS:
            with vllm(caching, Path(folder)) as captioner:
                captioner.load()
                seconds: dict[int, list[float]] = {1: [], len(QUESTIONS): []}
                for number in range(2 * count):
                    encoded = decoders.encoded(photo(1, number), captioner.wish)
                    prepared = captioner.prepare_encoded(encoded)
                    asked = QUESTIONS if number % 2 else QUESTIONS[:1]
                    seconds[len(asked)].append(seconds_for(captioner, prepared, asked))
                one, five = (statistics.median(seconds[asked]) for asked in (1, len(QUESTIONS)))
                report.add(caching=caching, one_ms=1000 * one, five_ms=1000 * five, times=five / one)
    report.give(given.json)


if __name__ == "__main__":
    main()
