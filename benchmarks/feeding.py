"""How many pictures one core feeds to a local model: the whole daemon, with a model that answers at once.

Workload: JPEGs of 1 and of 12 megapixels, no two alike, through the daemon's own engine with the published
model's crops (4 of 336 pixels).  The figure is the CPU's time for a picture, of the daemon and of all it
started, from the first look at the inbox to the last sidecar; loading is not counted, and what a card does is
not done.  The floor is Pillow alone: decoding, at a half where the daemon does, and scaling, as the model
wants it.  What so many cores would give is computed, as if nothing else were in the way.

    python benchmarks/feeding.py                         # this checkout
    python benchmarks/feeding.py --beside CHECKOUT       # and another one, in turns
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from PIL import Image

from shared import REPOSITORY, Report, options, photo

CORES = (1, 2, 16)
SCALED = 672  # pixels on the long side of a picture of 4:3, in 4 crops
HALF_FROM = 4 * SCALED
OURS = ("shared", "daemon_process", "captiond")  # modules that another checkout has as well


def different(megapixels: int, count: int) -> list[bytes]:
    """Photographs that differ in every row, without drawing each anew."""
    pixels = np.asarray(Image.open(io.BytesIO(photo(megapixels))))
    found = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(np.roll(pixels, 17 * number, axis=0)).save(buffer, "JPEG", quality=92)
        found.append(buffer.getvalue())
    return found


def cost(checkout: Path, folder: Path) -> float:
    """Milliseconds of the CPU for each picture of the folder, by a daemon of that checkout."""
    done = subprocess.run(
        [sys.executable, __file__, "--feed", str(folder), "--from", str(checkout)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1]))


def floor(folder: Path) -> float:
    """Milliseconds of the CPU for each picture of the folder, to decode and scale it and no more."""
    pictures = sorted(folder.iterdir())
    before = time.process_time()
    for picture in pictures:
        with Image.open(picture) as image:
            if image.width > HALF_FROM:
                image.draft(None, (image.width // 2, image.height // 2))
            image.resize((SCALED, SCALED * image.height // image.width), Image.Resampling.BILINEAR)
    return 1000 * (time.process_time() - before) / len(pictures)


def feed(checkout: Path, folder: Path) -> float:
    """In a process of its own, which imports that checkout's package, and its own way to run it."""
    for name in [one for one in sys.modules if one.partition(".")[0] in OURS]:
        del sys.modules[name]
    ours = {str(REPOSITORY / name) for name in ("benchmarks", "daemon", "tests")}
    others = [one for one in sys.path if one not in ours]
    sys.path[:] = [str(checkout / "benchmarks"), *others]
    os.environ["PYTHONPATH"] = str(checkout / "daemon")
    busy: Any = import_module("busy")
    found: Queue[tuple[float, float]] = Queue()
    pictures = sorted(folder.iterdir())
    with tempfile.TemporaryDirectory() as root:
        place = busy.place_for(Path(root), "http://unused/v1", watch={"settle_seconds": 0.05})
        for picture in pictures:
            (place.inbox / picture.name).write_bytes(picture.read_bytes())
        busy._run_with_a_local_model(place.settings, 0.0, found)
        delivered = len(list(place.done.rglob("*.caption.json")))
    assert delivered == len(pictures), delivered
    return 1000 * found.get()[1]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int, help="of 1 megapixel; a quarter of 12")
    parser.add_argument("--rounds", type=int, help="of each, in turns; the figures are medians")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="measure that one too, in turns")
    parser.add_argument("--feed", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--from", dest="checkout", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.feed is not None:
        print(json.dumps(feed(given.checkout.resolve(), given.feed)))
        return
    count = given.pictures or (40 if given.quick else 120)
    rounds = given.rounds or (1 if given.quick else 3)
    report = Report("feeding", f"a local model that answers at once, 4 crops, {rounds} rounds")
    for megapixels, pictures in ((1, count), (12, count // 4)):
        with tempfile.TemporaryDirectory() as folder:
            for number, data in enumerate(different(megapixels, pictures)):
                Path(folder, f"{number:05}.jpg").write_bytes(data)
            ours, theirs, floors = [], [], []
            for _ in range(rounds):
                floors.append(floor(Path(folder)))
                if given.beside is not None:
                    theirs.append(cost(given.beside.resolve(), Path(folder)))
                ours.append(cost(REPOSITORY, Path(folder)))
        report.add(**_row(megapixels, pictures, ours, theirs), floor_ms=statistics.median(floors))
    report.give(given.json)


def _row(megapixels: int, pictures: int, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    row: dict[str, Any] = {"picture": f"{megapixels} MP", "pictures": pictures}
    row["cpu_ms"] = statistics.median(ours)
    if theirs:
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        row |= {"the_other_ms": statistics.median(theirs), "times": statistics.median(ratios),
                "least": min(ratios), "most": max(ratios)}  # fmt: skip
    return row | {f"a_second_on_{cores}": 1000 * cores / row["cpu_ms"] for cores in CORES}


if __name__ == "__main__":
    main()
