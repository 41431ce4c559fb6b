"""Files that are put into the inbox over HTTP, and what the API tells of those that lie there."""

from __future__ import annotations

import hashlib
import io
import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from PIL import Image

from captiond.delivery.intake import BadName, Intake
from captiond.errors import Surroundings
from captiond.formats import extras
from daemon_process import Place, Running
from formats.making import RAWS

TYPED = {"Content-Type": "application/octet-stream"}


def picture(width: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, 40), "green").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def running(place: Place) -> Iterator[tuple[Place, Running, httpx.Client]]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    values = json.loads(place.settings.read_text())
    values["http"] = {"listen": address, "max_upload_bytes": 500_000}
    values["limits"] = {"max_file_bytes": 400_000}
    place.settings.write_text(json.dumps(values))
    with (
        place.running() as daemon,
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=30) as door,
    ):
        yield place, daemon, door


def test_a_picture_is_put_in_and_captioned(running: tuple[Place, Running, httpx.Client]) -> None:
    """Byte for byte, with its folders and its time."""
    place, daemon, door = running
    for width, name in ((60, "trip/söa b.jpg"), (61, "trip/c.jpg")):
        when = {"modified": 1e9}
        answer = door.put(f"/api/inbox/{name}", content=picture(width), params=when, headers=TYPED)
        assert answer.status_code == 201, answer.text
        taken = answer.json()["inbox"]
        daemon.until((place.done / f"{taken}.caption.json").exists)
        source = place.sidecar(taken)["source"]
        assert source["sha256"] == hashlib.sha256(picture(width)).hexdigest()
        assert source["modified_at"].startswith("2001-09-09T01:46:40")
    assert list((place.inbox / ".captiond" / "intake").iterdir()) == []


def test_no_name_leads_out_and_nothing_is_replaced(running: tuple[Place, Running, httpx.Client]) -> None:
    """422 for a path that is none; what lies there stays as it is, and what was sent gets another name."""
    place, _, door = running
    for odd in (
        "../out.jpg", "a/../../out.jpg", "%2e%2e/out.jpg", "a%2f..%2f..%2fout.jpg", "/etc/out.jpg",
        "a//b.jpg", ".captiond/inbox", "a/.captiond/b.jpg", "a%00.jpg", "a%0a.jpg", "a/./b.jpg", "a/",
        "x" * 300 + ".jpg", "/".join(["d"] * 40) + "/a.jpg",
    ):  # fmt: skip
        connection = HTTPConnection(door.base_url.host, door.base_url.port)
        connection.request("PUT", f"/api/inbox/{odd}", picture(50), TYPED)
        assert connection.getresponse().status in (404, 422), odd
        connection.close()
    letter = place.inbox / "letter.txt"
    letter.write_text("mine")
    answer = door.put("/api/inbox/letter.txt", content=b"theirs", headers=TYPED)
    assert answer.status_code == 201 and answer.json()["inbox"] != "letter.txt"
    assert letter.read_text() == "mine"
    beside = door.put("/api/inbox/letter.txt/a.jpg", content=picture(50), headers=TYPED)
    assert beside.status_code == 201 and not beside.json()["inbox"].startswith("letter.txt/")
    assert letter.read_text() == "mine"
    assert sorted(path.name for path in place.root.iterdir() if path.suffix == ".jpg") == []
    assert len([path for path in place.inbox.glob("*.txt") if path.is_file()]) == 2


def test_what_may_not_come_in_leaves_nothing(running: tuple[Place, Running, httpx.Client]) -> None:
    """Too large, empty, sent by a form, sent by another site, or broken off."""
    place, daemon, door = running
    for content, headers, status in (
        (b"0" * 450_000, TYPED, 413),
        (b"0" * 900_000, TYPED, 413),
        (b"", TYPED, 422),
        (picture(50), {"Content-Type": "text/plain"}, 415),
        (picture(50), TYPED | {"Origin": "http://evil.example"}, 403),
    ):
        answer = door.put("/api/inbox/a.jpg", content=content, headers=headers)
        assert answer.status_code == status and answer.json()["detail"], answer.text
    host, port = door.base_url.host, door.base_url.port
    with socket.create_connection((host, port)) as connection:
        head = f"PUT /api/inbox/a.jpg HTTP/1.1\r\nHost: {host}\r\nContent-Length: 300000\r\n"
        connection.sendall(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + b"0" * 270_000)
        daemon.until(lambda: list((place.inbox / ".captiond" / "intake").iterdir()))
    daemon.until(lambda: not list((place.inbox / ".captiond" / "intake").iterdir()))
    assert place.left_in_inbox() == []


def test_what_lies_there_is_told_with_its_reason(running: tuple[Place, Running, httpx.Client]) -> None:
    """Those that somebody has to look after come first, and each sentence is explain's."""
    place, daemon, door = running
    place.drop(picture(300)[:400], "cut.jpg")
    place.drop(b"words", "letter.doc")

    def states() -> list[tuple[str, str]]:
        return [(one["path"], one["state"]) for one in door.get("/api/inbox").json()["files"]]

    daemon.until(lambda: states() == [("cut.jpg", "partial"), ("letter.doc", "ignored")])
    cut, letter = door.get("/api/inbox").json()["files"]
    assert "not whole yet" in cut["sentence"] and cut["wait_seconds"] > 0
    assert letter["sentence"].startswith("ignored: ")


def test_what_a_crash_left_is_removed_by_the_next_start(tmp_path: Path) -> None:
    """And nothing but that."""
    intake = Intake(tmp_path)
    incoming = intake.begin()
    incoming.write(b"half")
    (tmp_path / "mine.jpg").write_bytes(b"mine")
    Intake(tmp_path).clear()
    assert list((tmp_path / ".captiond" / "intake").iterdir()) == []
    assert (tmp_path / "mine.jpg").read_bytes() == b"mine"
    incoming.close()


def test_a_bad_name_is_told_as_such(tmp_path: Path) -> None:
    """A path that leads out, or that no file system holds; what was written is removed when it is closed."""
    incoming = Intake(tmp_path).begin()
    incoming.write(b"0")
    for path in ("..", "a\0b", "", "a" * 256, "/a", "a/../b"):
        with pytest.raises(BadName):
            incoming.finish(path)
    incoming.close()
    assert list((tmp_path / ".captiond" / "intake").iterdir()) == []


def test_an_inbox_that_is_gone_is_the_surroundings_trouble(tmp_path: Path) -> None:
    """It may come back: whoever sends is told to try again."""
    with pytest.raises(Surroundings):
        Intake(tmp_path / "gone").begin()


@pytest.mark.skipif(extras.why_not("raw") is None, reason="the extra raw is installed here")
def test_pictures_that_are_not_served_are_told_by_kind(running: tuple[Place, Running, httpx.Client]) -> None:
    """First among the files, and counted, with what would serve them."""
    place, daemon, door = running
    for name in ("one.dng", "two.NEF"):
        place.drop(RAWS["DNG"], name)
    daemon.until(lambda: [one["files"] for one in door.get("/api/inbox").json()["unserved"]] == [2])
    told = door.get("/api/inbox").json()
    assert told["unserved"][0] == {"kind": "RAW", "files": 2, "advice": "pip install 'captiond[raw]'"}
    assert [one["state"] for one in told["files"][:2]] == ["unserved", "unserved"]
    assert "captiond[raw]" in told["files"][0]["sentence"]
