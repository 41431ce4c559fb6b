"""Files are moved in while the process is stopped, more of them than the kernel's queue of events holds."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from faults.load import loaded

PICTURES = (100, 20_000)


def missing() -> str | None:
    return None


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        staging = root / "staging"
        staging.mkdir()
        names = []
        for _ in range(pictures):
            name, data = load.make()
            (staging / name).write_bytes(data)
            names.append(name)
        with load.running() as daemon:
            asked_at_start = load.asked
            daemon.process.send_signal(signal.SIGSTOP)
            for name in names:
                (staging / name).rename(load.place.inbox / name)
            daemon.process.send_signal(signal.SIGCONT)
            began = time.monotonic()
            load.until_delivered(daemon, patience_seconds=60 + pictures / 10)
            seconds = time.monotonic() - began
        load.check()
        asked = load.asked - asked_at_start
        assert asked == pictures, f"the model was asked {asked} times about {pictures} pictures"
    return f"{pictures / seconds:.0f} a second"
