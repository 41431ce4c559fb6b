"""Delivery against neighbours who share its folders; the world of tests/delivery, and its place in memory.

Of the many inputs of one kind a sample is tried; CAPTIOND_HOSTILE=whole tries all, as `make torture` does.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "delivery"))

from delivery.conftest import disk, other_file_system, tmp_path

__all__ = ["disk", "other_file_system", "tmp_path"]

SAMPLE = 5  # of each test's inputs


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out all but some of each test's inputs, spread over all of them."""
    if os.environ.get("CAPTIOND_HOSTILE") == "whole":
        return
    kinds: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            kinds[item.nodeid.partition("[")[0]].append(item)
    left_out: set[pytest.Item] = set()
    for inputs in kinds.values():
        # By their names, since the order of tests is another each time.
        ordered = sorted(inputs, key=lambda item: item.nodeid)
        chosen = {ordered[number * len(ordered) // SAMPLE] for number in range(SAMPLE)}
        left_out |= set(ordered) - chosen
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
