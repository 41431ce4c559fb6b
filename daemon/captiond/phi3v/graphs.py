"""The decoding step as CUDA graphs: recorded once for each shape, replayed without Python's overhead.

All that this room knows of a step is that it reads and writes tensors which stay where they are.  A step that
cannot be recorded is taken as it is, then and from then on: graphs save time and never cost an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)


class StepGraphs:
    """`step(rows, length)`, from the second call with the same numbers on as a replay."""

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
        """Take the step, on the stream that recording takes place on; then record one, not taken."""
        here = torch.cuda.current_stream()
        # One for all: what memory the allocator has given to a stream, others cannot use.
        side = self._side = self._side or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(here)
        try:
            with torch.cuda.stream(side):
                self._step(rows, length)
        finally:  # also where memory ran out: what is given back now may be written to until then
            here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        try:
            # Thread-local: the threads that prepare pictures pin memory meanwhile, which would else spoil it.
            with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
                self._step(rows, length)
        except RuntimeError as error:  # out of memory, or something in the step that no graph may do
            torch.cuda.set_stream(here)  # where recording fails, torch leaves its own stream the current one
            self._is_off = True
            said = str(error).splitlines()[0]
            log.warning("decoding goes on without CUDA graphs: %d rows were not recorded: %s", rows, said)
        else:
            self._graphs[rows, length] = graph
