"""Promises about pictures of libraries on the page, asked of a real daemon over its API."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from captiond.libraries import MARKER
from daemon_process import Place, Running, free_port
from fake_chat_server import FakeChatServer
from open_page import picture

NAME = "trip/wall.png"


class World:
    """A daemon that has described a picture where it lies."""

    def __init__(self, root: Path, server: FakeChatServer) -> None:
        self.root, self.server, self.port = root / "photos", server, free_port()
        self.path = self.root / NAME
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(picture("gray", 60, 16, "PNG"))
        (self.root / MARKER).write_text("")
        watch = {"settle_seconds": 0.05, "rescan_seconds": 0.2, "method": "polling"}
        http = {"listen": f"127.0.0.1:{self.port}"}
        self.place = Place(root, {"model": server.settings, "watch": watch, "http": http})
        settings = json.loads(self.place.settings.read_text())
        settings["libraries"] = [{"name": "photos", "path": str(self.root), "existing": True}]
        self.place.settings.write_text(json.dumps(settings))
        self.before = self.path.read_bytes(), self.path.stat().st_mtime_ns

    def told(self) -> dict[str, Any]:
        """What the sidecar says, and the .xmp, too; the picture is as it was."""
        assert (self.path.read_bytes(), self.path.stat().st_mtime_ns) == self.before
        told: dict[str, Any] = json.loads(self.path.with_name("wall.png.caption.json").read_text())
        assert told["caption"] in self.path.with_name("wall.png.xmp").read_text()
        return told

    @property
    def asked(self) -> list[str]:
        return [one.prompt for one in self.server.seen if not one.prompt.startswith("Which colour")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeChatServer() as server:
        yield World(tmp_path, server)


def picture_of(client: httpx.Client, daemon: Running) -> dict[str, Any]:
    """The one picture, once it is listed and there."""
    found: list[dict[str, Any]] = []

    def is_listed() -> bool:
        found[:] = client.get("/api/pictures").json()["pictures"]
        return bool(found) and bool(found[0]["is_there"])

    daemon.until(is_listed)
    return found[0]


def test_a_picture_of_a_library_is_seen_edited_asked_about_and_put_back(world: World) -> None:
    """Its thumbnail, a person's words, the former ones, another prompt; away, it is refused."""
    with (
        world.place.running() as daemon,
        httpx.Client(base_url=f"http://127.0.0.1:{world.port}", trust_env=False, timeout=60) as client,
    ):
        listed = picture_of(client, daemon)
        here = f"/api/pictures/{listed['id']}"
        assert (listed["library"], listed["path"], listed["folder"]) == ("photos", f"photos/{NAME}", "done")
        first = listed["caption"]
        shown = client.get(f"{here}/thumbnail").raise_for_status()
        with Image.open(io.BytesIO(shown.content)) as small:
            assert small.width == 60
        changed = client.patch(here, json={"caption": "My wall.", "was": {"caption": first}})
        assert changed.raise_for_status().json()["caption"] == "My wall."
        assert world.told()["edited"]["model_caption"] == first
        late = client.patch(here, json={"caption": "Hers.", "was": {"caption": first}})
        assert late.status_code == 409
        asked = len(world.asked)
        world.server.always = lambda handler: handler.say("Bricks.")
        again = client.post(f"{here}/redo", json={"prompt": "Which material?"})
        assert again.status_code == 202
        daemon.until(lambda: client.get(here).json()["caption"] == "Bricks.")
        assert world.asked[asked:] == ["Which material?"]
        assert [one["caption"] for one in world.told()["history"]] == [first, "My wall."]
        back = client.post(f"{here}/undo", json={}).raise_for_status().json()
        assert back["caption"] == "My wall." == world.told()["caption"] and back["edited_at"]
        world.root.rename(world.root.with_name("elsewhere"))
        away = client.patch(here, json={"caption": "Nobody's."})
        assert away.status_code == 503 and "the library 'photos'" in away.json()["detail"]
        assert client.get(here).json()["is_there"] is None
        world.root.with_name("elsewhere").rename(world.root)
        daemon.until(lambda: client.get(here).json()["is_there"])
        assert world.told()["caption"] == "My wall."
        assert world.asked[asked:] == ["Which material?"], "another prompt for once describes nothing anew"
