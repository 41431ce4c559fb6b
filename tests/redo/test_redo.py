"""Promises about `captiond redo` and `undo`, as people use them: real daemons, a real server, real files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from captiond.sidecar.schema import json_schema
from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer, Handler

FIRST, SECOND = "The first answer about {}.", "The second answer about {}."


def picture(number: int, format: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40 + number, 30), (number, 90, 120)).save(buffer, format)
    return buffer.getvalue()


class Told:
    """A place, and a server whose answers tell which picture they are about."""

    def __init__(self, root: Path, server: FakeChatServer, **settings: Any) -> None:
        self.server = server
        self.place = Place(root, {"model": server.settings, "watch": {"settle_seconds": 0.05}, **settings})
        self.says(FIRST)

    def says(self, words: str) -> None:
        def answer(handler: Handler) -> None:
            handler.say(words.format(handler.seen.image.width - 40))

        self.server.always = answer

    @property
    def asked(self) -> int:
        """How often about one of our pictures, and not about those by which a daemon tries a server."""
        return sum(one.image.height == 30 for one in self.server.seen)

    def deliver(self, *names: str) -> None:
        for number, name in enumerate(names):
            self.place.drop(picture(number), name)
        ended = self.place.once()
        assert ended.returncode == 0, ended.stderr

    def redo(self, *options: str, code: int = 0) -> str:
        ended = captiond("redo", "-c", self.place.settings, *options)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def caption(self, name: str) -> str:
        """What sidecar and picture say, which agree."""
        record, image = self.place.sidecar(name), self.place.done / name
        Draft202012Validator(json_schema()).validate(record)
        assert record["published"]["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
        with Image.open(image) as opened:
            assert opened.getexif()[0x010E] == record["caption"]
        return str(record["caption"])

    def rewrite(self, name: str, **changes: Any) -> None:
        file = self.place.done / f"{name}.caption.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    def waits(self) -> list[Path]:
        return list((self.place.root / "state/redo").glob("*.json"))


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with FakeChatServer() as server:
        yield Told(tmp_path, server)


EDITED = {"at": "2026-11-24T18:30:00Z", "model_caption": "What it said."}


def test_a_redo_counts_first_and_then_does_it(told: Told) -> None:
    """Each that is meant is asked about once; what is left out is told with its reason, twice."""
    names = ["a.jpg", "b.jpg", "trip/c.jpg", "edited.jpg", "changed.jpg", "gone.jpg"]
    told.deliver(*names)
    told.rewrite("edited.jpg", edited=EDITED)
    with (told.place.done / "changed.jpg").open("ab") as file:
        file.write(b"retouched")
    (told.place.done / "gone.jpg").unlink()
    told.says(SECOND)
    asked = told.asked
    dry = told.redo()
    assert "3 pictures" in dry and "in about" in dry and "  trip/c.jpg: The first answer about 2." in dry
    for reason in ("edited by a person", "changed since", "taken away"):
        assert f"1 picture: {reason}" in dry
    assert not (told.place.root / "state/redo").exists()
    begun = told.redo("--yes")
    assert "No daemon runs" in begun and "3 left" in told.redo("--list")
    told.place.once()
    assert told.asked - asked == 3
    assert [told.caption(name) for name in names[:3]] == [SECOND.format(number) for number in range(3)]
    assert told.place.sidecar("edited.jpg")["caption"] == FIRST.format(3)
    (former,) = told.place.sidecar("a.jpg")["history"]
    assert (former["caption"], former["why"]) == (FIRST.format(0), "redo")
    assert "3 of 3 described again, finished" in told.redo("--list")
    assert told.redo("--under", "nothing").startswith("0 pictures")


@pytest.mark.long
def test_what_happens_after_the_choice_is_left_as_it_is(told: Told) -> None:
    """Edited, changed, gone, held or another by then: each stays, and --list says why."""
    names = ["edited.jpg", "changed.jpg", "gone.jpg", "held.jpg", "fine.jpg"]
    told.deliver(*names)
    told.redo("--yes")
    told.rewrite("edited.jpg", edited=EDITED)
    (told.place.done / "changed.jpg").write_bytes(picture(9))
    (told.place.done / "gone.jpg").unlink()
    told.says(SECOND)
    asked = told.asked
    with (told.place.done / "held.jpg").open("r+b"):
        told.place.once()
    listed = told.redo("--list")
    assert "1 of 5 described again, finished" in listed
    for name, why in zip(names, ("edited by a person", "changed since", "taken away", "held"), strict=False):
        assert re.search(rf"{name}: {why}", listed), listed
    assert told.asked - asked == 1 and told.caption("fine.jpg") == SECOND.format(4)
    assert (told.place.done / "changed.jpg").read_bytes() == picture(9)


@pytest.mark.long
def test_new_pictures_come_first(told: Told) -> None:
    """One that is dropped while a long list is served waits for one of the list at most."""
    told.deliver(*(f"{number}.jpg" for number in range(12)))
    told.redo("--yes")
    told.server.seconds_per_answer = 0.3
    told.place.settings.write_text(
        json.dumps(
            json.loads(told.place.settings.read_text())
            | {"model": told.server.settings | {"max_concurrency": 1}}
        )
    )
    told.says(SECOND)
    asked = told.asked
    with told.place.running() as daemon:
        daemon.until(lambda: told.asked > asked + 2)
        told.place.drop(picture(99), "new.jpg")
        daemon.until(lambda: (told.place.done / "new.jpg.caption.json").exists())
        widths = [one.image.width - 40 for one in told.server.seen if one.image.height == 30]
        assert widths[-1] == 99 or widths[-2] == 99
        assert told.waits(), "the list was over before"
        daemon.until(lambda: not told.waits())
    assert [told.caption(f"{number}.jpg") for number in range(12)] == [SECOND.format(n) for n in range(12)]
    assert told.asked - asked == 13


@pytest.mark.long
def test_a_list_outlives_a_killed_daemon(told: Told) -> None:
    """It goes on where it was: nothing is asked twice but what was under way."""
    count = 12
    told.deliver(*(f"{number}.jpg" for number in range(count)))
    told.redo("--yes")
    told.server.seconds_per_answer = 0.1
    told.says(SECOND)
    asked = told.asked
    with pytest.raises(AssertionError), told.place.running() as daemon:
        daemon.until(lambda: told.asked > asked + 5)
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait(30)
    told.server.seconds_per_answer = 0.0
    told.place.once()
    assert [told.caption(f"{number}.jpg") for number in range(count)] == [
        SECOND.format(n) for n in range(count)
    ]
    assert all(len(told.place.sidecar(f"{number}.jpg")["history"]) == 1 for number in range(count))
    under_way = 4  # half of model.max_concurrency
    assert count <= told.asked - asked <= count + under_way
    assert f"{count} of {count} described again, finished" in told.redo("--list")


@pytest.mark.long
def test_a_list_is_cancelled(told: Told) -> None:
    """Nothing of it is begun any more; an unknown one is told."""
    told.deliver("a.jpg")
    id = re.findall(r"list (\S+)\.", told.redo("--yes"))[0]
    asked = told.asked
    assert "cancelled" in told.redo("--cancel", id)
    told.redo("--cancel", id, code=1)
    told.redo("--cancel", "../../captiond", code=1)
    told.place.once()
    assert told.asked == asked and "No list waits" in told.redo("--list")


@pytest.mark.long
def test_one_text_is_asked_for_alone(tmp_path: Path) -> None:
    """--missing finds where it is not, --field asks for it; the caption stays as it was said."""
    with FakeChatServer() as server:
        told = Told(tmp_path, server)
        told.deliver("a.jpg", "b.jpg")
        assert "the settings ask for no such text" in told.redo("--missing", "title")
        settings = json.loads(told.place.settings.read_text())
        told.place.settings.write_text(json.dumps(settings | {"fields": {"wanted": ["caption", "title"]}}))
        told.says("A title {}")
        asked = told.asked
        assert "2 pictures" in told.redo("--missing", "title", "--field", "title")
        told.redo("--missing", "title", "--field", "title", "--yes")
        told.place.once()
        assert told.asked - asked == 2
        record = told.place.sidecar("a.jpg")
        assert (told.caption("a.jpg"), record["fields"]) == (FIRST.format(0), {"title": "A title 0"})
        assert b"A title 0" in (told.place.done / "a.jpg").read_bytes()
        assert record["prompt"] == record["history"][0]["prompt"]
        assert told.redo("--missing", "title").startswith("0 pictures")


@pytest.mark.long
def test_people_who_changed_their_mind_undo(told: Told) -> None:
    """Step by step, back to the first; a person's words come back with who they are."""
    told.deliver("trip/a.jpg")
    before = told.place.sidecar("trip/a.jpg")
    told.rewrite("trip/a.jpg", edited=EDITED)
    told.says(SECOND)
    told.redo("--edited", "--yes")
    told.place.once()
    assert told.caption("trip/a.jpg") == SECOND.format(0) and "edited" not in told.place.sidecar("trip/a.jpg")
    for named in (str(told.place.done / "trip/a.jpg"), "trip/a.jpg"):
        ended = captiond("undo", "-c", told.place.settings, named)
        if named != "trip/a.jpg":
            assert (ended.returncode, ended.stdout) == (0, f"trip/a.jpg: {FIRST.format(0)}\n"), ended.stderr
    assert ended.returncode == 1 and "nothing was changed" in ended.stderr
    told.caption("trip/a.jpg")
    after = told.place.sidecar("trip/a.jpg")
    assert after == before | {"edited": EDITED, "published": after["published"]}
    assert captiond("undo", "-c", told.place.settings, "../a.jpg").returncode == 1


@pytest.mark.long
def test_trouble_with_the_server_pauses_and_trouble_with_a_picture_skips(told: Told) -> None:
    """A refusal is one picture's; a server that is down is nobody's, and nothing is lost by it."""
    told.deliver("a.jpg", "b.jpg")
    told.redo("--yes")
    told.says(SECOND)
    fine = told.server.always
    assert fine is not None

    def down_once_then_refuse(handler: Handler) -> None:
        told.server.always = refuse
        handler.complain(503, "busy")

    def refuse(handler: Handler) -> None:
        if handler.seen.image.width == 40:
            handler.say("")
        else:
            fine(handler)

    told.server.always = down_once_then_refuse
    told.place.once()
    listed = told.redo("--list")
    assert "1 of 2 described again, finished" in listed and "could not be described" in listed
    assert (told.caption("a.jpg"), told.caption("b.jpg")) == (FIRST.format(0), SECOND.format(1))


@pytest.mark.long
@pytest.mark.parametrize(
    "forged",
    [
        "nonsense", "[]", '{"schema": "captiond/redo"}', "{" * 3000,
        json.dumps({"schema": "captiond/redo", "schema_version": 1, "done": "/etc", "asked_at": 5}),
    ],
)  # fmt: skip
def test_a_forged_list_is_told_and_stops_nobody(told: Told, forged: str) -> None:
    """It is left where it is, and the next one is served."""
    told.deliver("a.jpg")
    folder = told.place.root / "state/redo"
    folder.mkdir(mode=0o700)
    (folder / "20200101-000000.json").write_text(forged)
    (folder / "20200101-000000.progress").write_text(forged)
    told.redo("--yes")
    told.says(SECOND)
    ended = told.place.once()
    assert ended.returncode == 0 and "cannot be understood" in ended.stderr
    assert told.caption("a.jpg") == SECOND.format(0)
