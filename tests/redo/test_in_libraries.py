"""Promises about redo, undo, export and import in libraries: real daemons, commands and files."""

from __future__ import annotations

import csv
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

from captiond.libraries import MARKER
from captiond.sidecar.schema import json_schema
from daemon_process import captiond
from fake_chat_server import FakeChatServer
from redo.test_redo import FIRST, SECOND, Told, picture


class Shelf(Told):
    """A place with a library beside it, and pictures in both."""

    def __init__(self, root: Path, server: FakeChatServer, **library: Any) -> None:
        self.root = root / "photos"
        self.root.mkdir()
        (self.root / MARKER).write_text("")
        named = {"name": "photos", "path": str(self.root), "existing": True, **library}
        super().__init__(root, server)
        settings = json.loads(self.place.settings.read_text())
        self.place.settings.write_text(json.dumps(settings | {"libraries": [named]}))
        self.before: dict[str, tuple[bytes, int]] = {}

    def put(self, number: int, name: str) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(number))
        self.before[name] = path.read_bytes(), path.stat().st_mtime_ns

    def once(self) -> None:
        ended = self.place.once()
        assert ended.returncode == 0, ended.stderr

    def said(self, name: str) -> str:
        """What sidecar and .xmp say, which agree; no picture has changed."""
        told = self.told(name)
        Draft202012Validator(json_schema()).validate(told)
        assert told["caption"] in (self.root / f"{name}.xmp").read_text()
        for other, (data, modified_ns) in self.before.items():
            path = self.root / other
            assert (path.read_bytes(), path.stat().st_mtime_ns) == (data, modified_ns)
        return str(told["caption"])

    def told(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / f"{name}.caption.json").read_text())
        return found

    def run(self, *arguments: Any, code: int = 0) -> str:
        command, *more = arguments
        ended = captiond(command, "-c", self.place.settings, *more)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with FakeChatServer() as server:
        made = Shelf(tmp_path, server)
        for number, name in enumerate(("a.jpg", "trip/b.jpg", "trip/c.jpg")):
            made.put(number, name)
        made.deliver("done.jpg")
        yield made


def test_pictures_of_a_library_are_described_again_and_back(shelf: Shelf) -> None:
    """A dry run counts them apart, a list does it, an edit stays, undo goes back; no picture changes."""
    rows = list(csv.DictReader(io.StringIO(shelf.run("export"), newline="")))
    told = [(row["path"], row["library"]) for row in rows]
    assert told == [
        ("done.jpg", ""),
        ("photos/a.jpg", "photos"),
        ("photos/trip/b.jpg", "photos"),
        ("photos/trip/c.jpg", "photos"),
    ]
    rows[2]["caption"] = "Mine."
    table = shelf.place.root / "texts.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert "line 4 (photos/trip/b.jpg): caption" in shelf.run("import", table)
    assert shelf.said("trip/b.jpg") == FIRST.format(1)
    shelf.run("import", table, "--yes")
    assert shelf.said("trip/b.jpg") == "Mine." and "edited" in shelf.told("trip/b.jpg")
    assert "0 pictures" in shelf.run("import", table, "--yes")
    shelf.says(SECOND)
    asked = shelf.asked
    dry = shelf.redo("--under", "photos/trip")
    assert "1 picture of the library 'photos'" in dry and "edited by a person" in dry and "done" not in dry
    dry = shelf.redo()
    assert f"1 picture of {shelf.place.done}" in dry and "2 pictures of the library 'photos'" in dry
    assert "3 pictures are to be described again" in shelf.redo("--yes") and len(shelf.waits()) == 2
    shelf.once()
    assert shelf.asked - asked == 3 and not shelf.waits()
    assert [shelf.said(name) for name in ("a.jpg", "trip/b.jpg", "trip/c.jpg")] == [
        SECOND.format(0),
        "Mine.",
        SECOND.format(2),
    ]
    assert shelf.told("a.jpg")["history"][0]["caption"] == FIRST.format(0)
    assert shelf.caption("done.jpg") == SECOND.format(0)
    for given, name in (("photos/a.jpg", "a.jpg"), (shelf.root / "trip/c.jpg.caption.json", "trip/c.jpg")):
        assert shelf.run("undo", given) == f"photos/{name}: {shelf.said(name)}\n"
        assert shelf.said(name).startswith("The first answer")
    shelf.once()
    assert shelf.asked - asked == 3, "our own changes start nothing"


@pytest.mark.long
def test_a_library_that_is_away_keeps_its_list_for_later(shelf: Shelf) -> None:
    """Each command says so in a sentence; done/ is served; when the library is back, the list goes on."""
    table = shelf.place.root / "texts.jsonl"
    table.write_text(shelf.run("export", "--format", "jsonl").replace("The first", "Another"))
    id = re.findall(r"list (\S+)\.", shelf.redo("--under", "photos", "--yes"))[0]
    (shelf.root / MARKER).rename(shelf.root / "elsewhere")
    shelf.says(SECOND)
    assert "no .captiond-library" in shelf.run("undo", "photos/a.jpg", code=75)
    assert "no .captiond-library" in shelf.redo("--under", "photos", code=75)
    left_out = shelf.redo("--yes")
    assert "Left out: the library 'photos'" in left_out and "1 pictures are to be" in left_out
    assert "Left out: the library 'photos'" in shelf.run("export", code=1)
    refused = shelf.run("import", table, code=1)
    assert refused.count("the library 'photos' has no .captiond-library") == 3
    shelf.place.once()
    assert shelf.caption("done.jpg") == SECOND.format(0)
    assert "3 left" in shelf.redo("--list")
    (shelf.root / "elsewhere").rename(shelf.root / MARKER)
    shelf.once()
    assert "3 of 3 described again, finished" in shelf.redo("--list") and id in shelf.redo("--list")
    assert shelf.said("a.jpg") == SECOND.format(0)


@pytest.mark.long
def test_a_path_that_means_two_pictures_is_refused(shelf: Shelf) -> None:
    """A folder of done/ may be called like the library: then whole paths say which is meant."""
    shelf.deliver("photos/a.jpg")
    shelf.says(SECOND)
    assert "give the whole path" in shelf.run("undo", "photos/a.jpg", code=2)
    assert "give the whole path" in shelf.redo("--under", "photos", code=2)
    assert "3 pictures of the library" in shelf.redo("--under", str(shelf.root))
    assert f"1 picture of {shelf.place.done}" in shelf.redo("--under", str(shelf.place.done / "photos"))
    table = shelf.place.root / "texts.jsonl"
    lines = [json.loads(line) for line in shelf.run("export", "--format", "jsonl").splitlines()]
    twins = [line for line in lines if line["path"] == "photos/a.jpg"]
    assert [line["library"] for line in twins] == [None, "photos"]
    changed = [line | {"caption": f"Of {line['library']}."} for line in twins]
    table.write_text("".join(json.dumps(line) + "\n" for line in changed))
    shelf.run("import", table, "--yes")
    assert shelf.caption("photos/a.jpg") == "Of None." and shelf.said("a.jpg") == "Of photos."
    without = [{key: value for key, value in line.items() if key != "library"} for line in changed]
    table.write_text("".join(json.dumps(line) + "\n" for line in without))
    assert shelf.run("import", table, code=1).count("give the whole path") == 2


@pytest.mark.long
def test_a_list_of_a_library_outlives_a_killed_daemon(tmp_path: Path) -> None:
    """It goes on where it was: each picture says the new words once, and keeps the former ones once."""
    with FakeChatServer() as server:
        shelf, names = Shelf(tmp_path, server), [f"{number}.jpg" for number in range(12)]
        for number, name in enumerate(names):
            shelf.put(number, name)
        shelf.once()
        shelf.redo("--yes")
        shelf.says(SECOND)
        server.seconds_per_answer = 0.1
        asked = shelf.asked
        with pytest.raises(AssertionError), shelf.place.running() as daemon:
            daemon.until(lambda: shelf.asked > asked + 5)
            os.kill(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait(30)
        server.seconds_per_answer = 0.0
        shelf.once()
        assert [shelf.said(name) for name in names] == [SECOND.format(number) for number in range(12)]
        assert all(len(shelf.told(name)["history"]) == 1 for name in names)
        under_way = 4  # half of model.max_concurrency
        assert 12 <= shelf.asked - asked <= 12 + under_way
        assert "12 of 12 described again, finished" in shelf.redo("--list")
