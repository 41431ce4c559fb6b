"""Libraries as a user meets them: a real daemon over real folders, asking a server that answers at once."""

from __future__ import annotations

import json
import os
import shutil
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


def test_pictures_are_described_where_they_lie_and_once(world: World) -> None:
    """Sidecars appear beside them; no picture changes; a second run asks nothing, nor one without state."""
    for name in ("a.jpg", "trip/b.jpg", "trip/far/c.jpg"):
        world.put(name)
    assert len(world.once()) == 3
    for name, caption in world.captions.items():
        told = world.sidecar(name)
        assert told["caption"] == caption
        assert told["source"]["path"] == name
        assert told["published"]["sha256"] == told["source"]["sha256"]
        assert told["library"]["name"] == "photos"
        assert caption.encode() in (world.root / f"{name}.xmp").read_bytes()
    assert not world.once()
    shutil.rmtree(world.place.root / "state")
    (world.place.root / "state").mkdir()
    assert not world.once()
    assert list(world.place.done.rglob("*.jpg")) == []


def test_a_mirror_leaves_the_library_as_it_was(tmp_path: Path, server: FakeChatServer) -> None:
    """With `sidecars` everything goes to the same path in another folder, the marker of a read-only one too."""
    world = World(tmp_path, server, sidecars=str(tmp_path / "mirror"))
    world.put("trip/a.jpg")
    world.mirror.mkdir()
    (world.mirror / MARKER).write_text("")
    before = sorted(world.root.rglob("*")), world.root.joinpath("trip").stat().st_mtime_ns
    assert len(world.once()) == 1
    assert (sorted(world.root.rglob("*")), world.root.joinpath("trip").stat().st_mtime_ns) == before
    assert world.sidecar("trip/a.jpg", world.mirror)["caption"] == world.captions["trip/a.jpg"]
    assert (world.mirror / "trip" / "a.jpg.xmp").exists()
    assert not world.once()


def test_what_lay_there_before_is_described_only_if_asked_for(tmp_path: Path, server: FakeChatServer) -> None:
    """`existing: false` describes what comes later, whatever its time says; `existing: true` all of it."""
    world = World(tmp_path, server, existing=False)
    world.put("old.jpg")
    time.sleep(0.05)  # two files of one tick of the clock cannot be told apart
    world.mark()
    time.sleep(0.05)
    world.put("new.jpg")
    assert len(world.once()) == 1
    assert world.sidecar("new.jpg") and not (world.root / "old.jpg.caption.json").exists()
    explained = captiond("explain", world.root / "old.jpg", "-c", world.place.settings)
    assert explained.returncode == 0
    world.library["existing"] = True
    world.settle()
    assert len(world.once()) == 1
    assert world.sidecar("old.jpg")["caption"] == world.captions["old.jpg"]


def test_a_renamed_picture_costs_no_question(world: World) -> None:
    """It is known by its content, with the index or without; what it left behind stays and is counted."""
    world.put("a.jpg"), world.put("b.jpg")
    assert len(world.once()) == 2
    for number, name in enumerate(("a.jpg", "b.jpg")):
        if number:
            shutil.rmtree(world.place.root / "state")
            (world.place.root / "state").mkdir()
        (world.root / "moved").mkdir(exist_ok=True)
        (world.root / name).rename(world.root / "moved" / name)
        caption = world.captions[name]
        world.forget(name)
        assert not world.once()
        told = world.sidecar(f"moved/{name}")
        assert told["caption"] == caption
        assert told["source"]["path"] == f"moved/{name}"
        assert (world.root / "moved" / f"{name}.xmp").exists()
        assert (world.root / f"{name}.caption.json").exists()
    assert world.status()["left_behind"] == 2


def test_a_changed_picture_is_described_anew_unless_a_person_edited(world: World) -> None:
    """Our own words make way, also in the .xmp; a person's stay."""
    world.put("ours.jpg"), world.put("theirs.jpg")
    world.once()
    record = world.root / "theirs.jpg.caption.json"
    told = json.loads(record.read_text())
    told |= {
        "caption": "Aunt May.",
        "edited": {"at": "2026-11-29T10:00:00Z", "model_caption": told["caption"]},
    }
    record.write_text(json.dumps(told))
    former = world.captions["ours.jpg"]
    world.put("ours.jpg"), world.put("theirs.jpg")
    assert len(world.once()) == 1
    assert world.sidecar("ours.jpg")["caption"] == world.captions["ours.jpg"] != former
    xmp = (world.root / "ours.jpg.xmp").read_text()
    assert world.captions["ours.jpg"] in xmp and former not in xmp
    assert world.sidecar("theirs.jpg")["caption"] == "Aunt May."
    assert not world.once()


def test_other_questions_are_asked_anew(world: World) -> None:
    """Done is a sidecar with these questions: another prompt asks once more, and the same never."""
    world.put("a.jpg")
    world.once()
    world.settle(caption={"prompt": "What is this?"})
    assert world.once() == ["What is this?"]
    assert not world.once()


XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def test_an_xmp_that_is_there_is_merged_and_a_persons_words_stay(world: World) -> None:
    """Ratings stay beside our words; where a person has described the picture, no .xmp receives ours."""
    world.put("rated.jpg"), world.put("told.jpg")
    (world.root / "rated.jpg.xmp").write_text(XMP)
    about = (
        '<dc:description xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Alt><rdf:li xml:lang="x-default">'
    )
    told = XMP.replace(
        'xmp:Rating="4"/>',
        f'xmp:Rating="4">{about}My dog.</rdf:li></rdf:Alt></dc:description></rdf:Description>',
    )
    (world.root / "told.jpg.xmp").write_text(told)
    assert len(world.once()) == 2
    merged = (world.root / "rated.jpg.xmp").read_text()
    assert 'xmp:Rating="4"' in merged and world.captions["rated.jpg"] in merged
    assert (world.root / "told.jpg.xmp").read_text() == told
    assert world.sidecar("told.jpg")["caption"] == world.captions["told.jpg"]
    assert {
        "target": "xmp-sidecar:dc:description",
        "action": "kept",
        "reason": "kept existing description",
    } in world.sidecar("told.jpg")["written"]


def test_nothing_that_is_not_ours_is_replaced(world: World) -> None:
    """Another program's file with the name of our sidecar stays, and the picture fails and says why."""
    world.put("a.jpg")
    other = world.root / "a.jpg.caption.json"
    other.write_text('{"mine": true}')
    assert not world.once()
    assert other.read_text() == '{"mine": true}'
    assert world.status()["failed"] == 1
    explained = captiond("explain", world.root / "a.jpg", "-c", world.place.settings)
    assert "none of captiond's" in explained.stdout
    other.unlink()
    assert len(world.once()) == 1


def test_a_failure_stays_where_it_lies_and_is_tried_again_when_asked(world: World) -> None:
    """What cannot be read is told in status, and tried again by `captiond retry` or when it changes."""
    broken = world.put("broken.jpg")
    broken.write_bytes(b"\xff\xd8\xff" + bytes(2000) + b"\xff\xd9")
    world.forget("broken.jpg")
    assert not world.once()
    assert world.status()["failed"] == 1
    assert broken.exists() and list(world.place.failed.rglob("*.jpg")) == []
    again = captiond("retry", broken, "-c", world.place.settings)
    assert again.returncode == 0, again.stderr
    assert world.status()["failed"] == 0
    world.once()
    assert world.status()["failed"] == 1
    world.put("broken.jpg")
    assert len(world.once()) == 1
    assert world.status()["failed"] == 0


def test_a_library_that_is_away_waits_alone_and_forgets_nothing(world: World) -> None:
    """Unmounted it is named in status, the inbox is served, and back again it costs no question."""
    world.put("a.jpg")
    with world.running() as daemon:
        daemon.until(lambda: (world.root / "a.jpg.caption.json").exists())
        away = world.root.with_name("elsewhere")
        world.root.rename(away)
        world.root.mkdir()  # a bare mount point
        found = world.until_status(daemon, lambda told: told["state"] == "unavailable")
        assert MARKER in found["reason"]
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


def test_a_mirrored_library_whose_pictures_are_all_gone_is_away(
    tmp_path: Path, server: FakeChatServer
) -> None:
    """Where the marker lies with the sidecars, everything gone at once is a lost mount and no empty library."""
    world = World(tmp_path, server, sidecars=str(tmp_path / "mirror"))
    world.mirror.mkdir()
    (world.mirror / MARKER).write_text("")
    world.put("a.jpg")
    with world.running() as daemon:
        daemon.until(lambda: (world.mirror / "a.jpg.caption.json").exists())
        away = world.root.with_name("elsewhere")
        world.root.rename(away)
        world.root.mkdir()
        found = world.until_status(daemon, lambda told: told["state"] == "unavailable")
        assert "was not" in found["reason"]
        assert (world.mirror / "a.jpg.caption.json").exists()
        world.root.rmdir()
        away.rename(world.root)
        found = world.until_status(daemon, lambda told: told["state"] == "watching")
        assert found["described"] == 1
    assert len(world.asked) == 1


def test_what_comes_while_it_runs_is_described_and_our_own_writes_start_nothing(world: World) -> None:
    """New pictures are found, by events or a scan; sidecars are no news."""
    with world.running() as daemon:
        for name in ("a.jpg", "new/b.jpg"):
            world.put(name)
            daemon.until(lambda name=name: (world.root / f"{name}.caption.json").exists())
        found = world.until_status(daemon, lambda told: told["described"] == told["pictures"] == 2)
        assert found["waiting"] == 0
        explained = captiond("explain", world.root / "a.jpg", "-c", world.place.settings)
        assert world.captions["a.jpg"] in explained.stdout
    assert len(world.asked) == 2


def test_profiles_see_a_librarys_name_before_the_path(world: World) -> None:
    """`photos/**` is the library `photos`; a profile that skips leaves its pictures alone."""
    world.put("a.jpg"), world.put("private/b.jpg")
    values = json.loads(world.place.settings.read_text())
    values["profiles"] = [
        {"match": "photos/private/**", "skip": True},
        {"match": "photos/**", "caption": {"prompt": "Say what this is."}},
    ]
    world.place.settings.write_text(json.dumps(values))
    assert world.once() == ["Say what this is."]
    assert not (world.root / "private" / "b.jpg.caption.json").exists()


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
