"""Everything that could lose, double or harm a picture, at full size: `make torture`.

    python tests/torture/run.py                    all of it, two parts at a time
    python tests/torture/run.py kills disk_full    these parts only
    python tests/torture/run.py --scale 0.1        a tenth of the pictures and kills

Prints a line for each part; exits with 1 where a promise was broken, and says what was left out and why.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = Path(__file__).parent.parent
sys.path += [str(TESTS), str(Path(__file__).parent)]
SWEEP = TESTS / "delivery" / "torture.py"
LIBRARY_SWEEP = TESTS / "libraries" / "crash_points.py"
MONKEY = TESTS / "delivery" / "monkey.py"
MONKEY_SECONDS = 120
CROWD_SECONDS = 600
REDONE = 5_000
KILLS = 200
KILLERS = 2
LIBRARY_KILLS = 500


@dataclass(frozen=True)
class Outcome:
    part: str
    count: str
    seen: str
    seconds: float
    trouble: str | None = None
    left_out: str | None = None

    def __str__(self) -> str:
        verdict = "BROKEN" if self.trouble else "left out" if self.left_out else "passed"
        told = self.left_out or self.seen
        return f"{self.part:22} {self.count:>16}  {verdict:8} {self.seconds:5.0f} s  {told}"


def fault(name: str, scale: float) -> Outcome:
    from faults import every

    module = next(module for module in every.FAULTS if module.__name__ == f"faults.{name}")
    if (reason := module.missing()) is not None:
        return Outcome(name, "", "", 0.0, left_out=reason)
    count = max(module.PICTURES[0], round(module.PICTURES[1] * scale))
    return _timed(name, f"{count:,} pictures", lambda root: str(module.inflict(root, count)))


def many_pictures(name: str, scale: float) -> Outcome:
    import many_pictures

    if (reason := many_pictures.missing()) is not None:
        return Outcome(name, "", "", 0.0, left_out=reason)
    count = max(many_pictures.PICTURES[0], round(many_pictures.PICTURES[1] * scale))
    return _timed(name, f"{count:,} pictures", lambda root: many_pictures.look_through(root, count))


def kills(name: str, scale: float) -> Outcome:
    from kills import kill

    count = max(2, round(KILLS * scale / KILLERS))
    return _timed(name, f"{count} kills", lambda root: kill(root, count, seed=int(name[-1])))


def library_kills(name: str, scale: float) -> Outcome:
    from library_kills import kill

    count = max(2, round(LIBRARY_KILLS * scale / KILLERS))
    return _timed(name, f"{count} kills", lambda root: kill(root, count, seed=int(name[-1])))


def library_points(name: str, scale: float) -> Outcome:
    return _sweep(name, "--every", str(max(1, round(1 / scale))), program=LIBRARY_SWEEP)


def crash_points(name: str, scale: float) -> Outcome:
    return _sweep(name, "--every", str(max(1, round(1 / scale))))


def power_cuts(name: str, scale: float) -> Outcome:
    return _sweep(name, "--powercut", "--every", str(max(1, round(1 / scale))))


def hostile(name: str, scale: float) -> Outcome:
    """All inputs that neighbours, files and clients were thought of to send; below full size a sample."""
    surroundings = {"CAPTIOND_HOSTILE": "whole"} if scale >= 1 else {}
    return _tested(name, "whole" if scale >= 1 else "sampled", str(TESTS / "hostile"), **surroundings)


def long_tests(name: str, scale: float) -> Outcome:
    """What `make test` leaves out for its length."""
    return _tested(name, "all", "-m", "long", str(TESTS))


def _tested(name: str, count: str, *what: str, **surroundings: str) -> Outcome:
    def act(_: Path) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *what]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=TESTS.parent,
            env={**os.environ, **surroundings},
        )
        assert ended.returncode == 0, ended.stdout[-3000:]
        return ended.stdout.strip().splitlines()[-1]

    return _timed(name, count, act)


def door_and_inbox(name: str, scale: float) -> Outcome:
    from door_and_inbox import crowd

    seconds = max(20, round(CROWD_SECONDS * scale))
    return _timed(name, f"{seconds} seconds", lambda root: crowd(root, seconds))


def redone(name: str, scale: float) -> Outcome:
    from redone import redo

    count = max(100, round(REDONE * scale))
    return _timed(name, f"{count:,} pictures", lambda root: redo(root, count))


def random_trouble(name: str, scale: float) -> Outcome:
    seconds = max(2, round(MONKEY_SECONDS * scale))

    def act(_: Path) -> str:
        command = [sys.executable, str(MONKEY), "--seconds", str(seconds), "--seed", str(time.time_ns())]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr[-3000:]
        return ended.stdout.strip()

    return _timed(name, f"{seconds} seconds", act)


def _sweep(name: str, *options: str, program: Path = SWEEP) -> Outcome:
    """The sweeps of a single delivery, which are a program of their own."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, str(program), *options], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - began
    summary = next((line for line in ended.stdout.splitlines() if line.startswith("in all: ")), "")
    if ended.returncode == 2:
        return Outcome(name, "", "", seconds, left_out=ended.stdout.strip())
    trouble = None if ended.returncode == 0 else ended.stdout[-3000:] + ended.stderr[-3000:]
    count, _, more = summary.removeprefix("in all: ").partition(", ")
    return Outcome(name, count.replace("crash points", "points"), more, seconds, trouble)


def _timed(name: str, count: str, act: Callable[[Path], str]) -> Outcome:
    began = time.monotonic()
    seen, trouble = "", None
    with TemporaryDirectory(prefix="captiond-torture-", ignore_cleanup_errors=True) as root:
        try:
            seen = act(Path(root))
        except Exception:
            trouble = traceback.format_exc()
    return Outcome(name, count, seen, time.monotonic() - began, trouble)


def parts() -> dict[str, Callable[[str, float], Outcome]]:
    """All parts by name, those that take longest first."""
    from faults import every

    by_name: dict[str, Callable[[str, float], Outcome]] = {"crash_points": crash_points}
    by_name |= {f"kills_{number + 1}": kills for number in range(KILLERS)}
    by_name |= {f"library_kills_{number + 1}": library_kills for number in range(KILLERS)}
    by_name |= {"library_points": library_points}
    by_name |= {
        "power_cuts": power_cuts,
        "random_trouble": random_trouble,
        "hostile": hostile,
        "long": long_tests,
    }
    by_name |= {"door_and_inbox": door_and_inbox, "redone": redone, "many_pictures": many_pictures}
    return by_name | {module.__name__.removeprefix("faults."): fault for module in every.FAULTS}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts()))
    parser.add_argument("--scale", type=float, default=1.0, help="1.0: everything")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    arguments = parser.parse_args()
    wanted = {
        name: part
        for name, part in parts().items()
        if not arguments.parts or any(name.startswith(asked) for asked in arguments.parts)
    }
    # Its rate is a promise too, so it has the machine to itself.
    alone = {name: wanted.pop(name) for name in ("burst_while_stopped",) if name in wanted}
    outcomes: list[Outcome] = []
    for together, jobs in ((alone, 1), (wanted, arguments.jobs)):
        with ProcessPoolExecutor(jobs) as pool:
            running = [pool.submit(part, name, arguments.scale) for name, part in together.items()]
            for future in running:
                outcomes.append(future.result())
                print(outcomes[-1], flush=True)
    broken = [outcome for outcome in outcomes if outcome.trouble]
    for outcome in broken:
        print(f"\n{outcome.part}:\n{(outcome.trouble or '')[-4000:]}")
    left_out = sum(outcome.left_out is not None for outcome in outcomes)
    print(f"\n{len(outcomes)} parts, {len(broken)} broken, {left_out} left out")
    return 1 if broken or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
