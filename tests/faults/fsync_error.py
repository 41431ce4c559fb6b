"""The disk does not take what it is told to keep: fsync fails again and again, with EIO."""

from __future__ import annotations

from pathlib import Path

from faults.load import loaded, paused
from faults.tools import cannot_inject, injected

PICTURES = (6, 300)
missing = cannot_inject


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        with load.running() as daemon:
            is_paused = paused(daemon)
            inject = "inject=fsync,fdatasync:error=EIO:when=2+3"  # of each thread, every third
            with injected(daemon.process.pid, "-e", "trace=fsync,fdatasync", "-e", inject):
                load.drop(pictures)
                daemon.until(is_paused)
            load.until_delivered(daemon)
        load.check()
    return "paused"
