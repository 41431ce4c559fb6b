"""The wall clock goes back a day whenever it is asked; files bear times from before 1970 to after 2200."""

from __future__ import annotations

import os
from pathlib import Path

from faults.load import loaded

PICTURES = (10, 300)
YEAR_NS = 31_556_952 * 10**9
# A file system may keep less of it; what it keeps must come through.
TIMES_NS = (0, 1, -YEAR_NS, 60 * YEAR_NS, 130 * YEAR_NS, 230 * YEAR_NS)


def missing() -> str | None:
    return None


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        times: dict[str, int] = {}
        with load.running(PYTHONPATH=str(Path(__file__).parent / "leaping_clock")) as daemon:
            for number in range(pictures):
                name, data = load.make()
                elsewhere = root / "writing"
                elsewhere.write_bytes(data)
                wanted_ns = TIMES_NS[number % len(TIMES_NS)]
                os.utime(elsewhere, ns=(wanted_ns, wanted_ns))
                times[name] = elsewhere.stat().st_mtime_ns
                elsewhere.rename(load.place.inbox / name)
            load.until_delivered(daemon)
        load.check()
        for name, modified_ns in times.items():
            assert (load.place.done / name).stat().st_mtime_ns == modified_ns, name
    return f"{len(TIMES_NS)} times"
