"""Writers that make the file as long as it will be, and then fill it, as SMB clients and torrents do."""

from __future__ import annotations

import os
import time
from pathlib import Path

from faults.load import loaded

PICTURES = (6, 60)
PAUSE_SECONDS = 0.5


def missing() -> str | None:
    return None if hasattr(os, "posix_fallocate") else "no posix_fallocate here"


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        with load.running() as daemon:
            made = [
                load.make(f"{n:03}.{'jpg' if n % 4 < 2 else 'png'}", format="JPEG" if n % 4 < 2 else "PNG")
                for n in range(pictures)
            ]
            for step in range(3):
                for name, data in made:
                    file = os.open(load.place.inbox / name, os.O_WRONLY | os.O_CREAT, 0o644)
                    if step == 0:
                        os.posix_fallocate(file, 0, len(data))
                    half = len(data) // 2
                    os.pwrite(file, (b"", data[:half], data[half:])[step], half if step == 2 else 0)
                    os.close(file)
                if step < 2:
                    time.sleep(PAUSE_SECONDS)
                    assert load.delivered() == 0
            load.until_delivered(daemon)
        load.check()
    return "filled in 2 parts"
