"""What is held in memory at once stays within bounds, and nothing is refused for its size."""

from __future__ import annotations

import threading
from collections.abc import Callable

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


def test_many_small_ones_do_not_keep_a_large_one_waiting() -> None:
    """Whoever came first is first."""
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
