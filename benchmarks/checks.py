"""How long the checks of texts take: each seen answer of tests/texts, judged one after the other on one core.

Processor time is told, not the clock's, since others may be at work; the language tables are read before.
Run: `python benchmarks/checks.py [--rounds N]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from captiond.checking import Banned, Question, judge

SEEN = Path(__file__).parents[1] / "tests" / "texts" / "seen"


def answers() -> list[tuple[str, Question, str]]:
    """What was said, what was asked, and why it ended."""
    lines = [
        line for name in ("bad", "good") for line in (SEEN / f"{name}.jsonl").read_text("utf-8").splitlines()
    ]
    return [
        (
            one["text"],
            Question(
                one["field"],
                one["prompt"],
                language=one["wanted_language"],
                limit_characters=one["limit_characters"],
                banned=Banned.of(one.get("banned", ())),
            ),
            one["finish_reason"],
        )
        for one in map(json.loads, lines)
        if one["field"] != "together"
    ]


def milliseconds(said: str, question: Question, finish_reason: str) -> float:
    begun = time.process_time_ns()
    judge(said, question, finish_reason=finish_reason)
    return (time.process_time_ns() - begun) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    corpus = answers()
    for one in corpus:
        milliseconds(*one)
    best = sorted(min(milliseconds(*one) for _ in range(rounds)) for one in corpus)
    print(f"{len(best)} answers, the best of {rounds} rounds each, in milliseconds of one core:")
    print(f"mean {statistics.mean(best):.2f}, median {statistics.median(best):.2f}, most {best[-1]:.2f}")


if __name__ == "__main__":
    main()
