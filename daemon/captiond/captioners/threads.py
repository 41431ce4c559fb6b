"""How many cores torch uses on which thread.

Pictures are prepared on many threads at once, and each would else start a team of its own as large as the
machine: one picture took 33 ms with one thread and 50 with sixteen.  The model's thread has all cores that
the process may use, or as many as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import threading

import torch

from captiond.support.cores import cores

# Asked when this room is first imported: later a new thread's own default is what another has set last.
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
    # Asked, torch makes up its mind for this thread; unasked, it would follow whatever another sets later.
    torch.get_num_threads()
    _here.count = count
