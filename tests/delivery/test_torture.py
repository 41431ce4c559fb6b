"""A sample of the crashes and power cuts that torture.py, powercut.py and monkey.py try one by one."""

from __future__ import annotations

import monkey
import pytest
from powercut import cut_everywhere

from torture import Point, Scenario, missing_tool, sweep

REASON = missing_tool()


@pytest.mark.skipif(REASON is not None, reason=REASON or "")
@pytest.mark.parametrize(
    ("scenario", "first"),
    [
        (Scenario("publish", "flagged"), 15),
        (Scenario("publish", "linked", taken=True), 20),
        (Scenario("set_aside", "reserved"), 25),
        (Scenario("publish", "flagged", beside=True), 3),
        (Scenario("publish", "reserved", taken=True, beside=True), 40),
        (Scenario("recover", "flagged", cut=Point("fsync", 6)), 5),
        (Scenario("recover", "linked", beside=True, cut=Point("fsync", 12)), 5),
        (Scenario("revise", "flagged", beside=True), 20),
        (Scenario("edit_all", "flagged"), 7),
        (Scenario("redo", "flagged", beside=True), 9),
        (Scenario("undo", "linked"), 11),
        (Scenario("approve", "flagged", beside=True), 13),
        (Scenario("edit_waiting", "reserved", beside=True), 41),
        (Scenario("undo_approval", "linked", beside=True), 17),
        (Scenario("duplicate", "flagged", beside=True), 4),
        (Scenario("recover", "reserved", cut=Point("fsync", 3), before="duplicate"), 5),
        (Scenario("set_aside", "linked"), 3),
        (Scenario("set_aside", "apart"), 8),
        (Scenario("recover", "linked", cut=Point("fsync", 5), before="set_aside"), 2),
        (Scenario("publish", "picky"), 25),
        (Scenario("publish", "linked", beside=True, by_date=True), 9),
        (Scenario("recover", "flagged", beside=True, cut=Point("fsync", 12), by_date=True), 7),
    ],
    ids=str,
)
def test_a_kill_at_any_system_call_loses_and_doubles_nothing(scenario: Scenario, first: int) -> None:
    """Wherever the process is killed: one image, one record, the same name, and no second caption."""
    score = sweep(scenario, every=12, first=first)
    assert score.points
    assert not score.failures


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("publish", "flagged", taken=True),
        Scenario("set_aside", "linked"),
        Scenario("publish", "reserved"),
        Scenario("publish", "linked", beside=True),
        Scenario("revise", "flagged", beside=True),
        Scenario("revise", "reserved"),
        Scenario("redo", "flagged"),
        Scenario("undo", "reserved"),
        Scenario("approve", "flagged", beside=True),
        Scenario("set_aside", "flagged", taken=True),
        Scenario("set_aside", "apart"),
        Scenario("duplicate", "flagged", beside=True),
        Scenario("publish", "picky"),
        Scenario("publish", "flagged", beside=True, by_date=True),
    ],
    ids=str,
)
def test_a_power_cut_at_any_step_loses_and_doubles_nothing(scenario: Scenario) -> None:
    """Whatever a file system may have kept of what was not synced: the same holds."""
    score = cut_everywhere(scenario, every=31 if scenario.beside else 13)
    assert score.points
    assert not score.failures


@pytest.mark.skipif(REASON is not None, reason=REASON or "")
def test_what_is_over_leaves_no_trace_that_nothing_explains() -> None:
    """A restart is killed while it removes the traces of what the start before it had finished."""
    score = sweep(Scenario("recover", "linked", cut=Point("fsync", 8), before="set_aside"))
    assert score.points
    assert not score.failures


def test_a_power_cut_leaves_no_file_that_an_undo_took_away() -> None:
    """It may come when a file that an approval made has its new name, and the old one still."""
    score = cut_everywhere(Scenario("undo_approval", "flagged", beside=True), every=9)
    assert score.points
    assert not score.failures


def test_random_trouble_with_companions_loses_and_doubles_nothing() -> None:
    """Crashes and errors at random calls, names taken, companions shared and changed meanwhile."""
    for seed in range(50):
        monkey.run(seed)
