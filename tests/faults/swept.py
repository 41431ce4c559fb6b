"""Somebody removes `.captiond/` from the inbox again and again, while pictures arrive."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from faults.load import loaded

PICTURES = (40, 400)


def missing() -> str | None:
    return None


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        with load.running() as daemon:
            for _ in range(pictures // 20):
                with _sweeping(load.place.inbox / ".captiond") as sweeps:
                    load.drop(20)
                    daemon.until(partial(_are_many, sweeps))
                load.until_delivered(daemon)
            daemon.until((load.place.inbox / ".captiond/inbox").exists)
        load.check()
    return "swept while it worked: nothing lost, nobody failed, still watching"


def _are_many(sweeps: list[None]) -> bool:
    return len(sweeps) >= 3


@contextmanager
def _sweeping(own: Path) -> Iterator[list[None]]:
    sweeps: list[None] = []
    stop = threading.Event()

    def sweep() -> None:
        while not stop.wait(0.005):
            if own.exists():
                shutil.rmtree(own, ignore_errors=True)
                sweeps.append(None)

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        yield sweeps
    finally:
        stop.set()
        thread.join()
