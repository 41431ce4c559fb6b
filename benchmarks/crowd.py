"""An inbox in which very many files lie when the daemon starts.

Workload: small JPEGs (48 x 36 pixels), all in one folder, there before the daemon is; settings as they
come, 8 in flight; a model server in a process of its own that answers at once.  Measured: seconds from the
start of the process to the first sidecar; the greatest resident memory of the whole run, less what the
daemon has with an empty inbox; pictures a second in each third of the run.  The floor beside the first is
what the same start takes with a single file.  Then a scan alone, of many more names: seconds and memory for
the first look, in which everything is new, and for a later one; the floor beside them is a bare scandir
with lstat.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from shared import (
    MIB,
    THIS_CHECKOUT,
    Place,
    Report,
    Running,
    Target,
    delivered,
    fill,
    memory_bytes,
    model_server,
    most_memory_bytes,
    options,
    photo,
    place_for,
    until,
)

FIRST_SECONDS, MORE_MEMORY_MIB = 5.0, 150.0


def start(place: Place) -> tuple[Running, float]:
    began = time.monotonic()
    return Running(place, THIS_CHECKOUT), began


def end(running: Running) -> None:
    running.process.terminate()
    running.process.wait()


def empty(url: str) -> int:
    """Bytes that are resident while nothing is to be done."""
    with tempfile.TemporaryDirectory() as folder:
        running, _ = start(place_for(Path(folder), url))
        until(lambda: "watching" in running.log(), running)
        time.sleep(3.0)
        resident = memory_bytes(running.process.pid)
        end(running)
    return resident


def crowd(url: str, count: int, *, wanted: int | None = None) -> dict[str, Any]:
    """With so many files in the inbox, until `wanted` of them are delivered."""
    wanted = wanted or count
    with tempfile.TemporaryDirectory() as folder:
        place = place_for(Path(folder), url)
        fill(place.inbox, [photo(0)], count)
        running, began = start(place)
        until(lambda: delivered(place.done) > 0, running)
        first_seconds = time.monotonic() - began
        counted = _Captioned(place.root / "daemon.log")
        until(lambda: counted() >= wanted, running, every=0.5)
        most = most_memory_bytes(running.process.pid)
        end(running)
        events = (json.loads(line) for line in running.log().splitlines() if '"captioned"' in line)
        times = sorted(datetime.fromisoformat(event["timestamp"]).timestamp() for event in events)[:wanted]
    third = len(times) // 3
    marks = [times[0], times[third], times[2 * third], times[-1]]
    rates = [third / (after - before) for before, after in pairwise(marks)] if third else []
    return {"first_seconds": first_seconds, "most_bytes": most, "rates": rates}


class _Captioned:
    """How many pictures a log tells of; reads on from where it was, since the log gets long."""

    def __init__(self, log: Path) -> None:
        self._log, self._at, self._count = log, 0, 0

    def __call__(self) -> int:
        with self._log.open("rb") as reading:
            reading.seek(self._at)
            lines = reading.readlines()
        whole = [line for line in lines if line.endswith(b"\n")]
        self._at += sum(map(len, whole))
        self._count += sum(b'"event": "captioned"' in line for line in whole)
        return self._count


def scanned(count: int) -> dict[str, Any]:
    """One folder of so many names: seconds and CPU seconds of looks at them, and memory for all of it."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        descriptor = os.open(folder, os.O_RDONLY)
        for number in range(count):
            os.close(os.open(f"{number:07}.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
        os.close(descriptor)
        answer = context.Queue()
        work = context.Process(target=_scan, args=(folder, answer))
        work.start()
        found: dict[str, Any] = answer.get()
        work.join()
    assert found["names"] == count
    return found


def _scan(folder: str, answer: Any) -> None:
    from captiond.inbox.ignore import Ignore
    from captiond.inbox.settle import Book
    from captiond.inbox.survey import Survey
    from captiond.inbox.watch import Hints

    book = Book(settle_seconds=3600, incomplete_after_seconds=3600)
    survey = Survey(book, threading.Lock(), Ignore(), time.monotonic)
    descriptor, stop = os.open(folder, os.O_RDONLY), threading.Event()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def look(everything: bool) -> None:
        hints = Hints(everything=everything)
        while not survey.look(descriptor, hints, stop, interval_seconds=0.0):
            hints = Hints()

    found: dict[str, Any] = {
        "first": _timed(lambda: look(True)),
        "later": _timed(lambda: look(True)),
        "floor": _timed(lambda: [entry.stat(follow_symlinks=False) and None for entry in os.scandir(folder)]),
    }
    found["mebibytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / MIB
    answer.put({**found, "names": book.settling})


def _timed(act: Callable[[], object]) -> tuple[float, float]:
    began, cpu = time.monotonic(), time.process_time()
    act()
    return time.monotonic() - began, time.process_time() - cpu


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--files", type=int, help="in the inbox at the start (100,000)")
    parser.add_argument("--deliver", type=int, help="end once so many are delivered; all by default")
    parser.add_argument("--names", type=int, help="for the scan alone (1,000,000)")
    given = parser.parse_args()
    count = given.files or (3_000 if given.quick else 100_000)
    names = given.names or (50_000 if given.quick else 1_000_000)
    files = f"{count:,} files of {len(photo(0)):,} bytes at the start"
    report = Report("crowd", f"{files}; {names:,} names scanned")
    with model_server() as server:
        nothing = empty(server.url)
        one = crowd(server.url, 1)
        many = crowd(server.url, count, wanted=given.deliver)
    first, _, last = many["rates"]
    more = (many["most_bytes"] - nothing) / MIB
    report.add(what="start to first caption, s", figure=many["first_seconds"], floor=one["first_seconds"])
    report.add(what="memory above an empty inbox's, MiB", figure=more, floor=nothing / MIB)
    for name, rate in zip(("first", "second", "last"), many["rates"], strict=True):
        report.add(what=f"pictures/s, {name} third", figure=rate)
    report.targets += [
        Target("seconds to the first caption", many["first_seconds"], FIRST_SECONDS),
        Target("MiB above an empty inbox's", more, MORE_MEMORY_MIB),
        Target("rate of the last third over the first's", last / first, 1.0, at_least=True),
    ]
    found = scanned(names)
    for name, which in (("first", "first scan"), ("later", "later scan")):
        for at, unit in enumerate(("s", "s of CPU")):
            what = f"{which} of {names:,} names, {unit}"
            report.add(what=what, figure=found[name][at], floor=found["floor"][at])
    report.add(what="memory of the scan, MiB", figure=found["mebibytes"])
    report.give(given.json)


if __name__ == "__main__":
    main()
