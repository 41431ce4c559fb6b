"""How long a large library takes until its first caption, and to be looked through again without a change.

    python benchmarks/library.py [PICTURES] [DESCRIBED]

Tiny JPEGs, all different, in folders of 500; a captioner that answers at once.  Three starts of the daemon's
own rooms: on the new library, until DESCRIBED pictures have sidecars (the others get copies of a real one, in
which only the name and the checksum differ); on all of it without the index, as after deleting state/; and
with the index, where scans follow scans without a change.  The captioner counts its questions.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from captiond import logs
from captiond.libraries import MARKER
from captiond.pictures.pool import Decoders
from captiond.pipeline import Pipeline
from captiond.pipeline.preparing import Preparing
from captiond.service.build import Rooms
from libraries.library_world import Teller, World

IN_A_FOLDER = 500
PATIENCE_SECONDS = 900.0


def drawn() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).save(buffer, "JPEG")
    return buffer.getvalue()


def lay_out(root: Path, pictures: int) -> None:
    """Each is another file: a comment of its own stands behind the start of the picture."""
    data = drawn()
    for number in range(pictures):
        folder = root / f"{number // IN_A_FOLDER:04}"
        folder.mkdir(exist_ok=True)
        comment = b"\xff\xfe\x00\x0a%08d" % number
        (folder / f"{number:06}.jpg").write_bytes(data[:2] + comment + data[2:])
    (root / MARKER).write_text("")


def copy_sidecars(root: Path) -> None:
    """What is left over is described as the first one was."""
    sample = json.loads(next(root.rglob("*.caption.json")).read_text())
    for picture in root.rglob("*.jpg"):
        record = picture.with_name(f"{picture.name}.caption.json")
        if not record.exists():
            digest = hashlib.sha256(picture.read_bytes()).hexdigest()
            path = str(picture.relative_to(root))
            sample["source"] |= {"name": picture.name, "path": path, "sha256": digest}
            sample["published"] = {"sha256": digest}
            record.write_text(json.dumps(sample, indent=2))


@contextmanager
def serving(world: World) -> Iterator[Rooms]:
    """The rooms and a pipeline at work, as a daemon has them once its model is loaded."""
    rooms, stop = world.rooms(), threading.Event()
    rooms.delivery.open()
    rooms.inbox.start()
    with rooms.libraries.looked_through():
        work = Pipeline(
            rooms.inbox,
            rooms.delivery,
            world.teller,
            Preparing(world.teller, world.decoders),
            gate=rooms.gate,
            tally=rooms.tally,
            tell=world.told.append,
            libraries=rooms.libraries,
            same_answer_limit=1000,
        )
        thread = threading.Thread(target=work.run, args=(stop,))
        thread.start()
        try:
            yield rooms
        finally:
            stop.set()
            thread.join()
    rooms.inbox.close()
    rooms.delivery.close()
    rooms.attempts.close()


def until(holds: Callable[[], bool]) -> float:
    """How long it took."""
    began = time.perf_counter()
    while not holds():
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise SystemExit("it took too long")
        time.sleep(0.01)
    return time.perf_counter() - began


def measure(world: World, pictures: int, described: int) -> None:
    asked = world.teller.asked
    with serving(world) as rooms:
        print(f"first caption after {until(lambda: len(world.told) >= 1):.2f} s")
        seconds = until(lambda: len(world.told) >= described)
        print(f"{described:,} described in {seconds:.1f} s, {described / seconds:.0f} a second")
    copy_sidecars(world.root)
    questions = len(asked)
    world.forget_state()
    with serving(world) as rooms:
        (library,) = rooms.libraries
        seconds = until(lambda: library.status().described >= pictures)
        again = len(asked) - questions
        print(f"{pictures:,} known again without the index in {seconds:.1f} s, {again} questions")
    with serving(world) as rooms:
        (library,) = rooms.libraries
        print(f"looked through with the index in {until(lambda: library.scans >= 1):.1f} s")
        print(f"and again {until(lambda: library.scans >= 2):.1f} s later, with the pause between scans")
        print(f"{len(asked) - questions} questions")
        assert library.status().described == pictures


def main() -> None:
    pictures = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    described = int(sys.argv[2]) if len(sys.argv) > 2 else min(pictures, 500)
    logs.configure("error", "console")
    print(
        f"{pictures:,} pictures; load of the last minute {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory(prefix="captiond-libraries-") as folder, Decoders() as decoders:
        world = World(Path(folder), decoders)
        world.settings["watch"] |= {"rescan_seconds": 0.01, "settle_seconds": 1.0, "method": "native"}
        world.teller = Teller(capacity=8)
        lay_out(world.root, pictures)
        measure(world, pictures, described)
    print(f"load of the last minute {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
