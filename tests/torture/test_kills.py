"""A sample of the kills that `make torture` deals out."""

from __future__ import annotations

from pathlib import Path

import library_kills
from kills import kill


def test_kills_at_random_times_lose_and_double_nothing(tmp_path: Path) -> None:
    """Killed under load and restarted: each picture is delivered once, whole, with its own caption."""
    kill(tmp_path, kills=3, seed=1)


def test_a_library_is_described_whole_and_once_whenever_it_is_killed(tmp_path: Path) -> None:
    """Killed under load and restarted: pictures stay as they are, sidecars are whole, questions are few."""
    library_kills.kill(tmp_path, kills=2, seed=1)
