"""Work on threads of its own: items that are handed over and not waited for, and repeated rounds.

`Aside` is for reports about pictures: a slow disk or a dead server must not hold up the pictures themselves,
and if too many wait, the oldest is dropped.  `repeating` is for rounds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


@contextmanager
def repeating(name: str, act: Callable[[], None], seconds: Callable[[], float]) -> Iterator[None]:
    """Call `act` again and again on a thread of its own while this lasts; `seconds`: the wait before each."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(seconds()):
            act()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Aside(Generic[Item]):
    """A bounded queue and the thread that empties it, started by the first item.

    `work` gets up to `at_once` items in the order in which they were put, and must not raise.
    """

    def __init__(self, name: str, work: Callable[[list[Item]], None], *, most: int, at_once: int = 1) -> None:
        self._name = name
        self._work = work
        self._most = most
        self._at_once = at_once
        self._changing = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._thread: threading.Thread | None = None
        self._is_working = False
        self._is_closed = False
        self.dropped = 0

    def put(self, item: Item) -> None:
        with self._changing:
            if self._is_closed:
                return
            if len(self._waiting) >= self._most:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changing.notify_all()

    @property
    def waiting(self) -> int:
        with self._changing:
            return len(self._waiting) + self._is_working

    def flush(self, seconds: float) -> bool:
        """Wait until there is nothing left to do; False if that took longer."""
        with self._changing:
            return self._changing.wait_for(lambda: not self._waiting and not self._is_working, seconds)

    def close(self, seconds: float) -> int:
        """Take no more items, and allow `seconds` for those that wait; how many were left undone."""
        deadline = time.monotonic() + seconds
        with self._changing:
            self._is_closed = True
            self._changing.notify_all()
        self.flush(seconds)
        with self._changing:
            left = len(self._waiting) + self._is_working
            self._waiting.clear()
        if self._thread is not None:
            self._thread.join(max(deadline - time.monotonic(), 0.0))
        return left

    def _run(self) -> None:
        while True:
            with self._changing:
                self._changing.wait_for(lambda: self._waiting or self._is_closed)
                items = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
                if not items:
                    return
                self._is_working = True
            try:
                self._work(items)
            finally:
                with self._changing:
                    self._is_working = False
                    self._changing.notify_all()
