"""Two of five pictures are copies of others, and the daemon is stopped, killed and paused in the middle."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from pathlib import Path

from daemon_process import captiond
from faults.load import Load, files_in, loaded, picture

PICTURES = (50, 10_000)
COPIES = 0.4
PROBES = 2  # plain pictures, about which a server is asked at each start
FEW = 300  # delivered, before the first daemon is stopped and the second is killed
IN_FLIGHT = 64  # at most, when a daemon is killed


def missing() -> str | None:
    return None


def inflict(root: Path, pictures: int) -> str:
    different = round(pictures * (1 - COPIES))
    with loaded(root) as load:
        numbers = [*range(different), *random.Random(7).choices(range(different), k=pictures - different)]
        random.Random(8).shuffle(numbers)
        some = min(pictures // 3, FEW)
        for number, what in enumerate(numbers):
            _drop(load, number, what)
        with load.running() as daemon:
            daemon.until(lambda: load.delivered() >= some)
        killed = load.start()
        killed.until(lambda: load.delivered() >= 2 * some)
        os.kill(killed.process.pid, signal.SIGKILL)
        killed.process.wait()
        assert captiond("pause", "-c", load.place.settings).returncode == 0
        with load.running() as daemon:
            daemon.until(lambda: "nothing new begins" in daemon.log())
            before = load.delivered(), load.asked
            time.sleep(0.5)
            assert (load.delivered(), load.asked) == before, "it works in a pause"
            assert captiond("resume", "-c", load.place.settings).returncode == 0
            load.until_delivered(daemon, patience_seconds=60 + pictures / 10)
        load.check()
        asked = load.asked - 3 * PROBES
        assert different <= asked <= different + IN_FLIGHT, f"asked {asked} times about {different} pictures"
        known = sum('"cached_from"' in _sidecar(load, name) for name in load.captions)
        # One that was answered and not delivered when the daemon was killed is known to the next one.
        assert abs(known - (pictures - different)) <= IN_FLIGHT
        assert not files_in(load.place.failed)
    return f"{pictures - different} of them copies: {asked} questions, {known} without one"


def _drop(load: Load, number: int, what: int) -> None:
    """With a comment of its own, so that no two files are the same."""
    data, caption = picture(what)
    words = f"copy {number}".encode()
    data = data[:2] + b"\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words + data[2:]
    name = f"{number:05}.jpg"
    load.captions[name], load.originals[name] = caption, hashlib.sha256(data).hexdigest()
    load.place.drop(data, name)


def _sidecar(load: Load, name: str) -> str:
    return (load.place.done / f"{name}.caption.json").read_text(encoding="utf-8")
