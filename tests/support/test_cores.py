"""How many cores a process counts on: those that it may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captiond.support.cores import cores


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("said", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("6400000 100000", 8),
     ("max 100000", 8), ("", 8), ("what is this", 8), ("100000 0", 8)],
)  # fmt: skip
def test_a_containers_share_is_no_more_than_it_is_granted(said: str, expected: int, tmp_path: Path) -> None:
    """Rounded up; what cannot be read limits nothing, and nobody gets more than it is pinned to."""
    (tmp_path / "cpu.max").write_text(said + "\n")
    assert cores(tmp_path) == expected


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 8)])
def test_older_containers_are_understood(quota: str, expected: int, tmp_path: Path) -> None:
    """Where the first version of control groups says it, in two files."""
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores(tmp_path) == expected


@pytest.mark.usefixtures("eight")
def test_without_control_groups_the_pinning_counts(tmp_path: Path) -> None:
    """A machine that limits nothing lends all cores that the process is pinned to."""
    assert cores(tmp_path / "nothing") == 8
