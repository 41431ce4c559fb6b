"""Libraries as a user meets them: a real daemon over real folders, asking a server that answers at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon_process import Place, Running, captiond
from fake_chat_server import FakeChatServer
from faults.load import picture

MARKER = ".captiond-library"


class World:
    """A daemon's folders, and a library beside them."""

    def __init__(self, root: Path, server: FakeChatServer, **more: Any) -> None:
        self.server = server
        self.root = root / "photos"
        self.root.mkdir(exist_ok=True)
        self.mirror = root / "mirror"
        watch = {"rescan_seconds": 0.2, "method": "polling"}
        self.place = Place(root, {"model": server.settings, "watch": watch})
        self.library: dict[str, Any] = {"name": "photos", "path": str(self.root), "existing": True, **more}
        self.captions: dict[str, str] = {}
        self.before: dict[str, tuple[bytes, int]] = {}
        self._next = 0
        self.settle()

    def settle(self, **more: Any) -> None:
        """Write the settings."""
        values = json.loads(self.place.settings.read_text())
        values["libraries"] = [self.library]
        for section, keys in more.items():
            values.setdefault(section, {}).update(keys)
        self.place.settings.write_text(json.dumps(values))

    def mark(self, *arguments: str) -> None:
        done = captiond("library", "add", self.root, "-c", self.place.settings, "--yes", *arguments)
        assert done.returncode == 0, done.stderr

    def put(self, name: str, number: int | None = None) -> Path:
        """A picture whose bytes and time are to stay as they are."""
        self._next += 1
        data, caption = picture(self._next if number is None else number)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1_600_000_000 + self._next, 1_600_000_000 + self._next))
        self.captions[name] = caption
        self.before[name] = data, path.stat().st_mtime_ns
        return path

    def forget(self, name: str) -> None:
        """The picture was changed or taken away, by the test itself."""
        self.captions.pop(name), self.before.pop(name)

    def sidecar(self, name: str, root: Path | None = None) -> dict[str, Any]:
        record = (root or self.root) / f"{name}.caption.json"
        told: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return told

    def once(self) -> list[str]:
        """`captiond run --once`; the prompts that were asked about pictures."""
        before = len(self.asked)
        done = self.place.once()
        assert done.returncode in (0, 1), done.stderr
        self.check_untouched()
        return self.asked[before:]

    @property
    def asked(self) -> list[str]:
        """What the server was asked about pictures; how it is tried at the start is left out."""
        return [one.prompt for one in self.server.seen if not one.prompt.startswith("Which colour")]

    def check_untouched(self) -> None:
        """No byte and no time of a picture has changed, and nothing of ours lies about."""
        for name, (data, modified_ns) in self.before.items():
            path = self.root / name
            assert path.read_bytes() == data, name
            assert path.stat().st_mtime_ns == modified_ns, name
        names = {path.name for path in (*self.root.rglob("*"), *self.mirror.rglob("*"))}
        assert not {name for name in names if name.startswith(".captiond-")} - {MARKER}

    def status(self) -> dict[str, Any]:
        told = json.loads(captiond("status", "--json", "-c", self.place.settings).stdout)
        found: dict[str, Any] = told["libraries"][0]
        return found

    @contextmanager
    def running(self) -> Iterator[Running]:
        with self.place.running() as daemon:
            yield daemon
        self.check_untouched()

    def until_status(self, daemon: Running, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def is_so() -> object:
            time.sleep(0.1)
            found.append(self.status())
            return holds(found[-1])

        daemon.until(is_so)
        return found[-1]


@pytest.fixture
def world(tmp_path: Path, server: FakeChatServer) -> World:
    made = World(tmp_path, server)
    made.mark()
    return made


def test_a_library_that_is_away_waits_alone_and_forgets_nothing(world: World) -> None:
    """Unmounted it is named in status, the inbox is served, and back again it costs no question."""
    world.put("a.jpg")
    with world.running() as daemon:
        daemon.until(lambda: (world.root / "a.jpg.caption.json").exists())
        away = world.root.with_name("elsewhere")
        world.root.rename(away)
        world.root.mkdir()  # a bare mount point
        # A look between the two says that it is gone; then that it is not marked.
        away_for = lambda told: told["state"] == "unavailable" and MARKER in told["reason"]  # noqa: E731
        world.until_status(daemon, away_for)
        data, caption = picture(500)
        world.place.drop(data, "inbox.jpg")
        daemon.until(lambda: (world.place.done / "inbox.jpg.caption.json").exists())
        assert world.place.sidecar("inbox.jpg")["caption"] == caption
        assert list(world.root.iterdir()) == []
        world.root.rmdir()
        away.rename(world.root)
        world.put("b.jpg")
        daemon.until(lambda: (world.root / "b.jpg.caption.json").exists())
        found = world.until_status(
            daemon, lambda told: told["state"] == "watching" and told["described"] == 2
        )
        assert found["failed"] == 0 and found["left_behind"] == 0
    assert len(world.asked) == 3


def test_what_comes_while_it_runs_is_told_by_every_command(world: World) -> None:
    """New pictures are found, our own sidecars are no news, and what fails is told and tried again."""
    with world.running() as daemon:
        world.put("new/a.jpg")
        daemon.until(lambda: (world.root / "new" / "a.jpg.caption.json").exists())
        broken = world.root / "broken.jpg"
        broken.write_bytes(b"\xff\xd8\xff" + bytes(2000) + b"\xff\xd9")
        found = world.until_status(daemon, lambda told: told["failed"] == 1)
        assert (found["described"], found["waiting"], found["pictures"]) == (1, 0, 2)
        explained = captiond("explain", world.root / "new" / "a.jpg", "-c", world.place.settings)
        assert world.captions["new/a.jpg"] in explained.stdout
        explained = captiond("explain", broken, "-c", world.place.settings)
        assert "failed where it lies" in explained.stdout
        assert "photos" in captiond("status", "-c", world.place.settings).stdout
        world.put("broken.jpg")
        daemon.until(lambda: (world.root / "broken.jpg.caption.json").exists())
        world.until_status(daemon, lambda told: told["failed"] == 0 and told["described"] == 2)
    assert len(world.asked) == 2
    assert captiond("retry", "-c", world.place.settings).returncode == 0
    explained = captiond("explain", world.root / "new" / "a.jpg", "-c", world.place.settings)
    assert world.captions["new/a.jpg"] in explained.stdout


def test_adding_says_what_it_found_and_writes_nothing_without_a_yes(
    tmp_path: Path, server: FakeChatServer
) -> None:
    """The command counts, estimates, and names the lines for the settings; only --yes marks the folder."""
    world = World(tmp_path, server)
    values = json.loads(world.place.settings.read_text())
    del values["libraries"]
    world.place.settings.write_text(json.dumps(values))
    world.put("a.jpg"), world.put("b/c.jpg")
    said = captiond("library", "add", world.root, "--existing", "-c", world.place.settings)
    assert said.returncode == 0, said.stderr
    assert "2 pictures" in said.stdout and "2 are to be described" in said.stdout
    assert "name: photos" in said.stdout and "existing: true" in said.stdout
    assert not (world.root / MARKER).exists()
    assert captiond("library", "add", world.root, "--yes", "-c", world.place.settings).returncode == 0
    assert (world.root / MARKER).exists()
    inside = captiond("library", "add", world.place.inbox, "-c", world.place.settings)
    assert inside.returncode == 78 and "same folder" in inside.stderr


def test_folders_that_lie_inside_one_another_are_refused(tmp_path: Path, server: FakeChatServer) -> None:
    """A library is no part of the inbox, nor of another library."""
    world = World(tmp_path, server)
    world.library["path"] = str(world.place.inbox / "photos")
    world.settle()
    refused = world.place.once()
    assert refused.returncode == 78
    assert "lie inside one another" in refused.stderr and "line 1" in refused.stderr
