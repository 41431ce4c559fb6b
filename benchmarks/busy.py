"""How much of the time the daemon keeps a model busy that serves one picture after the other.

Workload: JPEGs of 12 megapixels as telephones take them, and two cores.  The model takes 60 ms a picture
and none of the cores: once as a local one, behind the published model's image processor (4 crops of 336
pixels) in the daemon's own process; once as a chat-completions server in a process of its own that answers
one question at a time, with one and with two in flight.  The figure is the pictures times 60 ms, over the
time from the first question that reached the model to the last answer.  The floor is 1: a model that never
waits.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from shared import (
    THIS_CHECKOUT,
    Report,
    Target,
    cpu_seconds,
    delivered,
    fill,
    model_server,
    options,
    photo,
    place_for,
    until,
)

LIMIT = 0.95
CROPS, CROP_SIDE = 4, 336  # the published model's default


class Times:
    """When the model was asked, and when it answered, on the monotonic clock; and what loading it took."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.answered: list[float] = []
        self.loaded_in_cpu_seconds = 0.0


def one_at_a_time(folder: Path, seconds: float, times: Times) -> Any:
    """The daemon's own engine with the published model's crops, which sleeps in place of the network.

    What a card would do, it does not do: make floats of a picture's bytes, and look.
    """
    before = time.process_time()
    from captiond import phi3v
    from captiond.captioners.batches import Completion
    from captiond.captioners.engines import Phi3VEngine

    class OneAtATime(Phi3VEngine):
        def completions(self, more: Any, batch_size: int) -> Iterator[tuple[Any, Completion]]:
            while questions := more(1):
                times.asked.append(time.monotonic())
                time.sleep(seconds)
                times.answered.append(time.monotonic())
                yield questions[0], Completion("A picture.", 790, 4, True)

        def batch_size_that_fits(self, max_new_tokens: int) -> int:
            return 1

    model, processor = phi3v.load(folder)
    images = phi3v.Phi3VImageProcessor(num_crops=CROPS, crop_size=CROP_SIDE)
    engine = OneAtATime(model, phi3v.Phi3VProcessor(images, processor.tokenizer))
    times.loaded_in_cpu_seconds = time.process_time() - before
    return engine


class Busy(NamedTuple):
    share: float
    cpu_seconds: float  # of the daemon, for each picture


def with_a_local_model(photos: list[bytes], count: int, seconds: float) -> Busy:
    with tempfile.TemporaryDirectory() as folder:
        place = place_for(Path(folder), "http://unused/v1", watch={"settle_seconds": 0.05})
        fill(place.inbox, photos, count)
        context = multiprocessing.get_context("spawn")
        answer = context.Queue()
        work = context.Process(target=_run_with_a_local_model, args=(place.settings, seconds, answer))
        work.start()
        busy = Busy(*answer.get())
        work.join()
    return busy


def _run_with_a_local_model(settings_file: Path, seconds: float, answer: Any) -> None:
    _on_two_cores()
    from captiond import logs, settings
    from captiond.captioners.local import LocalCaptioner
    from captiond.service import build, daemon

    times = Times()

    def open_engine(folder: Path, *_: Any) -> Any:
        return one_at_a_time(folder, seconds, times)

    build.captioner_of = lambda settings: LocalCaptioner(
        model_id="demo", device="cpu", open_engine=open_engine
    )
    loaded = settings.load(settings_file, {}, settings_file.parent)
    logs.configure("warning", "json")
    running = daemon.Daemon(loaded)
    before = time.process_time()
    running.run(once=True)
    decoders = resource.getrusage(resource.RUSAGE_CHILDREN)
    asked, answered = times.asked[1:], times.answered  # the first was asked while loading
    spent = time.process_time() - before + decoders.ru_utime + decoders.ru_stime
    spent -= times.loaded_in_cpu_seconds
    answer.put((len(asked) * seconds / (answered[-1] - asked[0]), spent / len(asked)))


def with_a_server(photos: list[bytes], count: int, seconds: float, in_flight: int) -> Busy:
    with model_server(seconds, capacity=1) as server, tempfile.TemporaryDirectory() as folder:
        place = place_for(
            Path(folder),
            server.url,
            model={"max_concurrency": in_flight},
            watch={"settle_seconds": 0.05},
        )
        fill(place.inbox, photos, count)
        with place.running(**THIS_CHECKOUT) as running:
            before = cpu_seconds(running.process.pid)
            until(lambda: delivered(place.done) == count, running, every=0.02)
            spent = cpu_seconds(running.process.pid) - before
        busy = server.busy()[2:]  # two were asked while loading
    return Busy(len(busy) * seconds / (busy[-1][1] - busy[0][0]), spent / count)


def _on_two_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int, help="in each round")
    parser.add_argument("--rounds", type=int, help="of each, in turns; the figures are medians")
    parser.add_argument("--seconds", type=float, default=0.06, help="that the model takes for a picture")
    given = parser.parse_args()
    count = given.pictures or (40 if given.quick else 150)
    rounds = given.rounds or (1 if given.quick else 5)
    _on_two_cores()
    photos = [photo(12, seed) for seed in range(1 if given.quick else 3)]
    ways: dict[str, Callable[[], Busy]] = {
        "a local model": lambda: with_a_local_model(photos, count, given.seconds),
        "a server, one in flight": lambda: with_a_server(photos, count, given.seconds, 1),
        "a server, two in flight": lambda: with_a_server(photos, count, given.seconds, 2),
    }
    megabytes = sum(map(len, photos)) / len(photos) / 1e6
    each = f"{megabytes:.1f} MB, {given.seconds * 1000:g} ms each"
    workload = f"{count} JPEGs of 12 MP and {each}, {rounds} rounds"
    report = Report("busy", workload)
    shares = [{name: measure() for name, measure in ways.items()} for _ in range(rounds)]
    for name in ways:
        found = [one[name].share for one in shares]
        cpu_ms = 1000 * statistics.median(one[name].cpu_seconds for one in shares)
        report.add(
            model=name,
            busy=statistics.median(found),
            least=min(found),
            most=max(found),
            floor=1.0,
            cpu_ms=cpu_ms,
            two_cores_could_ms=2000 * given.seconds,
        )
    for name in ("a local model", "a server, two in flight"):
        busy = statistics.median(one[name].share for one in shares)
        report.targets.append(Target(f"share of the time that {name} is busy", busy, LIMIT, at_least=True))
    report.give(given.json)


if __name__ == "__main__":
    main()
