"""What is held in memory at once stays within bounds, and nothing is refused for its size."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from captiond.support import budget as module
from captiond.support.budget import ALONE, Budget


def _taking(budget: Budget, size: float) -> tuple[threading.Thread, Callable[[], bool]]:
    taken = threading.Event()

    def take() -> None:
        budget.take(size)
        taken.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    return thread, lambda: taken.wait(0.05)


def test_what_does_not_fit_waits_for_room() -> None:
    """Sizes are held up to the limit; the next waits until enough is given back."""
    budget = Budget(100)
    budget.take(60)
    budget.take(40)
    thread, has_it = _taking(budget, 50)
    assert not has_it()
    budget.give_back(40)
    assert not has_it()
    budget.give_back(60)
    thread.join(5)
    assert has_it()


def test_what_is_larger_than_everything_goes_alone() -> None:
    """A size beyond the limit waits until nothing is held, and then nothing else is."""
    budget = Budget(100)
    with budget.holding(1):
        _, has_it = _taking(budget, ALONE)
        assert not has_it()
    assert has_it()
    _, small_has_it = _taking(budget, 1)
    assert not small_has_it()
    budget.give_back(100)
    assert small_has_it()


def test_who_needs_most_lets_others_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits, small ones come and go; after a while it stands in line like everybody."""
    monkeypatch.setattr(module, "POLITE_SECONDS", 0.3)
    budget = Budget(100)
    budget.take(10)
    thread, large_has_it = _taking(budget, 90.5)
    for _ in range(3):
        with budget.holding(10):
            assert not large_has_it()
    time.sleep(0.4)
    _, small_has_it = _taking(budget, 10)
    assert not small_has_it() and not large_has_it()
    budget.give_back(10)
    thread.join(5)
    assert large_has_it() and not small_has_it()


def test_another_limit_counts_from_now_on() -> None:
    """What is held is given back as it was taken."""
    budget = Budget(100)
    held = budget.take(ALONE)
    budget.change(50)
    _, has_it = _taking(budget, 20)
    assert not has_it()
    budget.give_back(held)
    assert has_it() and budget.limit == 50
    budget.give_back(20)
    assert budget.take(ALONE) == 50


def test_many_small_ones_do_not_keep_a_large_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever came first is first."""
    monkeypatch.setattr(module, "POLITE_SECONDS", 0.0)
    budget = Budget(100)
    budget.take(1)
    _, large_has_it = _taking(budget, 100)
    assert not large_has_it()
    _, small_has_it = _taking(budget, 1)
    assert not small_has_it()
    budget.give_back(1)
    assert large_has_it() and not small_has_it()
    budget.give_back(100)
    assert small_has_it()
