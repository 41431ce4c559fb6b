"""Which file is next: urgent ones first; then top-level folders take turns, each with its oldest file.

So a dump of 50,000 pictures into one folder does not hold up the one picture dropped into another.
Pure.  The caller says which entries still count, since entries cannot be removed from the middle of a heap.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable


def group_of(path: str) -> str:
    """The top-level folder of a path; empty for files at the top."""
    return path.partition("/")[0] if "/" in path else ""


class FairQueue:
    def __init__(self) -> None:
        self._groups: OrderedDict[str, list[tuple[int, str]]] = OrderedDict()

    def push(self, path: str, modified_ns: int) -> None:
        heapq.heappush(self._groups.setdefault(group_of(path), []), (modified_ns, path))

    def pop(self, counts: Callable[[str], bool]) -> str | None:
        """The next path that still counts; its group goes to the end of the line."""
        while self._groups:
            group, heap = self._groups.popitem(last=False)
            path = _pop(heap, counts)
            if heap:
                self._groups[group] = heap
            if path is not None:
                return path
        return None

    def emptied(self) -> list[tuple[int, str]]:
        """Empty the queue, and return all that was in it."""
        queued = [one for heap in self._groups.values() for one in heap]
        self._groups.clear()
        return queued

    def length(self, counts: Callable[[str], bool]) -> int:
        """How many still count."""
        return sum(len(_distinct(heap, counts)) for heap in self._groups.values())

    def ahead_of(self, path: str, counts: Callable[[str], bool]) -> int:
        """How many that still count will be handed out before `path`, if nothing else comes."""
        group = group_of(path)
        lines = {name: sorted(_distinct(heap, counts)) for name, heap in self._groups.items()}
        own = [queued for _, queued in lines.get(group, ())]
        before = own.index(path) if path in own else len(own)
        ahead, passed = before, False
        for name, line in lines.items():
            if name == group:
                passed = True
            else:
                ahead += min(len(line), before + (0 if passed else 1))
        return ahead


class Line:
    """Two fair queues: the urgent paths, and all others after them."""

    def __init__(self) -> None:
        self._urgent, self._others = FairQueue(), FairQueue()
        self._is_urgent: Callable[[str], bool] = lambda _: False

    def prefer(self, is_urgent: Callable[[str], bool]) -> None:
        """Which paths are urgent from now on; those in line already are sorted anew."""
        self._is_urgent = is_urgent
        for modified_ns, path in self._others.emptied() + self._urgent.emptied():
            self.push(path, modified_ns)

    def push(self, path: str, modified_ns: int) -> None:
        (self._urgent if self._is_urgent(path) else self._others).push(path, modified_ns)

    def pop(self, counts: Callable[[str], bool]) -> str | None:
        return self._urgent.pop(counts) or self._others.pop(counts)

    def ahead_of(self, path: str, counts: Callable[[str], bool]) -> int:
        """See `FairQueue.ahead_of`."""
        if self._is_urgent(path):
            return self._urgent.ahead_of(path, counts)
        return self._urgent.length(counts) + self._others.ahead_of(path, counts)


def _pop(heap: list[tuple[int, str]], counts: Callable[[str], bool]) -> str | None:
    while heap:
        _, path = heapq.heappop(heap)
        if counts(path):
            return path
    return None


def _distinct(heap: list[tuple[int, str]], counts: Callable[[str], bool]) -> list[tuple[int, str]]:
    first: dict[str, int] = {}
    for modified_ns, path in heap:
        if counts(path):
            first[path] = min(modified_ns, first.get(path, modified_ns))
    return [(modified_ns, path) for path, modified_ns in first.items()]
