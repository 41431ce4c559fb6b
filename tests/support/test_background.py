"""Promises about work that is done aside: in order, bounded, and never waited for."""

from __future__ import annotations

import threading
import time

from captiond.support.background import Aside


def test_everything_is_worked_on_in_order_and_together() -> None:
    """What waits is handed over in the order in which it was put, at most so much at once."""
    seen: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(items: list[int]) -> None:
        begun.set()
        go_on.wait(10)
        seen.append(items)

    aside = Aside("test", work, most=100, at_once=4)
    aside.put(0)
    assert begun.wait(10)
    for number in range(1, 8):
        aside.put(number)
    assert aside.waiting == 8 and not aside.flush(0.01)
    go_on.set()
    assert aside.flush(10) and aside.close(10) == 0
    assert seen == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_too_much_pushes_out_the_oldest() -> None:
    """The newest are kept, and what was dropped is counted."""
    seen: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(items: list[int]) -> None:
        begun.set()
        go_on.wait(10)
        seen.extend(items)

    aside = Aside("test", work, most=3)
    aside.put(0)
    assert begun.wait(10)
    for number in range(1, 10):
        aside.put(number)
    go_on.set()
    assert aside.flush(10)
    assert (seen, aside.dropped) == ([0, 7, 8, 9], 6)


def test_a_close_waits_so_long_and_no_longer() -> None:
    """What is left undone is told; what is put later is not taken."""
    go_on = threading.Event()
    aside: Aside[int] = Aside("test", lambda _: (go_on.wait(30), None)[1], most=10)
    for number in range(3):
        aside.put(number)
    began = time.monotonic()
    assert aside.close(0.1) == 3
    assert time.monotonic() - began < 10
    aside.put(4)
    assert aside.waiting <= 1
    go_on.set()
    assert aside.flush(10)
    assert Aside("unused", lambda _: None, most=1).close(10) == 0
