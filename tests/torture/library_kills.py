"""Kills a daemon that describes a library at random times, again and again; something restarts it each time.

After each kill every picture must be as it was and every sidecar whole; in the end all are described rightly,
and the model was asked no more often than there were pictures and questions in flight at the kills.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

from faults.load import PATIENCE_SECONDS, Load, loaded

LIMITS = {"attempts": 1_000}  # where somebody kills at random, no picture is to be given up
MORE_EACH_TIME = 12
IN_FLIGHT = 8  # at a server, by default
LONGEST_LIFE_SECONDS = 0.8
KILLED_WHILE_STARTING = 0.15


def kill(root: Path, kills: int, seed: int) -> str:
    """So many kills; AssertionError where a promise is broken."""
    dice = random.Random(seed)
    with loaded(root, seconds_per_answer=0.02, limits=LIMITS) as load:
        library = _Library(load, root / "photos")
        for _ in range(kills):
            library.grow(dice.choice(("", "trip", "a/b")))
            process = load.launch() if dice.random() < KILLED_WHILE_STARTING else load.start()
            time.sleep(dice.uniform(0, LONGEST_LIFE_SECONDS))
            assert process.process.poll() is None, process.log()[-5000:]
            os.kill(process.process.pid, signal.SIGKILL)
            process.process.wait(PATIENCE_SECONDS)
            library.check_instant()
        with load.running() as daemon:
            daemon.until(library.is_described)
        library.check()
        asked, most = load.asked, len(library.captions) + (IN_FLIGHT + STARTS_ASK) * (kills + 1)
        assert asked <= most, f"asked {asked} times about {len(library.captions)} pictures, {kills} kills"
    return f"{len(library.captions)} pictures, asked {asked} times"


def _touched(file: Path) -> tuple[int, ...] | None:
    """What changes with any write or rename, since no program sets a ctime; None if there is no such file."""
    try:
        there = file.stat()
    except FileNotFoundError:
        return None
    return there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns


STARTS_ASK = 2  # questions by which a server is tried


class _Library:
    def __init__(self, load: Load, root: Path) -> None:
        self._load, self._root = load, root
        root.mkdir()
        (root / ".captiond-library").write_text("")
        values = json.loads(load.place.settings.read_text())
        values["libraries"] = [{"name": "photos", "path": str(root), "existing": True}]
        load.place.settings.write_text(json.dumps(values))
        self.captions: dict[str, str] = {}
        self._pictures: dict[str, tuple[bytes, int]] = {}
        self._right: dict[str, tuple[object, ...]] = {}

    def grow(self, folder: str) -> None:
        for _ in range(MORE_EACH_TIME):
            made, data = self._load.make()
            name = f"{folder}/{made}" if folder else made
            self.captions[name] = self._load.captions[made]
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._pictures[name] = data, path.stat().st_mtime_ns

    def is_described(self) -> bool:
        return all((self._root / f"{name}.caption.json").exists() for name in self.captions)

    def check_instant(self) -> None:
        """Files that the kernel says were not touched since they were found right are not read again."""
        for name, (data, modified_ns) in self._pictures.items():
            path, record = self._root / name, self._root / f"{name}.caption.json"
            files = path, record, self._root / f"{name}.xmp"
            seen = tuple(_touched(file) for file in files)
            if self._right.get(name) == seen:
                continue
            assert path.read_bytes() == data and path.stat().st_mtime_ns == modified_ns, name
            if record.exists():
                assert json.loads(record.read_bytes())["caption"] == self.captions[name], name
                assert self.captions[name] in files[-1].read_text(), name
            self._right[name] = seen

    def check(self) -> None:
        self.check_instant()
        pictures = {*self.captions, *(f"{name}.xmp" for name in self.captions), ".captiond-library"}
        expected = pictures | {f"{name}.caption.json" for name in self.captions}
        files = {str(file.relative_to(self._root)) for file in self._root.rglob("*") if file.is_file()}
        assert files == expected, sorted(files ^ expected)[:10]
