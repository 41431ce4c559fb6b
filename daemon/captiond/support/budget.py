"""Bounds how much is held at once: first come, first served; a size over the limit is served alone."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ALONE = math.inf

POLITE_SECONDS = 5.0


class Budget:
    """Safe to use from many threads.  No size is refused: a large one only waits longer."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._changing = threading.Condition()
        self._held = 0.0
        self._given = 0  # tickets, so that many small ones never keep a large one waiting for ever
        self._called = 0

    @property
    def limit(self) -> float:
        return self._limit

    def change(self, limit: float) -> None:
        """Set the limit; what is held already keeps the size with which it was taken."""
        with self._changing:
            self._limit = limit
            self._changing.notify_all()

    def take(self, size: float) -> float:
        """Wait until `size` fits beside what is held; ALONE or a size over the limit, until nothing is held.

        A size over half of the limit lets later ones go first, for some seconds, since all others wait while
        it waits in line.  Returns how much is held, for `give_back`.
        """
        with self._changing:
            if self._charge(size) > self._limit / 2:
                self._changing.wait_for(self._is_free, POLITE_SECONDS)
            ticket, self._given = self._given, self._given + 1
            self._changing.wait_for(lambda: ticket == self._called and self._fits(size))
            self._called += 1
            size = self._charge(size)
            self._held += size
            self._changing.notify_all()
            return size

    def give_back(self, held: float) -> None:
        with self._changing:
            self._held -= held
            self._changing.notify_all()

    @contextmanager
    def holding(self, size: float) -> Iterator[float]:
        held = self.take(size)
        try:
            yield held
        finally:
            self.give_back(held)

    def _is_free(self) -> bool:
        """Whether nothing is held and no thread waits in line."""
        return not self._held and self._given == self._called

    def _fits(self, size: float) -> bool:
        return self._held + self._charge(size) <= self._limit

    def _charge(self, size: float) -> float:
        return min(max(size, 1), self._limit)
