"""What the daemon costs while nothing is to be done, and how soon its command answers.

Workload: an inbox with 10,000 files that are ignored (no image by their names) in one folder, settings as
they come, a chat-completions server that nobody asks.  CPU seconds of the process over a minute, from
/proc, as a share of one core; the floor beside it is the same with an empty inbox.  Then `captiond --help`,
from start to exit, ten times; the floor beside it is a Python that imports click and ends.  Then the CPU
seconds of `captiond status` and `captiond health`, ten times each, asked of a daemon that runs.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared import (
    MIB,
    THIS_CHECKOUT,
    Report,
    Target,
    cpu_seconds,
    memory_bytes,
    model_server,
    options,
    place_for,
    until,
)

SHARE_OF_A_CORE, HELP_SECONDS, ASKING_CPU_SECONDS = 0.01, 0.3, 0.15


def idling(url: str, ignored: int, seconds: float) -> tuple[float, int]:
    """The share of a core, and resident bytes at the end."""
    with tempfile.TemporaryDirectory() as folder:
        place = place_for(Path(folder), url)
        for number in range(ignored):
            (place.inbox / f"{number:05}.txt").write_bytes(b"")
        with place.running(**THIS_CHECKOUT) as running:
            until(lambda: '"watching"' in running.log(), running)
            time.sleep(5.0)
            began, before = time.monotonic(), cpu_seconds(running.process.pid)
            time.sleep(seconds)
            spent = cpu_seconds(running.process.pid) - before
            share = spent / (time.monotonic() - began)
            resident = memory_bytes(running.process.pid)
    return share, resident


def answering(commands: dict[str, list[str]], times: int) -> dict[str, float]:
    """Median seconds from start to exit, measured in turns."""
    environment = {**os.environ, **THIS_CHECKOUT}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            began = time.monotonic()
            subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
            seconds[name].append(time.monotonic() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def asking(url: str, times: int) -> dict[str, float]:
    """Median CPU seconds of each command."""
    environment = {**os.environ, **THIS_CHECKOUT}
    spent: dict[str, list[float]] = {"status": [], "health": []}
    with tempfile.TemporaryDirectory() as folder:
        place = place_for(Path(folder), url)
        with place.running(**THIS_CHECKOUT):
            for _ in range(times):
                for command, found in spent.items():
                    before = resource.getrusage(resource.RUSAGE_CHILDREN)
                    asked = [sys.executable, "-m", "captiond", command, "-c", str(place.settings)]
                    subprocess.run(asked, check=True, capture_output=True, env=environment)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {command: statistics.median(found) for command, found in spent.items()}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--ignored", type=int, default=10_000)
    parser.add_argument("--seconds", type=float)
    given = parser.parse_args()
    seconds = given.seconds or (10.0 if given.quick else 60.0)
    report = Report("idle", f"{given.ignored:,} ignored files, {seconds:g} s")
    with model_server() as server:
        floor, floor_bytes = idling(server.url, 0, seconds)
        share, resident = idling(server.url, given.ignored, seconds)
        asked = asking(server.url, 10)
    report.add(what="share of a core", figure=share, floor=floor)
    report.add(what="resident MiB", figure=resident / MIB, floor=floor_bytes / MIB)
    found = answering({"help": ["-m", "captiond", "--help"], "floor": ["-c", "import click"]}, 10)
    report.add(what="captiond --help, s", figure=found["help"], floor=found["floor"])
    report.targets.append(Target("share of a core while idle", share, SHARE_OF_A_CORE))
    for command, spent in asked.items():
        report.add(what=f"captiond {command}, CPU s", figure=spent)
        report.targets.append(Target(f"CPU seconds of captiond {command}", spent, ASKING_CPU_SECONDS))
    report.targets.append(Target("seconds until --help has answered", found["help"], HELP_SECONDS))
    report.give(given.json)


if __name__ == "__main__":
    main()
