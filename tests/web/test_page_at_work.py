"""The page with many pictures, as people work with it: a real browser and daemon, 20,000 lines of history."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_page import CHROMIUM_OPTIONS, damaged, picture

from captiond.history import History
from captiond.records import Outcome
from daemon_process import Place, Running
from fake_chat_server import FakeChatServer

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
MANY = 20_000
ARABIC = "كلبان يركضان على الشاطئ عند غروب الشمس (2019)."
WIDTHS = (390, 820, 1440, 2560)
MOST_ELEMENTS = 6000
IN_SIGHT = """[...document.querySelectorAll(".picture")].some((item) => {
    const { top } = item.getBoundingClientRect();
    return item.querySelector(".caption") && top > 0 && top < innerHeight;
})"""


def outcome(number: int) -> Outcome:
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


@dataclass
class Page:
    """One tab, what it complained of, and the daemon behind it."""

    tab: Any
    place: Place
    daemon: Running
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> Any:
        self.tab.goto(f"{self.url}/{query}")
        self.tab.wait_for_selector("#tools:not([hidden])")
        return self.tab

    def card(self, name: str) -> Any:
        return self.tab.get_by_role("listitem").filter(has_text=name)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Running, str]]:
    """A daemon that has delivered much, and a few pictures today."""
    root = tmp_path_factory.mktemp("daemon")
    with FakeChatServer() as server, socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        taken.close()
        place = Place(
            root, {"model": server.settings, "http": {"listen": address}, "watch": {"settle_seconds": 0.05}}
        )
        history = History(root / "state")
        for start in range(0, MANY, 5000):
            for number in range(start, start + 5000):
                history.record(outcome(number))
            assert history.flush(60)
        history.close()
        with place.running() as daemon:
            server.script = [ARABIC]
            for number, name in enumerate(("arabic.jpg", "trip/red.jpg", "trip/blue.jpg")):
                place.drop(picture(("green", "red", "blue")[number], 90 + number, 60), name)
                daemon.until((place.done / f"{name}.caption.json").exists)
            for name in ("bad.png", "worse.png"):
                place.drop(damaged(), name)
                daemon.until((place.failed / f"{name}.error.json").exists)
            daemon.until(lambda: len(httpx.get(f"http://{address}/api/ids").json()["ids"]) == MANY + 5)
            yield place, daemon, f"http://{address}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(running: tuple[Place, Running, str], browser: Any) -> Iterator[Page]:
    place, daemon, url = running
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = Page(context.new_page(), place, daemon, url)
    page.tab.on("console", lambda line: page.complaints.append(line.text) if line.type == "error" else None)
    page.tab.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page
    context.close()
    assert page.complaints == []


def expect(what: Any) -> Any:
    from playwright.sync_api import expect

    return expect(what)


def test_twenty_thousand_pictures_are_scrolled_through(page: Page) -> None:
    """Any of them is a moment away, and the document never holds more than a few rows."""
    tab = page.open()
    expect(page.card("trip/blue.jpg")).to_be_visible()
    assert tab.evaluate("document.querySelectorAll('*').length") < MOST_ELEMENTS
    for share in (0.5, 0.25, 1.0):
        tab.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {share})")
        page.daemon.until(lambda: tab.evaluate(IN_SIGHT))
        assert tab.evaluate("document.querySelectorAll('*').length") < MOST_ELEMENTS
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.card("old/0.jpg")).to_be_visible()
    expect(page.card("old/0.jpg")).to_have_attribute("aria-posinset", str(MANY + 3))
    # What comes meanwhile moves nothing: it waits until it is asked for.
    page.place.drop(picture("white", 70, 50), "fresh.jpg")
    tab.get_by_role("button", name="Show 1 new picture").click()
    expect(page.card("fresh.jpg")).to_be_visible()


def test_one_is_looked_at_large(page: Page) -> None:
    """By click and by keys: turned over, edited, undone, shared by its address; the facts stand beside it."""
    tab = page.open()
    page.card("trip/red.jpg").locator(".frame").click()
    dialog = tab.get_by_role("dialog")
    expect(dialog.get_by_alt_text("A 91 by 60 picture, mostly red.")).to_be_visible()
    expect(dialog.get_by_text("Describe what is shown")).to_be_visible()
    expect(dialog.get_by_text("91 × 60 pixels")).to_be_visible()
    keys = tab.keyboard
    keys.press("ArrowLeft")
    expect(dialog.get_by_text("A 92 by 60 picture, mostly blue.")).to_be_visible()
    keys.press("j")
    expect(dialog.get_by_role("heading", name="trip/red.jpg")).to_be_visible()
    keys.press("e")
    keys.press("Control+A")
    keys.type("The red barn, just before the rain.\n")
    expect(dialog.get_by_text("The model said: A 91 by 60")).to_be_visible()
    assert page.place.sidecar("trip/red.jpg")["caption"] == "The red barn, just before the rain."
    shared = tab.url
    keys.press("u")
    expect(dialog.get_by_text("The red barn")).to_have_count(0)
    assert page.place.sidecar("trip/red.jpg")["caption"] == "A 91 by 60 picture, mostly red."
    keys.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.card("trip/red.jpg")).to_be_focused()
    assert "picture=" not in tab.url
    keys.press("Enter")
    expect(tab.get_by_role("dialog")).to_be_visible()
    tab.goto(shared)
    expect(tab.get_by_role("dialog").get_by_role("heading", name="trip/red.jpg")).to_be_visible()


def test_pictures_are_filtered_selected_and_exported(page: Page, tmp_path: Path) -> None:
    """By folder, model, format, date and hand; the address keeps it; a range by shift; all found."""
    tab = page.open()
    tab.get_by_role("button", name="Filter").click()
    tab.get_by_label("Folder").select_option("trip")
    expect(page.card("trip/red.jpg")).to_be_visible()
    expect(tab.locator("#pictures > li")).to_have_count(2)
    tab.reload()
    expect(tab.locator("#pictures > li")).to_have_count(2)
    tab.get_by_label("Select trip/blue.jpg").check()
    tab.get_by_label("Select trip/red.jpg").click(modifiers=["Shift"])
    expect(tab.get_by_text("2 selected")).to_be_visible()
    with tab.expect_download() as downloading:
        tab.get_by_role("button", name="Export").click()
    downloading.value.save_as(tmp_path / "captions.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert [one["path"] for one in lines] == ["trip/blue.jpg", "trip/red.jpg"]
    tab.goto(f"{page.url}/?model=former-model&to=2025-01-01")
    expect(page.card("old/")).not_to_have_count(0)
    tab.locator(".pick input").first.check()
    tab.get_by_role("button", name="Select all found").click()
    assert 1000 < int(tab.locator("#picked-count").inner_text().split()[0].replace(",", "")) < 3000
    tab.goto(f"{page.url}/?edited=true&format=PNG")
    expect(tab.get_by_text("No picture is like that.")).to_be_visible()


def test_retry_means_what_is_shown(page: Page) -> None:
    """All failures that a search finds go back, and no other; the count is of what lies there."""
    tab = page.open("?folder=failed&q=worse")
    expect(page.card("worse.png")).to_be_visible()
    expect(tab.locator("[data-count=failed]")).to_have_text("2")
    before = page.place.error("bad.png")["created_at"], page.place.error("worse.png")["created_at"]
    tab.get_by_role("button", name="Retry all").click()
    page.daemon.until(
        lambda: (
            (page.place.failed / "worse.png.error.json").exists()
            and page.place.error("worse.png")["created_at"] != before[1]
        )
    )
    assert page.place.error("bad.png")["created_at"] == before[0]


def test_every_script_is_read_in_its_own_direction(page: Page) -> None:
    """Arabic goes from right to left, on the sheet and in the large view, and its neighbours do not."""
    page.open()
    direction = "(element) => getComputedStyle(element).direction"
    assert page.card("arabic.jpg").locator(".caption").evaluate(direction) == "rtl"
    assert page.card("arabic.jpg").locator(".path").evaluate(direction) == "ltr"
    assert page.card("trip/blue.jpg").locator(".caption").evaluate(direction) == "ltr"
    page.card("arabic.jpg").locator(".frame").click()
    assert page.tab.locator("dialog .caption").evaluate(direction) == "rtl"


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    """From a phone to a large screen; and the thumbnails are as sharp as the screen."""
    tab = page.tab
    tab.set_viewport_size({"width": width, "height": 900})
    for query in ("", "?folder=failed", "?folder=inbox"):
        page.open(query)
        tab.wait_for_timeout(300)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    page.open()
    shown = page.card("trip/blue.jpg").locator("img")
    expect(shown).to_be_visible()
    page.card("trip/blue.jpg").locator(".frame").click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.skipif(
    importlib.util.find_spec("axe_playwright_python") is None, reason="axe-playwright-python is not installed"
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing(page: Page, width: int, scheme: str) -> None:
    """On the sheet, with filters and a selection, on failures, in the inbox, in the large view."""
    from axe_playwright_python.sync_playwright import Axe

    tab = page.tab
    tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    tab.set_viewport_size({"width": width, "height": 900})

    def check(where: str) -> None:
        found = Axe().run(tab).response["violations"]
        told = [
            (one["id"], [node["html"][:120] for node in one["nodes"]][:3], one["nodes"][0]["failureSummary"])
            for one in found
        ]
        assert not told, f"{where}: {told}"

    page.open()
    expect(page.card("trip/blue.jpg").locator("img")).to_be_visible()
    check("sheet")
    tab.get_by_role("button", name="Filter").click()
    tab.locator(".pick input").first.check()
    check("filters")
    page.card("trip/blue.jpg").locator(".frame").click()
    expect(tab.get_by_role("dialog").get_by_text("Describe what is shown")).to_be_visible()
    check("large")
    for query in ("?folder=failed", "?folder=inbox"):
        page.open(query)
        tab.wait_for_timeout(500)
        check(query)


def test_files_are_dropped_and_the_inbox_is_seen(page: Page) -> None:
    """What is added goes into the inbox and is captioned; what lies there stands with its reason."""
    tab = page.open("?folder=inbox")
    page.place.drop(b"words", "letter.doc")
    letter = tab.get_by_role("listitem").filter(has_text="letter.doc")
    expect(letter.get_by_text("Ignored", exact=True)).to_be_visible()
    tab.locator("#files").set_input_files(
        [{"name": "added.jpg", "mimeType": "image/jpeg", "buffer": picture("orange", 77, 50)}]
    )
    page.daemon.until((page.place.done / "added.jpg.caption.json").exists)
    tab.evaluate(DROP, list(picture("purple", 66, 44)))
    page.daemon.until((page.place.done / "dropped.jpg.caption.json").exists)
    expect(tab.locator("#uploads")).to_be_hidden()
    tab.get_by_role("link", name="Captioned").click()
    expect(page.card("dropped.jpg")).to_be_visible()
    (page.place.inbox / "letter.doc").unlink()


DROP = """(bytes) => {
    const given = new DataTransfer();
    given.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const event = new DragEvent(kind, { dataTransfer: given, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }
}"""
