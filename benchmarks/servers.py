"""Several servers behind one daemon: what a second one brings, and what one that dies again and again costs.

Workload: a real `captiond run` with `model.backend: openai` over small pictures, and servers in processes of
their own that answer four questions at once, each after a set time, without looking at them.  So the servers
are what it waits for, and not the machine.  Asked are one server, two of them, and two of which one is killed
(SIGKILL) twenty times and started again half a second later, while a single failed attempt would set a
picture aside (`limits.attempts: 1`).  Times count from the moment at which the pictures lie in the inbox to
the last sidecar.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shared import (
    THIS_CHECKOUT,
    ModelServer,
    Report,
    Target,
    delivered,
    fill,
    options,
    photo,
    place_for,
    until,
)
from shared import model_server as started

AT_ONCE = 4
KILLS, PICTURES = 20, 5000
DEAD_SECONDS = 0.5
TWO_TIMES, DYING_TIMES = 1.9, 0.9  # the rate of one


class Mortal:
    """A server that can be killed, and started again at the same address."""

    def __init__(self, seconds: float) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = int(listener.getsockname()[1])
        self._seconds = seconds
        self._life = ExitStack()
        self.kills = 0
        self.start()

    @property
    def url(self) -> str:
        return ModelServer(self._port).url

    def start(self) -> None:
        self._life.enter_context(started(self._seconds, AT_ONCE, self._port, is_killed=True))

    def kill(self) -> None:
        self._life.close()
        self.kills += 1


@contextmanager
def dying(server: Mortal, folder: Path, pictures: int, times: int) -> Iterator[None]:
    """Meanwhile it is killed whenever another part of the pictures is there."""
    is_over = threading.Event()

    def act() -> None:
        for number in range(1, times + 1):
            while delivered(folder) < number * pictures // (times + 1):
                if is_over.wait(0.05):
                    return
            server.kill()
            time.sleep(DEAD_SECONDS)
            server.start()

    killing = threading.Thread(target=act)
    killing.start()
    try:
        yield
    finally:
        is_over.set()
        killing.join()


def seconds_for(urls: list[str], count: int, victim: Mortal | None = None, kills: int = 0) -> float:
    """Raises RuntimeError where a picture was lost or charged."""
    with tempfile.TemporaryDirectory() as root:
        settings = {"base_url": urls, "max_concurrency": 2 * AT_ONCE}
        place = place_for(
            Path(root), "", model=settings, limits={"attempts": 1}, watch={"settle_seconds": 0.05}
        )
        fill(place.root / "ready", [photo(0)], count)
        with place.running(**THIS_CHECKOUT) as running, ExitStack() as stack:
            began = time.perf_counter()
            (place.root / "ready").rename(place.inbox / "new")
            if victim:
                stack.enter_context(dying(victim, place.done / "new", count, kills))
            until(lambda: delivered(place.done / "new") == count, running, every=0.05)
            seconds = time.perf_counter() - began
        if place.left_in_inbox() or any(place.failed.rglob("*.error.json")):
            raise RuntimeError("a picture was left or set aside")
    return seconds


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=0.25, help="until a server answers")
    parser.add_argument(
        "--pictures", type=int, help=f"while one is killed; {PICTURES:,}, or 200 with --quick"
    )
    given = parser.parse_args()
    count = given.pictures or (200 if given.quick else PICTURES)
    kills = 2 if given.quick else KILLS
    few = min(count, 100 if given.quick else 1000)
    report = Report("servers", f"servers that answer {AT_ONCE} questions at once after {given.seconds:g} s")
    servers = [Mortal(given.seconds), Mortal(given.seconds)]
    urls = [server.url for server in servers]
    try:
        one = few / seconds_for(urls[:1], few)
        report.add(servers="one", pictures=few, kills=0, pictures_per_second=one, times_one=1.0)
        two = few / seconds_for(urls, few)
        report.add(servers="two", pictures=few, kills=0, pictures_per_second=two, times_one=two / one)
        dying_one = count / seconds_for(urls, count, servers[1], kills)
        report.add(
            servers="two, of which one dies",
            pictures=count,
            kills=servers[1].kills,
            pictures_per_second=dying_one,
            times_one=dying_one / one,
        )
    finally:
        for server in servers:
            server.kill()
    report.targets.append(Target("two, times one", two / one, TWO_TIMES, at_least=True))
    report.targets.append(
        Target("two of which one dies, times one", dying_one / one, DYING_TIMES, at_least=True)
    )
    report.give(given.json)


if __name__ == "__main__":
    main()
