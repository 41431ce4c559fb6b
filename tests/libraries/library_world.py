"""A library, the rooms as its settings build them, and a captioner that says how wide a picture is."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from captiond.libraries import MARKER
from captiond.pictures.pool import Decoders
from captiond.pipeline import Pipeline
from captiond.pipeline.preparing import Preparing
from captiond.records import Answer, CaptionRequest, ModelIdentity, Outcome, Picture
from captiond.service import build
from captiond.service.build import Rooms
from captiond.settings import load
from captiond.status import Gauges, LibraryStatus


class Teller:
    """Says how wide a picture is; counts what it was asked."""

    identity = ModelIdentity("fake", "none")
    is_loaded = True

    def __init__(self, capacity: int = 4) -> None:
        self.capacity = capacity
        self.asked: list[tuple[int, str]] = []  # width and prompt
        self.before: Callable[[int], None] = lambda _: None

    def gauges(self) -> Gauges:
        return Gauges()

    def load(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to close."""

    def needed_side(self, width: int, height: int) -> int | None:
        return None

    def prepare(self, picture: Picture) -> int:
        return picture.image.width

    def ask_all(self, width: int, requests: Any) -> list[Any]:
        return [self.ask(width, request) for request in requests]

    def ask(self, width: int, request: CaptionRequest) -> Answer:
        self.before(width)
        self.asked.append((width, request.prompt))
        return Answer(said(width), None, self.identity, request, 1, 1, "stop")


def said(width: int) -> str:
    return f"A wall, {width} stones wide."


def drawn(width: int) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, 16)).save(buffer, "PNG")
    return buffer.getvalue()


class World:
    def __init__(self, root: Path, decoders: Decoders, *, is_marked: bool = True, **library: Any) -> None:
        self.top, self.decoders = root, decoders
        self.root, self.mirror = root / "photos", root / "mirror"
        for name in ("inbox", "done", "failed", "state", "photos"):
            (root / name).mkdir(exist_ok=True)
        self.library = {"name": "photos", "path": str(self.root), "existing": True, **library}
        self.settings: dict[str, Any] = {
            "folders": {name: str(root / name) for name in ("inbox", "done", "failed", "state")},
            "watch": {"settle_seconds": 0.02, "rescan_seconds": 0.05, "method": "polling"},
            "model": {"backend": "openai", "id": "fake", "base_url": "http://127.0.0.1:9/v1"},
            "libraries": [self.library],
        }
        self.teller = Teller()
        self.told: list[Outcome] = []
        self.stop = threading.Event()
        self.before: dict[str, tuple[bytes, int]] = {}
        self.status: LibraryStatus | None = None
        if is_marked:
            (self.root / MARKER).write_text("")

    def put(self, name: str, width: int) -> Path:
        """A picture whose bytes and time are to stay as they are."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn(width))
        os.utime(path, (1_600_000_000 + width, 1_600_000_000 + width))
        self.before[name] = path.read_bytes(), path.stat().st_mtime_ns
        return path

    def rename(self, old: str, new: str) -> None:
        (self.root / new).parent.mkdir(parents=True, exist_ok=True)
        (self.root / old).rename(self.root / new)
        self.before[new] = self.before.pop(old)

    def record(self, name: str) -> Path:
        return (self.mirror if self.mirror.exists() else self.root) / f"{name}.caption.json"

    def sidecar(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.record(name).read_text(encoding="utf-8"))
        return told

    def rooms(self) -> Rooms:
        file = self.top / "captiond.yaml"
        file.write_text(json.dumps(self.settings))
        return build.build(load(file, {}, self.top))

    @contextmanager
    def opened(self, *, once: bool = True) -> Iterator[tuple[Rooms, Pipeline[int]]]:
        rooms = self.rooms()
        rooms.delivery.open()
        rooms.inbox.start()
        try:
            with rooms.libraries.looked_through(once=once):
                yield (
                    rooms,
                    Pipeline(
                        rooms.inbox,
                        rooms.delivery,
                        self.teller,
                        Preparing(self.teller, self.decoders),
                        gate=rooms.gate,
                        tally=rooms.tally,
                        tell=self.told.append,
                        suspects=rooms.attempts.begun(),
                        libraries=rooms.libraries,
                    ),
                )
                (self.status,) = rooms.libraries.status()
        finally:
            rooms.inbox.close()
            rooms.delivery.close()
            rooms.attempts.close()

    def serve(self) -> list[int]:
        """Until nothing waits; the widths that were asked about."""
        before = len(self.teller.asked)
        with self.opened() as (_, work):
            work.run(self.stop, once=True)
        self.check_untouched()
        return sorted(width for width, _ in self.teller.asked[before:])

    def check_untouched(self) -> None:
        """No byte and no time of a picture has changed, and nothing of ours lies about."""
        for name, (data, modified_ns) in self.before.items():
            assert (self.root / name).read_bytes() == data, name
            assert (self.root / name).stat().st_mtime_ns == modified_ns, name
        names = {path.name for path in (*self.root.rglob("*"), *self.mirror.rglob("*"))}
        assert not {name for name in names if name.startswith(".captiond-")} - {MARKER}

    def forget_state(self) -> None:
        for file in (self.top / "state").iterdir():
            file.unlink()
