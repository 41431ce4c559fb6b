"""Finding pictures by what is known of them: a real daemon, a real history, and 20,000 lines."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from PIL import Image

from captiond.history import History, Wanted
from captiond.records import Outcome
from daemon_process import Place
from fake_chat_server import FakeChatServer

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def outcome(number: int) -> Outcome:
    """Every tenth failed; a folder for each hundred; two models, two formats; a minute apart."""
    name = f"{number // 100:03}/{number}.jpg"
    return Outcome(
        path=name,
        folder="failed" if number % 10 == 0 else "done",
        delivered=name,
        at=NOON + timedelta(minutes=number),
        sha256=f"{number:064x}",
        caption=f"Picture {number} of a {'dog' if number % 2 else 'cat'}.",
        model="large" if number % 3 else "small",
        format="PNG" if number % 4 == 0 else "JPEG",
        needs_look=number % 25 == 1,
        awaits_approval=number % 30 == 1,
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    history = History(tmp_path_factory.mktemp("state"))
    for start in range(0, 20_000, 5000):
        for number in range(start, start + 5000):
            history.record(outcome(number))
        assert history.flush(60)
    yield history
    history.close()


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        (Wanted(), lambda n: True),
        (Wanted(folder="failed"), lambda n: n % 10 == 0),
        (Wanted(beneath="007"), lambda n: n // 100 == 7),
        (Wanted(beneath="00"), lambda n: False),
        (Wanted(model="small", format="PNG"), lambda n: n % 12 == 0),
        (Wanted(search="dog", folder="failed"), lambda n: False),
        (Wanted(search="cat", beneath="199"), lambda n: n // 100 == 199 and n % 2 == 0),
        (
            Wanted(since=NOON + timedelta(minutes=100), until=NOON + timedelta(minutes=110)),
            lambda n: 100 <= n < 110,
        ),
        (Wanted(before=51, after=10), lambda n: 10 <= n < 50),
        (Wanted(is_edited=True), lambda n: False),
        (Wanted(needs_look=True), lambda n: n % 25 == 1),
        (Wanted(needs_look=False, search="dog"), lambda n: n % 2 and n % 25 != 1),
        (Wanted(awaits_approval=True, beneath="007"), lambda n: n % 30 == 1 and n // 100 == 7),
        (Wanted(awaits_approval=False, model="small"), lambda n: n % 30 != 1 and n % 3 == 0),
        (Wanted(to_review=True, folder="done"), lambda n: n % 10 and 1 in (n % 25, n % 30)),
        (Wanted(to_review=False, search="dog"), lambda n: n % 2 and 1 not in (n % 25, n % 30)),
    ],
)  # fmt: skip
def test_what_is_wanted_is_found(history: History, wanted: Wanted, is_meant: object) -> None:
    """All of it, newest first, and nothing else; the lines by their numbers come in the order asked for."""
    expected = [number + 1 for number in reversed(range(20_000)) if is_meant(number)]  # type: ignore[operator]
    assert history.ids(wanted, 100_000) == expected
    assert [entry.id for entry in history.find(wanted, 5)] == expected[:5]
    some = expected[:3][::-1]
    assert [entry.id for entry in history.those([*some, 10**9])] == some


def test_an_edited_one_is_found_as_such(tmp_path: Path) -> None:
    """From then on."""
    with closing(History(tmp_path)) as history:
        for number in (1, 2):
            history.record(outcome(number))
        assert history.flush(60)
        history.revise(2, "Rex.", NOON)
        assert history.ids(Wanted(is_edited=True), 10) == [2]
        assert history.ids(Wanted(is_edited=False), 10) == [1]


def test_the_choices_are_told(history: History) -> None:
    """Each folder, model and format once, in order."""
    choices = history.choices()
    assert choices["model"] == ["large", "small"] and choices["format"] == ["JPEG", "PNG"]
    assert choices["beneath"] == [f"{number:03}" for number in range(200)]


def test_twenty_thousand_are_listed_quickly(history: History) -> None:
    """Well within what somebody waits for without noticing."""
    began = time.monotonic()
    assert len(history.ids(Wanted(), 100_000)) == 20_000
    history.choices()
    assert time.monotonic() - began < 2


def picture(colour: str, format: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 600), colour).save(buffer, format)
    return buffer.getvalue()


def damaged() -> bytes:
    """Whole, as far as its container tells, and no picture inside."""
    data = bytearray(picture("red", "PNG"))
    at = data.index(b"IDAT") + 4
    data[at : at + 8] = b"\0" * 8
    return bytes(data)


def test_the_api_finds_shows_and_retries_some(tmp_path: Path, server: FakeChatServer) -> None:
    """Filters, numbers, one picture closely with its record, larger thumbnails, and some put back."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    place = Place(tmp_path, {"model": server.settings, "http": {"listen": address}})
    with place.running() as daemon, httpx.Client(base_url=f"http://{address}", trust_env=False) as door:
        for name in ("trip/a.jpg", "trip/far/b.jpg", "c.jpg"):
            place.drop(picture("red"), name)
        for name in ("x.png", "y.png"):
            place.drop(damaged(), name)
        daemon.until(lambda: len(door.get("/api/ids").json()["ids"]) == 5)

        def paths(**filters: str) -> set[str]:
            ids = door.get("/api/ids", params=filters).json()["ids"]
            some = door.get("/api/pictures", params={"ids": ",".join(map(str, ids))}).json()
            assert [one["id"] for one in some["pictures"]] == ids and some["older"] is None
            return {one["path"] for one in some["pictures"]}

        assert paths(beneath="trip") == {"trip/a.jpg", "trip/far/b.jpg"}
        assert paths(folder="failed") == {"x.png", "y.png"}
        assert paths(folder="done", since="2020-01-01T00:00:00Z") == {"trip/a.jpg", "trip/far/b.jpg", "c.jpg"}
        assert door.get("/api/choices").json()["beneath"] == ["trip", "trip/far"]
        for odd in (
            {"beneath": "../x"},
            {"beneath": "/etc"},
            {"since": "2020-01-01T00:00:00"},
            {"ids": "1,x"},
            {"ids": ""},
        ):
            assert door.get("/api/pictures", params=odd).status_code == 422, odd
        (id,) = door.get("/api/ids", params={"beneath": "trip/far"}).json()["ids"]
        closely = door.get(f"/api/pictures/{id}").json()
        assert closely["record"] == place.sidecar("trip/far/b.jpg")
        assert closely["record"]["prompt"] and closely["path"] == "trip/far/b.jpg"
        assert door.get("/api/pictures/999").status_code == 404
        for side in (320, 640, 2560):
            shown = door.get(f"/api/pictures/{id}/thumbnail", params={"side": side})
            assert max(Image.open(io.BytesIO(shown.content)).size) == min(side, 900)
        assert door.get(f"/api/pictures/{id}/thumbnail", params={"side": 5000}).status_code == 422
        failed = door.get("/api/ids", params={"folder": "failed"}).json()["ids"]
        assert door.post("/api/retry", json={"ids": [failed[0], id]}).json() == {"returned": 1}
        assert door.post("/api/retry", json={"ids": []}).json() == {"returned": 0}
