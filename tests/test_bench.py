"""Measuring the model on this machine, and computing what fits on others."""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from captiond.captioners.measuring import Bench, memory_table
from captiond.phi3v import Decoder, Phi3VConfig, Phi3VForCausalLM, memory, speed
from captiond.phi3v.generation import PREFILL_TOKENS
from captiond.phi3v.rows import Row, groups
from daemon_process import captiond

FULL = Phi3VConfig(**memory.PUBLISHED)


def test_bench_measures_the_configured_model() -> None:
    """`captiond bench --json` says for each batch size what came out, and what the device could do."""
    options = (
        "--batch-size",
        "1",
        "--batch-size",
        "2",
        "--new-tokens",
        "3",
        "--rounds",
        "1",
        "--num-crops",
        "1",
    )
    done = captiond("bench", "--model", "demo", *options, "--json", CAPTIOND_MODEL__DEVICE="cpu")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["batch_size"] for row in found["rows"]] == [1, 2]
    assert found["out_of_memory"] == []
    assert found["fastest_batch_size"] in (1, 2) and found["auto_batch_size"] >= 1
    for row in found["rows"]:
        assert row["pictures_per_second"] == pytest.approx(row["pictures"] / row["seconds"])
        assert row["new_tokens"] == 3 and 0 < row["share_of_floor"] < 1


@pytest.mark.long
def test_bench_runs_random_weights() -> None:
    """Without any checkpoint a network of a given size is measured; the table names its columns."""
    options = (
        "--random-weights",
        "--size",
        "tiny",
        "--batch-size",
        "2",
        "--new-tokens",
        "2",
        "--rounds",
        "1",
    )
    done = captiond("bench", *options, CAPTIOND_MODEL__DEVICE="cpu")
    assert done.returncode == 0, done.stderr
    assert "pictures/s" in done.stdout and "of the floor" in done.stdout


def test_the_sizes_are_the_published_ones() -> None:
    """Weights and cache are computed as the checkpoint's own index and shapes have them."""
    assert memory.weight_bytes(FULL, 2) == pytest.approx(8_293_242_880, rel=1e-3)
    assert memory.kv_bytes_per_token(FULL, 2) == 384 * 1024
    assert memory.longest_prompt(FULL, 4) == 781 + memory.PROMPT_TEXT_TOKENS
    assert memory.longest_prompt(FULL, 16) == 2653 + memory.PROMPT_TEXT_TOKENS


class Peak(TorchDispatchMode):
    """The most bytes that live at once beside those of before; also where tensors are shapes alone."""

    def __init__(self, before: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = {tensor.untyped_storage()._cdata for tensor in before}
        self.now = self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, torch.Tensor) and one.untyped_storage()._cdata not in self.seen:
                storage = one.untyped_storage()
                self.seen.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        return made

    def gone(self, name: int, count: int) -> None:
        self.seen.discard(name)
        self.now -= count


@pytest.fixture(scope="module")
def full() -> Phi3VForCausalLM:
    """The published network in bfloat16, without its numbers."""
    with torch.device("meta"):
        made: Phi3VForCausalLM = Phi3VForCausalLM._from_config(  # type: ignore[no-untyped-call]
            FULL, dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()
        return made


def test_squeezed_weights_are_counted_as_they_lie(full: Phi3VForCausalLM) -> None:
    """int8 has 4 bytes for each row beside its numbers; NF4 one for 64 numbers, and 4 for 256 of those."""
    whole = sum(weight.nbytes for weight in full.parameters())
    linear = [module.weight for module in full.model.layers.modules() if isinstance(module, nn.Linear)]
    count, rows = sum(weight.numel() for weight in linear), sum(len(weight) for weight in linear)
    rest = whole - 2 * count
    assert memory.weight_bytes(FULL, 2) == pytest.approx(whole, rel=1e-3)
    assert memory.weight_bytes(FULL, 2, "int8") == pytest.approx(rest + count + 4 * rows, rel=1e-3)
    four_bits = count / 2 + count / 64 + 4 * count / 64 / 256
    assert memory.weight_bytes(FULL, 2, "int4") == pytest.approx(rest + four_bits, rel=1e-3)


@pytest.mark.parametrize(("rows", "num_crops"), [(1, 4), (64, 4), (3, 16)])
def test_what_answers_take_is_foreseen(rows: int, num_crops: int, full: Phi3VForCausalLM) -> None:
    """Cache, prefill and step of the full-size network stay below what is set aside, and not by much."""
    prompts = speed.prompts(full, num_crops)
    asked = [Row.of(prompts[at % 4].request(160), 4096) for at in range(rows)]
    decoder = Decoder(full, ())
    decoder._make_room(max(row.longest for row in asked), rows)
    cache = decoder._cache
    assert cache is not None
    aside = rows * memory.row_bytes(FULL, 2, num_crops, 160)
    assert 0.7 * aside < cache._data.nbytes <= aside
    with Peak([cache._data, *full.parameters(), *full.buffers()]) as peak:
        decoder._prefill(next(groups(asked, PREFILL_TOKENS)), 0)
        decoder._decode(rows, cache.length)
    aside = memory.working_bytes(FULL, 2, num_crops, rows) - memory.MARGIN_BYTES
    assert 0.4 * aside < peak.most < aside


def test_questions_that_share_a_prefill_take_no_more(full: Phi3VForCausalLM) -> None:
    """Five questions about each of some pictures stay below what is set aside for as many pictures."""
    prompts, rows = speed.prompts(full, 4), 20
    firsts = [prompt.request(160) for prompt in prompts]
    asked = [Row.of(replace(first), 4096) for first in firsts for _ in range(rows // len(firsts))]
    decoder = Decoder(full, ())
    decoder._make_room(max(row.longest for row in asked), rows)
    cache = decoder._cache
    assert cache is not None
    in_work: list[Row] = []
    with Peak([cache._data, *full.parameters(), *full.buffers()]) as peak:
        decoder._take_in(in_work, asked)
    assert len(in_work) == rows and sum(row.shared == 0 for row in in_work) == len(firsts)
    assert peak.most < memory.working_bytes(FULL, 2, 4, rows) - memory.MARGIN_BYTES


def test_a_batch_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory runs out, what was measured before stands, and larger batches are not tried."""

    def measure(*_: Any, batch_size: int, num_crops: int, **__: Any) -> Any:
        if batch_size > 4:
            raise torch.OutOfMemoryError("no room")
        return batch_size, num_crops

    monkeypatch.setattr(speed, "measure", measure)
    bench = Bench(speed.random_model("tiny", torch.device("cpu"), torch.float32), None)
    found: list[Any] = list(bench.measured([16, 1, 8, 4], [2], new_tokens=1, rounds=1))
    assert found == [(1, 2), (4, 2)]
    assert bench.too_large == [(8, 2)]


def test_what_fits_grows_with_the_card_and_shrinks_with_the_picture() -> None:
    """More memory or smaller weights never fit fewer pictures; more crops or longer captions never more."""

    def rows(gigabytes: int, quantization: str = "none", num_crops: int = 4, new: int = 160) -> int:
        return memory.rows_on_card(
            FULL, gigabytes << 30, quantization, num_crops=num_crops, max_new_tokens=new
        )

    assert rows(4) == rows(8) == 0 < rows(12) < rows(16) < rows(24) <= memory.MOST_ROWS
    assert 0 < rows(8, "int8") < rows(8, "int4")
    assert rows(24, num_crops=16) < rows(24) < rows(24, num_crops=1)
    assert rows(24, new=1000) < rows(24)


def test_the_documented_table_is_the_computed_one() -> None:
    """docs/gpu.md says of each card what `captiond bench --memory` computes."""
    page = (Path(__file__).parent.parent / "docs" / "gpu.md").read_text(encoding="utf-8")
    told = {
        (int(card), quantization, num_crops): 0 if cell == "too small" else int(cell)
        for card, quantization, cells in re.findall(r"^\| (\d+) GB \| (\w+) \| (.*) \|$", page, re.MULTILINE)
        for num_crops, cell in zip((1, 4, 16), cells.split(" | "), strict=True)
    }
    fits = {
        (fit.card_gigabytes, fit.quantization, fit.num_crops): fit.batch_size
        for fit in memory_table((1, 4, 16), 160)
    }
    assert {key: rows for key, rows in fits.items() if rows or key in told} == told


def test_the_floor_of_one_h200_is_known() -> None:
    """At 4.3 TB/s and 790 TFLOP/s, 64 pictures at a time take about 16 ms each, half of it to read memory."""
    floor = speed.floor_seconds(
        FULL, 2, speed.Rates(4.3e12, 790e12), batch_size=64, prompt_tokens=781, crops=5, new_tokens=60
    )
    assert 0.014 < floor < 0.018
    alone = speed.floor_seconds(
        FULL, 2, speed.Rates(4.3e12, 790e12), batch_size=1, prompt_tokens=781, crops=5, new_tokens=60
    )
    assert alone > 7 * floor
