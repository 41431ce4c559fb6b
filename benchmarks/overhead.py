"""What the daemon costs for each picture, against the bare minimum done by hand.

Workload: JPEGs as cameras make them, of 1 and of 12 megapixels, and a model server in a process of its own
that answers at once.  By hand, on as many threads as the daemon has requests in flight: read, decode (12
megapixels at a half, by Pillow's draft mode), encode, ask over a kept connection, copy the original to
done/, sync it, write a JSON and sync it, sync the folder, unlink the original.  No hash, no caption in the
picture, no proof, no count of attempts, and nothing that would survive a crash in between.  Both are timed
from the moment at which the pictures lie in the inbox until the last JSON is in done/, in turns; the
figures are medians.  The daemon's time has in it that it notices the pictures and lets them settle for 50
ms.

What a process does once, with its first pictures (decoders start, threads, phrases are compiled), counts too;
with --warm N, that many other pictures are delivered before the time counts.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from PIL import Image

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

LIMIT = 1.5  # times the minimum
SENT_SIDE, LEAST_SIDE, SENT_QUALITY = 2048, 2000, 90  # as the daemon sends them
PROMPT = "Describe what is shown in this image."


class Cost(NamedTuple):
    seconds: float
    cpu_seconds: float


def by_the_daemon(
    url: str,
    photos: list[bytes],
    count: int,
    in_flight: int,
    checkout: Mapping[str, str] = THIS_CHECKOUT,
    *,
    warm: int = 0,
) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        model = {"max_concurrency": in_flight}
        place = place_for(Path(folder), url, checkout, model=model, watch={"settle_seconds": 0.05})
        fill(place.root / "first", photos, warm)
        fill(place.root / "ready", photos, count)
        os.sync()
        with place.running(**checkout) as running:
            (place.root / "first").rename(place.inbox / "first")
            until(lambda: delivered(place.done / "first") == warm, running, every=0.02)
            cpu, began = cpu_seconds(running.process.pid), time.perf_counter()
            (place.root / "ready").rename(place.inbox / "new")
            until(lambda: delivered(place.done / "new") == count, running, every=0.02)
            seconds = time.perf_counter() - began
            cpu = cpu_seconds(running.process.pid) - cpu
        return Cost(seconds, cpu)


def by_hand(url: str, photos: list[bytes], count: int, in_flight: int) -> Cost:
    """In a fresh process; what it needs is imported and its threads are up before the time counts."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        inbox, done = Path(folder, "inbox"), Path(folder, "done")
        fill(inbox, photos, count)
        done.mkdir()
        os.sync()
        answer = context.Queue()
        work = context.Process(target=_work, args=(url, inbox, done, in_flight, answer))
        work.start()
        cost = answer.get()
        work.join()
        assert len(list(done.glob("*.json"))) == count and not list(inbox.iterdir())
    return Cost(*cost)


def _work(url: str, inbox: Path, done: Path, in_flight: int, answer: Any) -> None:
    kept = threading.local()

    def each(name: str) -> None:
        if not hasattr(kept, "server"):
            kept.server = http.client.HTTPConnection(urlsplit(url).netloc)
        _by_hand(kept.server, inbox / name, done)

    Image.init()
    names = sorted(os.listdir(inbox))
    with ThreadPoolExecutor(in_flight) as pool:
        began, cpu = time.perf_counter(), time.process_time()
        list(pool.map(each, names))
        answer.put((time.perf_counter() - began, time.process_time() - cpu))


def _by_hand(server: http.client.HTTPConnection, file: Path, done: Path) -> None:
    data = file.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        if image.width >= 2 * LEAST_SIDE:
            image.draft("RGB", (image.width // 2, image.height // 2))
        image.thumbnail((SENT_SIDE, SENT_SIDE))
        sent = io.BytesIO()
        image.save(sent, "JPEG", quality=SENT_QUALITY)
    uri = "data:image/jpeg;base64," + base64.b64encode(sent.getvalue()).decode()
    picture = {"type": "image_url", "image_url": {"url": uri}}
    content = [picture, {"type": "text", "text": PROMPT}]
    question = {"model": "none", "messages": [{"role": "user", "content": content}], "max_tokens": 160}
    server.request("POST", "/v1/chat/completions", json.dumps(question))
    said = json.loads(server.getresponse().read())["choices"][0]["message"]["content"]
    _write(done / file.name, data)
    _write(done / f"{file.name}.json", json.dumps({"caption": said, "source": file.name}).encode())
    folder = os.open(done, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    file.unlink()


def _write(file: Path, data: bytes) -> None:
    with file.open("xb") as writing:
        writing.write(data)
        writing.flush()
        os.fsync(writing.fileno())


def compare(report: Report, picture: str, pairs: list[tuple[Cost, Cost]], pictures: int) -> None:
    """This checkout against another, round by round."""
    for kind in Cost._fields:
        theirs, ours = ([1000 * getattr(pair[at], kind) / pictures for pair in pairs] for at in (0, 1))
        times = [a / b for a, b in zip(ours, theirs, strict=True)]
        report.add(
            picture=picture,
            pictures=pictures,
            what=kind.replace("_", " "),
            this_ms=statistics.median(ours),
            the_other_ms=statistics.median(theirs),
            times=statistics.median(times),
            least=min(times),
            most=max(times),
        )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=int, help="of 1 megapixel; a fifth of 12")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--rounds", type=int, help="of each, in turns")
    parser.add_argument("--warm", type=int, default=0, help="pictures delivered before the time counts")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="measure that one too, in turns")
    given = parser.parse_args()
    count = given.pictures or (80 if given.quick else 300)
    rounds = given.rounds or (1 if given.quick else 5)
    workload = f"{given.in_flight} in flight, a server that answers at once, {rounds} rounds"
    workload += f", {given.warm} pictures before the time counts" if given.warm else ""
    report = Report("overhead", workload)
    with model_server() as server:
        for megapixels, pictures in ((1, count), (12, count // 5)):
            photos = [photo(megapixels, seed) for seed in range(1 if given.quick else 3)]
            work = (server.url, photos, pictures, given.in_flight)
            if given.beside is not None:
                other = {"PYTHONPATH": str(given.beside.resolve() / "daemon")}
                daemon = partial(by_the_daemon, *work, warm=given.warm)
                pairs = [(daemon(other), daemon()) for _ in range(rounds)]
                compare(report, f"{megapixels} MP", pairs, pictures)
                continue
            costs = [(by_hand(*work), by_the_daemon(*work, warm=given.warm)) for _ in range(rounds)]
            for kind in Cost._fields:
                ours = [1000 * getattr(one, kind) / pictures for _, one in costs]
                floor = [1000 * getattr(one, kind) / pictures for one, _ in costs]
                times = statistics.median(a / b for a, b in zip(ours, floor, strict=True))
                report.add(
                    picture=f"{megapixels} MP",
                    megabytes=len(photos[0]) / 1e6,
                    pictures=pictures,
                    what=kind.replace("_", " "),
                    daemon_ms=statistics.median(ours),
                    by_hand_ms=statistics.median(floor),
                    times=times,
                )
                report.targets.append(Target(f"{kind} for {megapixels} MP, times the minimum", times, LIMIT))
    report.give(given.json)


if __name__ == "__main__":
    main()
