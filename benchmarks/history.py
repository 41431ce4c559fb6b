"""How large the history grows, what telling it costs a picture, and how long its answers take.

    python benchmarks/history.py [PICTURES]

Captions of 15 to 35 invented words, of which a few are frequent and most are rare; one picture in 200 failed.
Of three tries the best counts.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from captiond.history import History, looked_into
from captiond.records import Outcome, Timings

TOLD_TOGETHER = 5_000
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def vocabulary(rng: random.Random) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(12_000)]


def path_of(number: int) -> str:
    return f"2026/trip{number % 3000:04d}/IMG_{number:07d}.jpg"


def outcomes(count: int, words: list[str], rng: random.Random) -> Iterator[Outcome]:
    spoken = rng.choices(words, [1 / rank for rank in range(1, len(words) + 1)], k=1_000_000)
    for number in range(count):
        start = rng.randrange(len(spoken) - 35)
        caption = " ".join(spoken[start : start + rng.randint(15, 35)]).capitalize() + "."
        path, at = path_of(number), BEGAN + timedelta(seconds=number)
        if number % 200 == 0:
            yield Outcome(
                path, "failed", path, at, kind="unreadable", message="the file is damaged", attempts=1
            )
            continue
        yield Outcome(
            path,
            "done",
            path,
            at,
            sha256=os.urandom(32).hex(),
            caption=caption,
            model="microsoft/Phi-3.5-vision-instruct",
            format="JPEG",
            width=4000,
            height=3000,
            timings=Timings(0.5, 0.04, 0.9, 0.02),
            attempts=1,
        )


def fill(history: History, told: Iterator[Outcome], count: int) -> None:
    began, telling, captions = time.perf_counter(), 0.0, 0
    for _ in range(0, count, TOLD_TOGETHER):
        batch = list(islice(told, TOLD_TOGETHER))
        captions += sum(len(outcome.caption or "") for outcome in batch)
        start = time.perf_counter()
        for outcome in batch:
            history.record(outcome)
        telling += time.perf_counter() - start
        history.flush(600.0)
    seconds = time.perf_counter() - began
    print(f"{count:,} pictures, captions of {captions / count:.0f} characters")
    print(f"written, {count / seconds:,.0f} a second; telling of one takes {telling / count * 1e6:.1f} µs")


def ask(name: str, question: Callable[[], object]) -> None:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        question()
        best = min(best, time.perf_counter() - start)
    print(f"{name:44} {best * 1000:8.1f} ms")


def look(folder: Path, path: str) -> None:
    with looked_into(folder) as looking:
        assert looking is not None and looking.last_of(path) is not None


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rng = random.Random(3)
    words = vocabulary(rng)
    with tempfile.TemporaryDirectory() as temporary:
        folder, middle = Path(temporary), count // 2
        history = History(folder)
        fill(history, outcomes(count, words, rng), count)
        history.close()
        print(f"{(folder / 'history.sqlite3').stat().st_size / count:.0f} bytes a picture")
        history, path = History(folder), path_of(middle + 1)
        ask("the first page", history.entries)
        ask("a page from the middle", lambda: history.entries(before=middle))
        ask("a page of failures", lambda: history.entries(folder="failed", before=middle))
        ask("a search for the commonest word", lambda: history.entries(search=words[0]))
        ask("for a rare word", lambda: history.entries(search=words[9000]))
        ask("for the beginning of a name", lambda: history.entries(search=path[14:24]))
        ask("for one letter", lambda: history.entries(search="s"))
        ask(
            "for a word that no failure has, in failures",
            lambda: history.entries(search=words[0], folder="failed"),
        )
        ask("for Chinese that nobody wrote, line by line", lambda: history.entries(search="海滩"))
        ask("what became of a path", lambda: history.last_of(path))
        ask("what was delivered as a path", lambda: history.by_delivered("done", path))
        ask("how many of each", history.counts)
        ask("a caption changed", lambda: history.revise(middle, "Another caption.", BEGAN))
        history.close()
        ask("`explain` of another process", lambda: look(folder, path))


if __name__ == "__main__":
    main()
