"""The decoding step as CUDA graphs: recorded once for each shape, replayed without Python's overhead.

This room knows of a step only that it reads and writes tensors which stay where they are.  If a step cannot
be recorded, it and all later ones run without a graph: graphs save time and never cost an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)


class StepGraphs:
    """`step(rows, length)`, as a replay from the second call with the same numbers on."""

    def __init__(self, step: Callable[[int, int], None], device: torch.device) -> None:
        self._step = step
        self._device = device
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._side: torch.cuda.Stream | None = None
        self._is_off = False

    def __call__(self, rows: int, length: int) -> None:
        # Streams belong to the current device: on a second card a graph would record nothing without this.
        with torch.cuda.device(self._device):
            graph = self._graphs.get((rows, length))
            if graph is not None:
                graph.replay()
            elif self._is_off:
                self._step(rows, length)
            else:
                self._first(rows, length)

    def _first(self, rows: int, length: int) -> None:
        """Run the step, on the stream that recording uses; then record it, which does not run it."""
        here = torch.cuda.current_stream()
        # One stream for all recordings: other streams cannot use the memory that the allocator gave to one.
        side = self._side = self._side or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(here)
        try:
            with torch.cuda.stream(side):
                self._step(rows, length)
        finally:  # also if memory ran out: the side stream may still write to memory that is freed now
            here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        try:
            # Thread-local: otherwise the threads that pin memory for pictures meanwhile would break it.
            with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
                self._step(rows, length)
        except RuntimeError as error:  # out of memory, or something in the step that no graph may do
            torch.cuda.set_stream(here)  # if recording fails, torch leaves its own stream current
            self._is_off = True
            said = str(error).splitlines()[0]
            log.warning("decoding goes on without CUDA graphs: %d rows were not recorded: %s", rows, said)
        else:
            self._graphs[rows, length] = graph
