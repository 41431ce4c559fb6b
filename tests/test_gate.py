"""Trouble in the surroundings pauses everything, and ends by itself."""

from __future__ import annotations

import threading

from captiond.errors import Surroundings
from captiond.pipeline.gate import LONGEST_WAIT_SECONDS, Gate

FULL = Surroundings("the disk is full", advice="Free some space.")


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Waiting(threading.Event):
    """A stop that is never asked for: waiting for it moves the clock on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.clock.now += timeout
        return False


def _seconds_until_a_picture_passes(gate: Gate, stop: Waiting) -> float:
    before = stop.clock.now
    assert gate.wait(stop)
    return stop.clock.now - before


def test_an_open_gate_keeps_nobody_waiting() -> None:
    """Without trouble pictures pass at once."""
    clock = Clock()
    stop = Waiting(clock)
    assert _seconds_until_a_picture_passes(Gate(clock), stop) == 0


def test_a_closed_gate_lets_one_picture_try_and_waits_longer_each_time() -> None:
    """While the trouble lasts, tries are 1, 2, 4 ... seconds apart, never more than the longest wait."""
    clock = Clock()
    stop, gate = Waiting(clock), Gate(clock)
    waited = []
    for _ in range(8):
        gate.close(FULL)
        waited.append(_seconds_until_a_picture_passes(gate, stop))
    assert waited == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, LONGEST_WAIT_SECONDS]


def test_many_pictures_in_work_report_one_trouble() -> None:
    """Twenty pictures that met the same full disk together count as one try."""
    clock = Clock()
    stop, gate = Waiting(clock), Gate(clock)
    for _ in range(20):
        gate.close(FULL)
    assert _seconds_until_a_picture_passes(gate, stop) == 1.0


def test_it_opens_when_something_worked_and_forgets_the_waits() -> None:
    """After the trouble ended the gate is open, and the next trouble begins with a short wait."""
    clock = Clock()
    stop, gate = Waiting(clock), Gate(clock)
    gate.close(FULL)
    assert _seconds_until_a_picture_passes(gate, stop) == 1.0 and gate.trouble is FULL
    gate.open()
    assert _seconds_until_a_picture_passes(gate, stop) == 0 and gate.trouble is None
    gate.close(FULL)
    assert _seconds_until_a_picture_passes(gate, stop) == 1.0


def test_pauses_are_counted() -> None:
    """Who looks now and then learns of a pause that is over; one trouble is one pause, however often met."""
    gate = Gate(Clock())
    assert gate.pauses == 0
    for expected in (1, 2):
        gate.close(FULL)
        gate.close(FULL)
        gate.open()
        assert gate.pauses == expected


def test_one_at_a_time_tries() -> None:
    """Where no picture waits somebody else may try, once for each picture that might have."""
    clock = Clock()
    gate = Gate(clock)
    assert not gate.take_turn()  # no trouble, nothing to try
    gate.close(FULL)
    assert not gate.take_turn()
    clock.now += 1.0
    assert gate.take_turn() and not gate.take_turn()
    gate.open()
    assert not gate.take_turn()


def test_a_stop_is_heard_while_paused() -> None:
    """A paused daemon stops when it is told to."""
    gate, stop = Gate(), threading.Event()
    gate.close(FULL)
    threading.Timer(0.05, stop.set).start()
    assert not gate.wait(stop)
