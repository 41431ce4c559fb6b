"""The page in a real browser, and a daemon behind it that has delivered much."""

from __future__ import annotations

import io
import json
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from captiond.history import History
from captiond.records import Outcome
from daemon_process import Place, Running
from fake_chat_server import FakeChatServer

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMIUM_OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
MOST_ELEMENTS = 6000
PATIENCE_MS = 30_000
IN_SIGHT = """[...document.querySelectorAll(".picture")].some((item) => {
    const { top } = item.getBoundingClientRect();
    return item.querySelector(".caption") && top > 0 && top < innerHeight;
})"""


def picture(colour: str, width: int = 60, height: int = 40, format: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format)
    return buffer.getvalue()


def damaged() -> bytes:
    """Whole, as far as its container tells, and no picture inside."""
    data = bytearray(picture("red", format="PNG"))
    at = data.index(b"IDAT") + 4
    data[at : at + 8] = b"\0" * 8
    return bytes(data)


@dataclass(frozen=True)
class Served:
    """A daemon with a door."""

    place: Place
    daemon: Running
    server: FakeChatServer
    url: str

    def ask(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=30).json()

    def deliver(self, name: str, data: bytes) -> None:
        self.place.drop(data, name)
        self.daemon.until((self.place.done / f"{name}.caption.json").exists)

    def fail(self, name: str) -> None:
        self.place.drop(damaged(), name)
        self.daemon.until((self.place.failed / f"{name}.error.json").exists)


@dataclass
class Page:
    """One tab, what it complained of, and the daemon behind it."""

    tab: Any
    served: Served
    complaints: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> Any:
        self.tab.goto(f"{self.served.url}/{query}")
        self.tab.wait_for_selector("#tools:not([hidden])")
        return self.tab

    def card(self, name: str) -> Any:
        return self.tab.get_by_role("listitem").filter(has_text=name)


def long_ago(number: int) -> Outcome:
    """One that was captioned, and has been moved away since."""
    name = f"old/{number}.jpg"
    return Outcome(
        path=name,
        folder="done",
        delivered=name,
        at=datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
        sha256=f"{number:064x}",
        caption=f"Picture {number}: something that was captioned long ago, and has been moved away since.",
        model="former-model",
        format="PNG",
    )


def remember(state: Path, count: int) -> None:
    """A history of so many pictures that are gone."""
    history = History(state)
    for start in range(0, count, 5000):
        for number in range(start, min(start + 5000, count)):
            history.record(long_ago(number))
        assert history.flush(60)
    history.close()


@contextmanager
def serving(
    root: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    old: int = 0,
    more: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """A daemon with a door on loopback, asking a model server that answers at once.

    `more`: of its environment.
    """
    with FakeChatServer() as server, socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        taken.close()
        place = Place(root, {"model": server.settings, "watch": {"settle_seconds": 0.05}})
        values = json.loads(place.settings.read_text()) | dict(settings or {})
        values["http"] = {"listen": address} | values.get("http", {})
        place.settings.write_text(json.dumps(values))
        if old:
            remember(root / "state", old)
        with place.running(**(more or {})) as daemon:
            yield Served(place, daemon, server, f"http://{address}")


@contextmanager
def browsing() -> Iterator[Any]:
    """A browser with no tab."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@contextmanager
def tab_of(browser: Any, served: Served, **more: Any) -> Iterator[Page]:
    """A tab of its own, in which no script may complain."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **more})
    context.set_default_timeout(PATIENCE_MS)
    page = Page(context.new_page(), served)
    page.tab.on("console", lambda line: page.complaints.append(told(line)) if line.type == "error" else None)
    page.tab.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page
    context.close()
    assert page.complaints == [], page.complaints


def told(line: Any) -> str:
    """What the browser's console says, and of which address."""
    return f"{line.text} {line.location.get('url', '')}"


def expect(what: Any) -> Any:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    return expect(what)


def findings(tab: Any) -> list[tuple[Any, ...]]:
    """What axe finds wrong with what the tab shows."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        (one["id"], [node["html"][:120] for node in one["nodes"]][:3], one["nodes"][0]["failureSummary"])
        for one in Axe().run(tab).response["violations"]
    ]
