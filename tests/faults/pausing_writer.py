"""Writers that pause in the middle: some keep the file open meanwhile, some close it and come back."""

from __future__ import annotations

import time
from pathlib import Path

from faults.load import loaded

PICTURES = (6, 60)
PAUSE_SECONDS = 0.5  # more than twice as long as a file must be quiet


def missing() -> str | None:
    return None


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        with load.running() as daemon:
            made = [
                load.make(f"{n:03}.{'jpg' if n % 4 < 2 else 'png'}", format="JPEG" if n % 4 < 2 else "PNG")
                for n in range(pictures)
            ]
            for third in range(3):
                writers = []
                for number, (name, data) in enumerate(made):
                    start, end = third * len(data) // 3, (third + 1) * len(data) // 3
                    writer = (load.place.inbox / name).open("ab", buffering=0)
                    writer.write(data[start:end])
                    writers.append(writer)
                    if number % 2:
                        writer.close()
                assert load.delivered() == 0
                time.sleep(PAUSE_SECONDS)
                for writer in writers:
                    writer.close()
            load.until_delivered(daemon)
        load.check()
    return "3 parts each"
