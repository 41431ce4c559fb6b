"""The decoding step as CUDA graphs: recorded once for each shape, replayed without Python's overhead.

All that this room knows of a step is that it reads and writes tensors which stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


class StepGraphs:
    """`step(rows, length)`, from the second call with the same numbers on as a replay."""

    def __init__(self, step: Callable[[int, int], None]) -> None:
        self._step = step
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}

    def __call__(self, rows: int, length: int) -> None:
        graph = self._graphs.get((rows, length))
        if graph is None:
            self._first(rows, length)
        else:
            graph.replay()

    def _first(self, rows: int, length: int) -> None:
        """Take the step, on a stream of its own to warm up for recording; then record one, not taken."""
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(here)
        with torch.cuda.stream(side):
            self._step(rows, length)
        here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        # Thread-local: the threads that prepare pictures pin memory meanwhile, which would else spoil it.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self._step(rows, length)
        self._graphs[rows, length] = graph
