"""The benchmarks run as they are documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
