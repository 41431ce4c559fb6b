"""The benchmarks run as they are documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from captiond.phi3v import speed

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import passes

ROOT = Path(__file__).parent.parent
# What a bare GPU machine lacks, though captiond or its network use it elsewhere.
ABSENT = (
    "accelerate", "bitsandbytes", "torchvision", "structlog", "pydantic", "pydantic_settings", "watchdog",
    "pillow_heif", "fastapi", "uvicorn", "prometheus_client", "piexif", "hypothesis", "pytest",
)  # fmt: skip
BARE = f"""
import runpy, sys
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *places: (
    None if name.partition(".")[0] in {ABSENT!r} else found(name, *places)
)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_gpu_benchmark_runs_on_a_bare_machine(tmp_path: Path) -> None:
    """With torch and transformers alone it measures all ways, which say the same, and writes it down."""
    out = tmp_path / "gpu.json"
    options = ("--size", "tiny", "--device", "cpu", "--batch-sizes", "1", "3", "--rounds", "1")
    done = subprocess.run(
        [sys.executable, "-c", BARE, "benchmarks/gpu.py", *options, "--new-tokens", "3", "--out", str(out)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "daemon"}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(out.read_text())
    assert found["failed"] == {} and found["left_out"] == []
    assert set(found["equal_in_float32"].values()) == {"3 of 3", "4 of 4"}
    assert all(row["pictures_per_second"] > 0 for row in found["rows"])
    ways = [row["way"] for row in found["rows"]]
    assert ways[0] == "ours, 3 slots" and "generate, batches of 3" in ways
    assert not (tmp_path / "gpu.json.part").exists()


def test_kernels_and_bytes_are_counted() -> None:
    """Both ways through the layers read the same weights and cache; ours is fewer kernels that move less."""
    model = speed.random_model("tiny", torch.device("meta"), torch.bfloat16)
    ours, theirs = passes.counted(model, 4), passes.counted(model, 4, in_fewer_passes=False)
    assert list(ours) == list(theirs) == ["a prefill of 4", "a step of 4"]
    layers = sum(one.nbytes for one in model.model.layers.parameters())
    for one, other in zip(ours.values(), theirs.values(), strict=True):
        assert one.weights == other.weights >= layers
        assert one.cache == other.cache > 0
        assert one.kernels < 0.9 * other.kernels
        assert one.elementwise < 0.8 * other.elementwise  # what makes pixels floats is the same


def test_a_count_is_what_a_kernel_reads_and_writes() -> None:
    """Views are free, what is spread over a dimension is read once, and a fused norm is one kernel."""
    rows, row = torch.empty(8, 4, device="meta"), torch.empty(4, device="meta")
    with passes.Counting(set(), set()) as counting, passes.AsOnCuda(counting):
        rows.t().view(4, 8).t().add_(row.expand(8, 4))
        torch.nn.functional.rms_norm(rows, [4], row, 1e-5)
    assert counting.count.kernels == 2
    assert counting.count.by_name == {"add_": 4 * (32 + 4 + 32), "rms_norm": 4 * (32 + 4 + 32)}
