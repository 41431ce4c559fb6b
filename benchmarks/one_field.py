"""Pictures a second with one field, by this checkout and by another: the whole daemon and a local model.

Workload: scenes of the demo, no two alike, in the inbox when the daemon begins to watch; the demo checkpoint
of this checkout for both, on the CPU, in float32; a caption and nothing else.  Counted is from the first
look to the last sidecar.  Both are measured in turns.

    python benchmarks/one_field.py --beside CHECKOUT
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from captiond.demo import checkpoint_path
from captiond.demo.scenes import draw, random_scene, random_size
from shared import THIS_CHECKOUT, Report, delivered, options, place_for, until

MODEL = {"backend": "transformers", "id": str(checkpoint_path()), "device": "cpu", "dtype": "float32"}


def fill(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    dice = random.Random(7)
    for number in range(count):
        scene = random_scene(dice)
        draw(scene, *random_size(dice, scene, longest=800)).save(folder / f"{number:05}.jpg", quality=92)


def pictures_a_second(count: int, checkout: Mapping[str, str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        settle = {"settle_seconds": 0.05}
        place = place_for(Path(folder), "http://unused/v1", checkout, watch=settle, model=MODEL)
        fill(place.root / "ready", count)
        with place.running(**checkout) as running:
            began = time.perf_counter()
            (place.root / "ready").rename(place.inbox / "new")
            until(lambda: delivered(place.done / "new") == count, running, every=0.02)
            return count / (time.perf_counter() - began)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--rounds", type=int, help="of each, in turns; the figures are medians")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", required=True)
    given = parser.parse_args()
    count = given.pictures or (40 if given.quick else 200)
    rounds = given.rounds or (1 if given.quick else 5)
    other = {"PYTHONPATH": str(given.beside.resolve() / "daemon")}
    measure = partial(pictures_a_second, count)
    pairs = [(measure(other), measure(THIS_CHECKOUT)) for _ in range(rounds)]
    times = [ours / theirs for theirs, ours in pairs]
    report = Report("one_field", f"{count} scenes, the demo model, {rounds} rounds")
    report.add(
        pictures=count,
        this_a_second=statistics.median(ours for _, ours in pairs),
        the_other_a_second=statistics.median(theirs for theirs, _ in pairs),
        times=statistics.median(times),
        least=min(times),
        most=max(times),
    )
    report.give(given.json)


if __name__ == "__main__":
    main()
