"""How many cores torch uses on which thread.

Pictures are prepared on many threads at once, and each would otherwise start as many OpenMP threads as the
machine has cores: one picture took 33 ms with one thread and 50 with sixteen.  The model's thread has all
cores that the process may use, or as many as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import threading

import torch

from captiond.support.cores import cores

# Read when this module is first imported: later a new thread's default is what another thread set last.
ALL_CORES = min(torch.get_num_threads(), cores())

_here = threading.local()


def use_one_core() -> None:
    """On this thread, from now on."""
    _use(1)


def use_all_cores() -> None:
    """On this thread, from now on."""
    _use(ALL_CORES)


def _use(count: int) -> None:
    if getattr(_here, "count", None) == count:
        return
    torch.set_num_threads(count)
    # The query fixes the number for this thread; without it, torch follows what another thread sets later.
    torch.get_num_threads()
    _here.count = count
