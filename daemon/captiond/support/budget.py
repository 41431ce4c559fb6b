"""How much may be held at once: first come, first served, and what is too much by itself goes alone."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ALONE = math.inf


class Budget:
    """Safe to use from many threads.  What one holds is never refused for its size, only kept waiting."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._changing = threading.Condition()
        self._held = 0.0
        self._given = 0  # tickets, so that many small ones never keep a large one waiting for ever
        self._called = 0

    def take(self, size: float) -> None:
        """Wait until `size` fits beside what is held; ALONE, or more than the limit: until nothing is."""
        size = self._charge(size)
        with self._changing:
            ticket, self._given = self._given, self._given + 1
            self._changing.wait_for(lambda: ticket == self._called and self._held + size <= self._limit)
            self._called += 1
            self._held += size
            self._changing.notify_all()

    def give_back(self, size: float) -> None:
        with self._changing:
            self._held -= self._charge(size)
            self._changing.notify_all()

    @contextmanager
    def holding(self, size: float) -> Iterator[None]:
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    def _charge(self, size: float) -> float:
        return min(max(size, 1), self._limit)
