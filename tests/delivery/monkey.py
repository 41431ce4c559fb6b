"""Crashes and errors at random system calls of random deliveries, while their owner changes companions.

    python tests/delivery/monkey.py --seconds 60 --seed 1

Each run drops some pictures that share companions, lets processes die or meet a bad disk a few times, and
looks each time whether everything is whole somewhere; in the end everything must be delivered once.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from delivery_world import MOVES, World, embed, embed_beside, users_files

from captiond.delivery import Delivery
from captiond.errors import CannotStart, Surroundings, TryLater

PICTURES = ("t/photo.jpg", "t/photo.png", "t/photo.webp", "t/other.jpg")
BESIDE = (
    "t/photo.jpg.xmp", "t/photo.xmp", "t/photo.AAE", "t/photo.MOV", "t/photo.NEF", "t/photo.NEF.xmp",
    "t/photo.png.xmp", "t/other.AAE", "t/other.jpg.json", "t/other.xmp",
)  # fmt: skip
TAKEN = ("t/photo.MOV", "t/photo.jpg", "t/photo.txt", "t/photo.jpg.caption.json", "t/other.AAE")
CALLS = (
    "open", "write", "fsync", "rename", "link", "unlink", "mkdir", "fchmod", "utime", "pread", "stat",
    "access", "scandir",
)  # fmt: skip
# Of a process that works off all of it; a later one is not reached.
MOST_CALLS = 260
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
TROUBLE = (OSError, Surroundings, TryLater)


class Crash(BaseException):
    """The end of the process: every call after it ends it again, so that nothing is tidied up."""


@contextmanager
def failing(nth: int, number: int) -> Iterator[None]:
    """The nth system call answers with this errno; with 0 it is the last that is made."""
    left, real = [nth], {name: getattr(os, name) for name in CALLS}

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **more: Any) -> Any:
            left[0] -= 1
            if number and left[0] == 0:
                raise OSError(number, os.strerror(number))
            if not number and left[0] <= 0:
                raise Crash
            return act(*values, **more)

        return call

    for name, act in real.items():
        setattr(os, name, counted(act))
    try:
        with suppress(Crash):
            yield
    finally:
        for name, act in real.items():
            setattr(os, name, act)


def run(seed: int) -> None:
    """AssertionError where a promise is broken."""
    dice = random.Random(seed)
    with TemporaryDirectory(dir=MEMORY, prefix="captiond-monkey-") as folder:
        move, hand = dice.choice(list(MOVES.values())), dice.choice([embed, embed_beside])
        world = World.at(Path(folder), move=move, embed=hand)
        for path in dice.sample(PICTURES, dice.randint(1, len(PICTURES))):
            world.drop(path, f"the picture {path}\n".encode() * dice.randint(1, 500))
        fails = frozenset(dice.sample(sorted(world.dropped), dice.choice((0, 0, 1))))
        sends_again = dice.random() < 0.3
        _change(world, dice, [] if sends_again else dice.sample(BESIDE, dice.randint(0, 8)))
        taken = dice.choice((*TAKEN, None, None, None))
        if taken is not None:
            (world.done / taken).parent.mkdir()
            (world.done / taken).write_bytes(b"somebody's")
        for _ in range(dice.randint(1, 4)):
            how = failing(dice.randint(1, MOST_CALLS), dice.choice((0, 0, errno.ENOSPC, errno.EIO)))
            with suppress(*TROUBLE, CannotStart), _opened(world) as delivery, how:
                _work_off(world, delivery, fails)
            if sends_again:
                _send_again(world, dice, [path for path in world.dropped if dice.random() < 0.5])
            else:
                _change(world, dice, [path for path in BESIDE if dice.random() < 0.07])
            check_instant(world)
        for _ in range(3):  # what is changed in the last moment waits for the next
            with _opened(world) as delivery:
                _work_off(world, delivery, fails)
        check_end(world, taken, fails)


@contextmanager
def _opened(world: World) -> Iterator[Delivery]:
    with world.opened(attempts=1_000, skips_duplicates=True) as delivery:
        yield delivery


def _work_off(world: World, delivery: Delivery, fails: frozenset[str]) -> None:
    with suppress(*TROUBLE):
        delivery.recover()
    for path in world.dropped:
        if (world.inbox / path).exists():
            with suppress(*TROUBLE):
                serve = world.reject if path in fails else world.caption
                serve(delivery, world.settled(path))
    with suppress(*TROUBLE):
        delivery.tidy()


def _change(world: World, dice: random.Random, paths: list[str]) -> None:
    for path in paths:
        world.drop_beside(path, f"what lies at {path} {dice.random()}\n".encode() * dice.randint(1, 300))


def _send_again(world: World, dice: random.Random, paths: list[str]) -> None:
    """What was captioned is sent once more: it must not be there twice in the end."""
    for path in paths:
        is_done = (world.done / f"{path}.caption.json").exists() and (world.done / path).exists()
        if is_done and not (world.inbox / path).exists():
            world.drop(path, world.dropped[path])


def check_instant(world: World) -> None:
    """Each picture, and the last version of each companion, is whole in the inbox, in done/ or in failed/."""
    there = [
        file.read_bytes()
        for root in (world.inbox, world.done, world.failed)
        for file in root.rglob("*")
        if file.is_file()
    ]
    for path, data in (world.dropped | world.beside).items():
        assert any(content.startswith(data) for content in there), f"{path} is nowhere"


def check_end(world: World, taken: str | None, fails: frozenset[str]) -> None:
    failed = {path: (world.failed / path).read_bytes() for path in users_files(world.failed)}
    assert failed.keys() == {*fails, *(f"{path}.error.json" for path in fails)}
    done = {path: (world.done / path).read_bytes() for path in users_files(world.done)}
    if taken is not None:
        assert done.pop(taken) == b"somebody's"
    inbox = {path: (world.inbox / path).read_bytes() for path in users_files(world.inbox)}
    for path, data in (world.dropped | world.beside).items():
        everything = (*done.values(), *inbox.values(), *failed.values())
        times = sum(content.startswith(data) for content in everything)
        assert times == 1, f"{path} is there {times} times"
    assert not inbox.keys() & world.dropped.keys()
    accounted = set()
    for path, content in done.items():
        if path.endswith(".caption.json"):
            accounted |= {path, *_told(done, path.removesuffix(".caption.json"), json.loads(content))}
    assert accounted == done.keys()
    for folder in (world.inbox, world.done, world.failed):
        left = {file.name for file in (folder / ".captiond").rglob("*") if file.is_file()}
        assert left == {"lock"}, left


def _told(done: dict[str, bytes], image: str, told: dict[str, Any]) -> Iterator[str]:
    """The files of which a sidecar tells, each as it tells of it."""
    assert hashlib.sha256(done[image]).hexdigest() == told["published"]["sha256"]
    yield image
    source, stem = told["source"]["name"], image.rpartition(".")[0]
    for companion in told.get("companions", ()):
        name = companion["name"]
        path = image + name.removeprefix(source)
        if not name.startswith(source):
            path = stem + name.removeprefix(source.rpartition(".")[0])
        assert hashlib.sha256(done[path]).hexdigest() == companion["sha256"], path
        yield path
    if f"{stem}.txt" in done:
        yield f"{stem}.txt"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the next has the next")
    arguments = parser.parse_args()
    until, seed = time.monotonic() + arguments.seconds, arguments.seed
    while time.monotonic() < until:
        try:
            run(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        seed += 1
    print(f"{seed - arguments.seed} runs, 0 violations")


if __name__ == "__main__":
    main()
