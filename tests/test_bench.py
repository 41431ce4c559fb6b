"""Measuring the model on this machine, and computing what fits on others."""

from __future__ import annotations

import json

import pytest

from captiond.phi3v import Phi3VConfig, memory, speed
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
    assert found["fastest_batch_size"] in (1, 2) and found["auto_batch_size"] >= 1
    for row in found["rows"]:
        assert row["pictures_per_second"] == pytest.approx(row["pictures"] / row["seconds"])
        assert row["new_tokens"] == 3 and 0 < row["share_of_floor"] < 1


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
