"""Promises about `output.approve` and `captiond approve`, as people use them: real daemons, real files."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from captiond.sidecar.schema import json_schema
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer, Handler
from test_webhook import Receiver

SURE, DOUBTFUL = "A grey painting, {} wide.", "A sign with the number 555-0142 on it, {} wide."
WIDE = 100  # and more: the server is in doubt about it
ADA = "ada-0123456789abcdef"
DESCRIPTION = 0x010E


def picture(width: int) -> bytes:
    """One that shows something: a blank one needs a look."""
    buffer = io.BytesIO()
    Image.effect_noise((width, 30), 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


class World:
    def __init__(self, root: Path, server: FakeChatServer, **sections: Any) -> None:
        self.server = server
        self.place = Place(root, {"model": server.settings, "watch": {"settle_seconds": 0.05}})
        self.dropped: dict[str, bytes] = {}
        self.settle(**sections)
        self.says(SURE, DOUBTFUL)

    def says(self, sure: str, doubtful: str) -> None:
        def answer(handler: Handler) -> None:
            width = handler.seen.image.width
            handler.say((doubtful if width >= WIDE else sure).format(width))

        self.server.always = answer

    def settle(self, **sections: Any) -> None:
        values = json.loads(self.place.settings.read_text())
        self.place.settings.write_text(json.dumps(values | sections))

    def drop(self, **widths: int) -> None:
        for name, width in widths.items():
            path = f"{name.replace('_', '/')}.jpg"
            self.dropped[path] = picture(width)
            self.place.drop(self.dropped[path], path)

    def deliver(self, **widths: int) -> None:
        self.drop(**widths)
        ended = self.place.once()
        assert ended.returncode == 0, ended.stderr

    def say(self, command: str, *options: str | Path, code: int = 0) -> str:
        ended = captiond(command, "-c", self.place.settings, *options)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def waits(self, path: str) -> bool:
        """Whether the texts wait; then the picture is the dropped one, else it says what its sidecar says."""
        record, image = self.place.sidecar(path), (self.place.done / path).read_bytes()
        Draft202012Validator(json_schema()).validate(record)
        assert record["published"]["sha256"] == hashlib.sha256(image).hexdigest()
        is_waiting = record.get("approval", {}).get("state") == "waiting"
        assert (image == self.dropped[path]) is is_waiting
        with Image.open(io.BytesIO(image)) as opened:
            assert opened.getexif().get(DESCRIPTION) == (None if is_waiting else record["caption"])
        return is_waiting


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    with FakeChatServer() as server:
        yield server


def test_what_is_unsure_waits_and_a_command_approves_it(tmp_path: Path, server: FakeChatServer) -> None:
    """Only texts that need a look; told by status and explain, listed, approved by name."""
    with Receiver() as receiver:
        world = World(tmp_path, server, output={"approve": "unsure", "xmp_sidecar": "always"})
        world.settle(notify={"url": receiver.url})
        world.deliver(sure=50, trip_doubtful=120, trip_other=130)
        told = {one["path"]: one.get("awaits_approval") for one in receiver.got}
        assert told == {"sure.jpg": None, "trip/doubtful.jpg": True, "trip/other.jpg": True}
        waiting = [path for path in world.dropped if world.waits(path)]
        assert waiting == ["trip/doubtful.jpg", "trip/other.jpg"]
        assert [file.name for file in world.place.done.rglob("*.xmp")] == ["sure.jpg.xmp"]
        assert "waiting for approval: 2" in world.say("status")
        assert "its texts wait for approval: A sign" in world.say("explain", "trip/doubtful.jpg")
        listed = world.say("approve")
        assert "trip/other.jpg: A sign with" in listed and "Waiting for approval: 2." in listed
        assert world.waits("trip/doubtful.jpg")
        file = world.place.done / "trip/doubtful.jpg"
        said = json.loads(world.say("approve", file, "--by", "Ada", "--json"))
        caption = DOUBTFUL.format(120)
        assert said == {"path": "trip/doubtful.jpg", "state": "approved", "caption": caption}
        record = world.place.sidecar("trip/doubtful.jpg")
        assert not world.waits("trip/doubtful.jpg") and record["approval"]["by"] == "Ada"
        assert "needs_look" not in record and caption in (tmp_path / "done/trip/doubtful.jpg.xmp").read_text()
        event = receiver.got[-1]
        assert (event["event"], event["delivered"]) == ("approved", "trip/doubtful.jpg")
        assert "awaits_approval" not in event and "needs_look" not in event
        assert "do not wait" in world.say("approve", "trip/doubtful.jpg", code=1)
        assert "no such captioned picture" in world.say("approve", "nothing.jpg", code=1)
        assert "was captioned and lies in" in world.say("explain", "trip/doubtful.jpg")


@pytest.mark.long
def test_filters_choose_what_is_approved(tmp_path: Path, server: FakeChatServer) -> None:
    """By folder, model, age and doubt; what changed meanwhile is refused; undo has the picture as it was."""
    world = World(tmp_path, server, output={"approve": "all"})
    world.deliver(a=50, trip_b=51, trip_c=120, trip_d=52)
    (world.place.done / "trip/d.jpg").write_bytes(b"retouched")

    def approve(*options: str, code: int = 0) -> dict[str, str]:
        lines = world.say("approve", "--json", *options, code=code).splitlines()
        return {one["path"]: one["state"] for one in map(json.loads, lines)}

    assert approve("--older-than", "1h") == approve("--made-by", "another") == {}
    assert approve("--needs-look") == {"trip/c.jpg": "waiting"}
    chosen = approve("--under", "trip", "--yes", code=1)
    assert chosen == {"trip/b.jpg": "approved", "trip/c.jpg": "approved", "trip/d.jpg": "refused"}
    assert world.waits("a.jpg") and not world.waits("trip/b.jpg") and not world.waits("trip/c.jpg")
    assert (world.place.done / "trip/d.jpg").read_bytes() == b"retouched"
    assert "not both" in world.say("approve", "a.jpg", "--under", "trip", code=2)
    world.say("undo", "trip/c.jpg")
    assert world.waits("trip/c.jpg") and world.place.sidecar("trip/c.jpg")["needs_look"] is True
    assert "Approved: 2." in world.say("approve", "a.jpg", "trip/c.jpg")


@pytest.mark.long
def test_a_redo_leaves_what_was_approved(tmp_path: Path, server: FakeChatServer) -> None:
    """What waits is described again and waits on; what was approved only with --edited, and waits then."""
    world = World(tmp_path, server, output={"approve": "all"})
    world.deliver(a=50, b=51)
    world.say("approve", "a.jpg")
    world.says("Something else, {} wide.", DOUBTFUL)
    assert "1 picture: approved by a person (--edited takes them, too)" in world.say("redo", "--yes")
    world.place.once()
    assert world.place.sidecar("a.jpg")["caption"] == SURE.format(50) and not world.waits("a.jpg")
    assert world.place.sidecar("b.jpg")["caption"] == "Something else, 51 wide." and world.waits("b.jpg")
    world.say("redo", "--edited", "--yes")
    world.place.once()
    assert world.place.sidecar("a.jpg")["caption"] == "Something else, 50 wide." and world.waits("a.jpg")
    world.say("undo", "a.jpg")
    assert world.place.sidecar("a.jpg")["caption"] == SURE.format(50) and not world.waits("a.jpg")


@pytest.mark.long
def test_an_import_of_what_waits_approves_it(tmp_path: Path, server: FakeChatServer) -> None:
    """Only the lines that say something else: a person has seen these words."""
    world = World(tmp_path, server, output={"approve": "all"})
    world.deliver(a=50, b=51)
    table = tmp_path / "table.csv"
    table.write_text(world.say("export").replace(SURE.format(50), "My painting."))
    world.say("import", table, "--yes")
    assert not world.waits("a.jpg") and world.place.sidecar("a.jpg")["caption"] == "My painting."
    assert world.waits("b.jpg")


@pytest.mark.long
def test_the_same_answer_and_the_same_file_wait_alike(tmp_path: Path, server: FakeChatServer) -> None:
    """A cached answer is judged like a new one; a duplicate of what waits, or was approved, is no news."""
    world = World(tmp_path, server, output={"approve": "unsure"})
    world.deliver(a=120)
    world.dropped["copy.jpg"] = world.dropped["a.jpg"]
    for _ in range(2):
        for name, data in world.dropped.items():
            world.place.drop(data, name)
        assert world.place.once().returncode == 0
        assert len(list(world.place.done.glob("*.jpg"))) == 2 and world.place.left_in_inbox() == []
        assert world.waits("copy.jpg") and "cached_from" in world.place.sidecar("copy.jpg")
        if world.waits("a.jpg"):
            world.say("approve", "a.jpg")
    assert not world.waits("a.jpg")


@pytest.mark.long
def test_profiles_environment_and_reload_decide(tmp_path: Path, server: FakeChatServer) -> None:
    """A profile's word for its own; a reload for the next picture; what was delivered before stays."""
    world = World(tmp_path, server, profiles=[{"match": "shop/**", "output": {"approve": "all"}}])
    with world.place.running() as daemon:

        def served(name: str, **width: int) -> bool:
            world.drop(**width)
            daemon.until((world.place.done / f"{name}.caption.json").exists)
            return world.waits(name)

        assert served("shop/a.jpg", shop_a=50) and not served("b.jpg", b=51)
        world.settle(output={"approve": "all"})
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: "settings read again" in daemon.log())
        assert served("c.jpg", c=52) and not world.waits("b.jpg")
        assert "output.approve" in daemon.log()
    world.drop(d=53)
    assert world.place.once(CAPTIOND_OUTPUT__APPROVE="false").returncode == 0
    assert not world.waits("d.jpg") and world.waits("c.jpg")


def test_the_door_approves_many_and_notes_who(tmp_path: Path, server: FakeChatServer) -> None:
    """By a named token; refusals one by one; filters, status and metrics follow, also after a command."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    (tmp_path / "tokens").write_text(f"ada edit {ADA}\nben look ben-0123456789abcdef\n")
    (tmp_path / "tokens").chmod(0o600)
    http = {"listen": address, "tokens_file": str(tmp_path / "tokens")}
    world = World(tmp_path, server, output={"approve": "all"}, http=http)
    names = {"a": 50, "b": 51, "c": 120, "d": 52, "e": 53}
    world.drop(**names)
    headers = {"Authorization": f"Bearer {ADA}"}
    door = httpx.Client(base_url=f"http://{address}", headers=headers, trust_env=False, timeout=60)
    with world.place.running() as daemon, door:

        def found(**filters: str) -> dict[str, int]:
            answer = door.get("/api/pictures", params=filters).json()["pictures"]
            return {one["path"]: one["id"] for one in answer}

        daemon.until(lambda: len(found()) == 5)
        ids = found(awaits_approval="true")
        assert ids == found(to_review="true") == found() and found(awaits_approval="false") == {}
        assert door.get("/api/status").json()["counts"]["awaits_approval"] == 5
        few = {"ids": [ids["a.jpg"], ids["a.jpg"], ids["c.jpg"], 999]}
        ben = {"Authorization": "Bearer ben-0123456789abcdef"}
        assert door.post("/api/approve", json=few, headers=ben).status_code == 403
        answer = door.post("/api/approve", json=few).json()
        assert answer == {
            "approved": 2,
            "refused": [{"id": 999, "why": "there is no such picture any more"}],
        }
        for path in ("a.jpg", "c.jpg"):
            assert not world.waits(path) and world.place.sidecar(path)["approval"]["by"] == "ada"
        again = door.post("/api/approve", json={"ids": [ids["a.jpg"]]}).json()
        assert again["approved"] == 0 and "do not wait" in again["refused"][0]["why"]
        assert door.post("/api/approve", json={"ids": []}).status_code == 422
        edited = door.patch(f"/api/pictures/{ids['b.jpg']}", json={"caption": "Mine."}).json()
        assert edited["awaits_approval"] is False and not world.waits("b.jpg")
        assert set(found(awaits_approval="true")) == {"d.jpg", "e.jpg"}
        assert door.get("/api/status").json()["totals"]["awaits_approval"] == 2
        world.say("approve", "d.jpg")
        daemon.until(lambda: set(found(awaits_approval="true")) == {"e.jpg"})
        assert "waiting for approval: 1" in world.say("status")
        undone = door.post(f"/api/pictures/{ids['a.jpg']}/undo", json={}).json()
        assert undone["awaits_approval"] is True and world.waits("a.jpg")
        accepted = door.post(f"/api/pictures/{ids['a.jpg']}/accept", json={}).json()
        assert accepted["awaits_approval"] is False and not world.waits("a.jpg")
        metrics = door.get("/metrics").text
        assert "captiond_awaiting_approval 1.0" in metrics
        assert 'captiond_changes_total{event="approved"} 4.0' in metrics


@pytest.mark.long
def test_approval_does_not_count_in_libraries(tmp_path: Path, server: FakeChatServer) -> None:
    """Nothing is ever written into a picture there: its .xmp appears at once, and the JSON says no word."""
    library = tmp_path / "photos"
    library.mkdir()
    (library / "a.jpg").write_bytes(picture(120))
    world = World(tmp_path, server, output={"approve": "all"})
    world.settle(libraries=[{"name": "photos", "path": str(library), "existing": True}])
    added = captiond("library", "add", library, "-c", world.place.settings, "--yes")
    assert added.returncode == 0, added.stderr
    assert world.place.once().returncode == 0
    assert (library / "a.jpg.xmp").exists()
    assert "approval" not in json.loads((library / "a.jpg.caption.json").read_text())
