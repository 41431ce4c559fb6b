"""A daemon with a model server of its own and pictures whose right captions are known."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from daemon_process import Place, Running, environment
from fake_chat_server import FakeChatServer, Seen

# Pure colours survive the JPEG on the wire.  97, 89 and 3 have no common factor: 25,899 different pictures.
COLORS = {"red": (220, 20, 20), "green": (20, 180, 20), "blue": (20, 20, 220)}
PATIENCE_SECONDS = 60.0


def picture(number: int, *, format: str = "JPEG") -> tuple[bytes, str]:
    """A picture like no other, and the one right caption for it."""
    width, height = 16 + number % 97, 16 + number // 97 % 89
    name = tuple(COLORS)[number % 3]
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), COLORS[name]).save(buffer, format)
    return buffer.getvalue(), f"A {width} by {height} picture, mostly {name}."


class Count(list[Seen]):
    """Counts requests instead of keeping their pictures."""

    asked = 0

    def append(self, seen: Seen) -> None:
        self.asked += 1


class Process(Running):
    """A daemon, which may be started by way of another command."""

    def __init__(self, place: Place, prefix: tuple[str, ...], more: dict[str, str]) -> None:
        if not prefix:
            super().__init__(place, more)
            return
        self._log = place.root / "daemon.log"
        command = [*prefix, sys.executable, "-m", "captiond", "run", "-c", str(place.settings)]
        with self._log.open("ab") as log:
            self._begins = log.tell()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(**more)
            )


class Load:
    def __init__(self, root: Path, server: FakeChatServer, settings: dict[str, dict[str, Any]]) -> None:
        self.server = server
        watch = {"settle_seconds": 0.2, "rescan_seconds": 1}
        self.place = Place(root, {"watch": watch, "model": server.settings} | settings)
        self.captions: dict[str, str] = {}  # of what was dropped, by its name
        self.originals: dict[str, str] = {}  # its sha256
        self.beside: dict[str, str] = {}  # the same of files that travel with pictures
        self._next = 0

    @property
    def asked(self) -> int:
        """How many requests the server had."""
        seen = self.server.seen
        assert isinstance(seen, Count)
        return seen.asked

    def make(self, name: str = "", *, format: str = "JPEG") -> tuple[str, bytes]:
        """A new picture that is expected to be delivered from now on."""
        number, self._next = self._next, self._next + 1
        data, caption = picture(number, format=format)
        name = name or f"{number:05}.jpg"
        self.captions[name], self.originals[name] = caption, hashlib.sha256(data).hexdigest()
        return name, data

    def drop(self, count: int, folder: str = "", *, with_edits: bool = False) -> list[str]:
        """Pictures, and with each of them an .AAE before it."""
        names = []
        for _ in range(count):
            name, data = self.make(f"{folder}/{self._next:05}.jpg" if folder else "")
            if with_edits:
                edit = name.replace(".jpg", ".AAE")
                self.place.drop(data[::-1], edit)
                self.beside[edit] = hashlib.sha256(data[::-1]).hexdigest()
            self.place.drop(data, name)
            names.append(name)
        return names

    def drop_by_copy(self, count: int) -> None:
        """For an inbox on another file system, where a file cannot be renamed into."""
        for _ in range(count):
            name, data = self.make()
            part = self.place.inbox / f"{name}.part"
            part.write_bytes(data)
            part.rename(self.place.inbox / name)

    def launch(self, *prefix: str, **more: str) -> Process:
        """A daemon that begins to start; its log begins anew."""
        (self.place.root / "daemon.log").unlink(missing_ok=True)
        return Process(self.place, prefix, more)

    def start(self, *prefix: str, **more: str) -> Process:
        """A daemon that has come to its work."""
        process = self.launch(*prefix, **more)
        process.until(lambda: '"watching"' in process.log())
        return process

    @contextmanager
    def running(self, *prefix: str, **more: str) -> Iterator[Process]:
        """The same, which must end by SIGTERM with exit code 0."""
        process = self.start(*prefix, **more)
        try:
            yield process
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(PATIENCE_SECONDS) == 0, process.log()
        finally:
            process.process.kill()
            process.process.wait()

    def delivered(self) -> int:
        return sum(name.endswith(".caption.json") for name in files_in(self.place.done))

    def until_delivered(
        self, process: Running, *, but: int = 0, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Wait for everything but so many, looking less often the more there is."""
        every_seconds = min(0.02 + len(self.captions) / 20_000, 0.5)
        deadline = time.monotonic() + patience_seconds
        while self.delivered() < len(self.captions) - but or len(self.place.left_in_inbox()) > 0:
            assert process.process.poll() is None, f"the daemon ended:\n{_what_went_wrong(process)}"
            assert time.monotonic() < deadline, (
                f"{self.delivered()} of {len(self.captions)} were delivered, in the inbox are "
                f"{self.place.left_in_inbox()[:5]}, in failed/ {sorted(files_in(self.place.failed))[:5]}:\n"
                f"{_what_went_wrong(process)}"
            )
            time.sleep(every_seconds)

    def check(self, *, failed: dict[str, str] | None = None) -> None:
        """Everything that was dropped lies in done/ exactly once, whole, rightly captioned; or it failed."""
        failed = failed or {}
        expected = {name for name in self.captions if name not in failed}
        assert self.place.left_in_inbox() == []
        assert files_in(self.place.failed) == {
            f"{name}{end}" for name in failed for end in ("", ".error.json")
        }
        for name, kind in failed.items():
            assert self.place.error(name)["kind"] == kind
            assert _sha256(self.place.failed / name) == self.originals[name]
        found = files_in(self.place.done)
        assert found == {f"{name}{end}" for name in expected for end in ("", ".caption.json")} | {
            *self.beside
        }
        for name, sha256 in self.beside.items():
            assert _sha256(self.place.done / name) == sha256
        for name in expected:
            self.check_delivered(name)
        for folder in (self.place.inbox, self.place.done, self.place.failed):
            left = {path.name for path in (folder / ".captiond").rglob("*") if path.is_file()}
            assert left <= {"lock", "inbox"}, f"left over in {folder}: {left}"

    def has_original(self, name: str) -> bool:
        """Whether it lies whole in the inbox, or in the daemon's hand on its way out."""
        grabbed = (self.place.inbox / ".captiond/grab").glob("*")
        files = [file for file in (self.place.inbox / name, *grabbed) if file.is_file()]
        whole = self.beside[name] if name in self.beside else self.originals[name]
        return any(_sha256(file) == whole for file in files)

    def check_delivered(self, name: str) -> None:
        record = json.loads((self.place.done / f"{name}.caption.json").read_bytes())
        assert record["caption"] == self.captions[name], name
        assert record["source"]["path"] == name and record["source"]["sha256"] == self.originals[name], name
        assert record["published"]["sha256"] == _sha256(self.place.done / name), name


@contextmanager
def loaded(root: Path, *, seconds_per_answer: float = 0.0, **settings: dict[str, Any]) -> Iterator[Load]:
    with FakeChatServer(seconds_per_answer=seconds_per_answer) as server:
        server.seen = Count()
        yield Load(root, server, settings)


def files_in(folder: Path) -> set[str]:
    """Users' files."""
    found = set()
    for parent, folders, names in os.walk(folder):
        if ".captiond" in folders:
            folders.remove(".captiond")
        inner = os.path.relpath(parent, folder)
        found |= {name if inner == "." else f"{inner}/{name}" for name in names}
    return found


def paused(process: Running, reason: str = "") -> Callable[[], bool]:
    """Whether it said that it pauses, for this reason, since it was asked first."""
    before = len(process.log())

    def is_paused() -> bool:
        lines = process.log()[before:].splitlines()
        return any('"paused"' in line and reason in line for line in lines)

    return is_paused


def _what_went_wrong(process: Running) -> str:
    return "\n".join([line for line in process.log().splitlines() if '"captioned"' not in line][-30:])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
