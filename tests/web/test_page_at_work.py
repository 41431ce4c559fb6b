"""The page as people work with it: a real browser and daemon, and a history of many pictures."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from fake_chat_server import Handler, describe
from open_page import (
    CHROMIUM,
    IN_SIGHT,
    MOST_ELEMENTS,
    Page,
    Served,
    damaged,
    expect,
    findings,
    picture,
    serving,
)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
    pytest.mark.xdist_group("page"),  # one daemon and one browser for all of them
]
OLD = 600
ARABIC = "كلبان يركضان على الشاطئ عند غروب الشمس (2019)."
OTHERWISE = "Say it otherwise."
SAID_OTHERWISE = "Something of one colour, said otherwise."
ODD_WIDTH = 94  # of pictures that the model says nothing sensible about
SAID = {
    "caption": "",  # as the fake server says it
    "alt_text": "A red sign beside a road.",
    "title": "The Red Sign",
    "keywords": "sign, road, red",
    "visible_text": "STOP\nAll ways",
}
PROMPTS = (("alt_text", "cannot see"), ("title", "title"), ("keywords", "keywords"), ("visible_text", "read"))
WIDTHS = (390, 820, 1440, 2560)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that has delivered much, and a few pictures today."""
    profiles = [
        {"match": ["texts/**", "edited/**"], "fields": {"wanted": list(SAID)}, "checks": {"second_tries": 0}}
    ]
    with serving(tmp_path_factory.mktemp("daemon"), {"profiles": profiles}, old=OLD) as served:
        served.server.always = say
        served.server.script = [ARABIC]
        served.deliver("arabic.jpg", picture("green", 90, 60))
        served.deliver("trip/red.jpg", picture("red", 91, 60))
        served.deliver("trip/blue.jpg", picture("blue", 92, 60))
        served.deliver("texts/sign.jpg", sign())
        served.deliver("texts/odd.jpg", picture("blue", ODD_WIDTH, 60))
        served.fail("bad.png")
        served.fail("worse.png")
        served.daemon.until(lambda: len(served.ask("/api/ids")["ids"]) == OLD + 7)
        yield served


def sign(width: int = 93) -> bytes:
    """A picture with something on it: a blank one needs a look."""
    image = Image.new("RGB", (width, 60), "white")
    image.paste((200, 0, 0), (10, 10, 80, 50))
    image.paste((0, 0, 0), (20, 25, 70, 30))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def say(handler: Handler) -> None:
    """A text for each question; of odd pictures the same words without end."""
    image, prompt = handler.seen.image, handler.seen.prompt
    said = next((SAID[name] for name, word in PROMPTS if word in prompt), "") or describe(image)
    said = SAID_OTHERWISE if prompt == OTHERWISE else said
    handler.say("a dog and a dog and " * 40 if image.width == ODD_WIDTH else said)


def test_many_pictures_are_scrolled_through(page: Page) -> None:
    """Any of them is a moment away, and the document never holds more than a few rows."""
    tab = page.open()
    expect(page.card("trip/blue.jpg")).to_be_visible()
    for share in (0.5, 1.0):
        tab.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {share})")
        page.served.daemon.until(lambda: tab.evaluate(IN_SIGHT))
        assert tab.evaluate("document.querySelectorAll('*').length") < MOST_ELEMENTS
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.card("old/0.jpg")).to_be_visible()
    count = len(page.served.ask("/api/ids?folder=done")["ids"])
    expect(page.card("old/0.jpg")).to_have_attribute("aria-posinset", str(count))
    # What comes meanwhile moves nothing: it waits until it is asked for.
    page.served.place.drop(picture("white", 70, 50), "fresh.jpg")
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
    assert page.served.place.sidecar("trip/red.jpg")["caption"] == "The red barn, just before the rain."
    shared = tab.url
    keys.press("u")
    expect(dialog.get_by_text("The red barn")).to_have_count(0)
    assert page.served.place.sidecar("trip/red.jpg")["caption"] == "A 91 by 60 picture, mostly red."
    keys.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.card("trip/red.jpg")).to_be_focused()
    assert "picture=" not in tab.url
    keys.press("Enter")
    expect(tab.get_by_role("dialog")).to_be_visible()
    tab.goto(shared)
    expect(tab.get_by_role("dialog").get_by_role("heading", name="trip/red.jpg")).to_be_visible()


def test_every_text_is_read(page: Page) -> None:
    """Title, alternative text, keywords and what can be read in it; what was odd, and what needs a look."""
    tab = page.open()
    expect(page.card("texts/sign.jpg").get_by_alt_text(SAID["alt_text"])).to_be_visible()
    page.card("texts/sign.jpg").get_by_role("button", name="Look at").click()
    dialog = tab.get_by_role("dialog")
    for words in (
        "A 93 by 60 picture",
        SAID["title"],
        SAID["alt_text"],
        "25 characters",
        "All ways",
        "texts/**",
    ):
        expect(dialog.get_by_text(words)).to_be_visible()
    assert dialog.get_by_role("listitem").all_inner_texts() == ["sign", "road", "red"]
    expect(dialog.get_by_text("Needs a look")).to_be_hidden()
    tab.keyboard.press("ArrowLeft")
    expect(dialog.get_by_text("Needs a look")).to_be_visible()
    expect(dialog.get_by_role("list", name="Warnings").get_by_role("listitem")).not_to_have_count(0)
    tab.keyboard.press("Escape")
    expect(page.card("texts/odd.jpg").get_by_text("Needs a look")).to_be_visible()


def test_every_text_is_edited(page: Page) -> None:
    """Only what changed is sent; a refusal is told; one undo brings all of the model's texts back."""
    sent: list[Any] = []
    page.served.deliver("edited/sign.jpg", sign(95))
    tab = page.open("?beneath=edited")
    tab.on("request", lambda asked: sent.append(asked.post_data_json) if asked.method == "PATCH" else None)
    page.card("edited/sign.jpg").locator(".frame").click()
    dialog, keys = tab.get_by_role("dialog"), tab.keyboard
    expect(dialog.get_by_text("95 × 60 pixels")).to_be_visible()
    keys.press("e")
    dialog.get_by_label("Alternative text").fill("x" * 300)
    expect(dialog.get_by_text("300 characters: screen readers do well")).to_be_visible()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_text("has at most 125 characters")).to_be_visible()
    page.complaints.clear()  # the browser's own, of the answer 422
    dialog.get_by_label("Alternative text").fill("A stop sign.")
    dialog.get_by_role("button", name="Remove road").click()
    dialog.get_by_role("textbox", name="Keywords").fill("Skagen, stop")  # at once, as pasted
    expect(dialog.get_by_role("button", name="Remove Skagen")).to_be_visible()
    keys.press("Enter")
    expect(dialog.get_by_role("button", name="Save")).to_be_hidden()
    expect(dialog.get_by_text("12 characters").last).to_be_visible()
    was = {"alt_text": SAID["alt_text"], "keywords": ["sign", "road", "red"]}
    now = {"alt_text": "A stop sign.", "keywords": ["sign", "red", "Skagen", "stop"]}
    assert sent[-1] == {**now, "was": was}
    record = page.served.place.sidecar("edited/sign.jpg")
    assert {name: record["fields"][name] for name in now} == now
    keys.press("u")
    expect(dialog.get_by_text(SAID["alt_text"])).to_be_visible()
    record = page.served.place.sidecar("edited/sign.jpg")
    assert {name: record["fields"][name] for name in was} == was


def test_one_is_asked_about_again_by_keys(page: Page) -> None:
    """By other words this once: old and new side by side, to put back or to keep; the same is told."""
    page.served.deliver("again/one.jpg", picture("red", 96, 60))
    said = "A 96 by 60 picture, mostly red."
    tab = page.open("?beneath=again")
    page.card("again/one.jpg").locator(".frame").click()
    dialog, keys = tab.get_by_role("dialog"), tab.keyboard
    expect(dialog.get_by_text("96 × 60 pixels")).to_be_visible()
    compared = dialog.get_by_role("region", name="Old words and new")
    back = dialog.get_by_role("button", name="Put former words back")
    expect(back).to_be_hidden()

    def ask(words: str) -> None:
        keys.press("r")
        expect(dialog.get_by_label("Another prompt for the caption, this once")).to_be_focused()
        keys.type(f"{words}\n")

    def caption() -> Any:
        return page.served.place.sidecar("again/one.jpg")["caption"]

    has_axe = importlib.util.find_spec("axe_playwright_python") is not None
    keys.press("r")
    assert not (has_axe and findings(tab)), "the form"
    keys.press("Escape")
    ask(OTHERWISE)
    expect(compared.get_by_text(said)).to_be_visible()
    expect(compared.get_by_text(SAID_OTHERWISE)).to_be_visible()
    assert not (has_axe and findings(tab)), "old and new"
    keys.press("u")
    expect(compared).to_be_hidden()
    expect(dialog.locator(".caption")).to_have_text(said)
    expect(back).to_be_hidden()
    assert caption() == said
    ask("")
    expect(dialog.get_by_text("it says the same")).to_be_visible()
    ask(OTHERWISE)
    expect(dialog.get_by_role("button", name="Keep new")).to_be_focused()
    keys.press("Enter")
    expect(dialog.locator(".caption")).to_have_text(SAID_OTHERWISE)
    expect(back).to_be_visible()
    assert caption() == SAID_OTHERWISE
    ask("")
    dialog.get_by_role("button", name="Put the old back").click()
    expect(dialog.locator(".caption")).to_have_text(SAID_OTHERWISE)
    assert caption() == SAID_OTHERWISE
    keys.press("Escape")
    expect(page.card("again/one.jpg").get_by_text(SAID_OTHERWISE)).to_be_visible()


def test_what_is_selected_is_asked_about_again(page: Page) -> None:
    """One after the other; what the model says now is seen on the sheet."""
    for width in (61, 62):
        page.served.deliver(f"once more/{width}.jpg", picture("green", width, 60))
    tab = page.open("?beneath=once more")
    tab.get_by_label("Select once more/61.jpg").check()
    tab.get_by_label("Select once more/62.jpg").check()
    page.served.server.always = lambda handler: handler.say(SAID_OTHERWISE)
    try:
        tab.get_by_role("button", name="Ask again").click()
        expect(tab.get_by_text("2 pictures are asked about again")).to_be_visible()
        for width in (61, 62):
            expect(page.card(f"once more/{width}.jpg").get_by_text(SAID_OTHERWISE)).to_be_visible()
    finally:
        page.served.server.always = say
    for width in (61, 62):
        assert page.served.place.sidecar(f"once more/{width}.jpg")["history"][-1]["why"] == "redo"


def test_what_needs_a_look_is_reviewed_by_keys(page: Page) -> None:
    """One after the other: accept, edit, next; nothing of it needs a look any more, and that is counted."""
    for width in (81, 82, 83):
        page.served.deliver(f"review/{width}.jpg", picture("blue", width, 60))
    tab = page.open()
    expect(tab.locator("#review")).to_be_visible()
    page.open("?beneath=review&needs_look=true")
    tab.locator("#review").click()
    dialog, keys = tab.get_by_role("dialog"), tab.keyboard
    expect(dialog.get_by_text("1 of 3")).to_be_visible()
    expect(dialog.get_by_text("83 × 60 pixels")).to_be_visible()
    keys.press("a")
    expect(dialog.get_by_text("82 × 60 pixels")).to_be_visible()
    keys.press("e")
    keys.press("Control+A")
    keys.type("The sea.\n")
    expect(dialog.get_by_text("The model said: A 82")).to_be_visible()
    expect(dialog.get_by_role("button", name="Looks right")).to_be_hidden()
    keys.press("j")
    expect(dialog.get_by_text("81 × 60 pixels")).to_be_visible()
    keys.press("a")
    expect(dialog.get_by_role("button", name="Looks right")).to_be_hidden()
    keys.press("Escape")
    for width in (81, 82, 83):
        record = page.served.place.sidecar(f"review/{width}.jpg")
        assert "needs_look" not in record and ("accepted" in record) == (width != 82)
    assert page.served.ask("/api/ids?beneath=review&needs_look=true")["ids"] == []


def test_the_work_is_paused_and_resumed(page: Page) -> None:
    """By a button, which says what holds now."""
    tab = page.open()
    tab.get_by_role("button", name="Pause").click()
    expect(tab.locator("#pause")).to_be_visible()
    assert page.served.ask("/api/status")["pause_wanted"]
    tab.get_by_role("button", name="Resume").click()
    expect(tab.locator("#pause")).to_be_hidden()
    expect(tab.get_by_role("button", name="Pause")).to_be_visible()


def test_words_are_replaced_and_all_of_it_undone(page: Page) -> None:
    """In what is selected: shown first, done in the sidecars and on the sheet, and taken back in one go."""
    for width in (71, 72):
        page.served.deliver(f"words/{width}.jpg", picture("green", width, 60))
    tab = page.open("?beneath=words")
    for width in (71, 72):
        tab.get_by_label(f"Select words/{width}.jpg").check()
    tab.get_by_role("button", name="Replace words").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_label("Find").fill("71 BY 60")
    dialog.get_by_label("Put in its place").fill("$& small (.*)")
    expect(dialog.get_by_text("1 picture changes, of 2.")).to_be_visible()
    dialog.get_by_label("Capitals count").check()
    expect(dialog.get_by_text("0 pictures change, of 2.")).to_be_visible()
    dialog.get_by_label("Find").fill("picture")
    expect(dialog.get_by_role("list", name="What changes").get_by_role("listitem")).to_have_count(2)
    dialog.get_by_role("button", name="Replace").click()
    expect(dialog.get_by_text("2 pictures changed.")).to_be_visible()
    said = [page.served.place.sidecar(f"words/{width}.jpg")["caption"] for width in (71, 72)]
    assert all("$& small (.*)" in one and "picture" not in one for one in said)
    dialog.get_by_role("button", name="Undo all of it").click()
    expect(dialog.get_by_text("2 pictures changed back.")).to_be_visible()
    assert "71 by 60 picture" in page.served.place.sidecar("words/71.jpg")["caption"]
    dialog.get_by_role("button", name="Close").click()
    expect(page.card("words/71.jpg").get_by_text("71 by 60 picture")).to_be_visible()


def test_other_apps_share_pictures_into_it(page: Page) -> None:
    """Installed as an app, it takes what a phone shares, and puts it into the inbox."""
    tab = page.open()
    manifest = httpx.get(f"{page.served.url}/page/manifest.webmanifest", trust_env=False)
    assert manifest.headers["Content-Type"].startswith("application/manifest+json")
    assert manifest.json()["share_target"]["action"] == "../share"
    tab.evaluate("navigator.serviceWorker.ready")
    page.served.daemon.until(lambda: tab.evaluate("navigator.serviceWorker.controller !== null"))
    tab.evaluate(SHARE, list(picture("yellow", 55, 44)))
    page.open("?folder=inbox")
    page.served.daemon.until((page.served.place.done / "from a phone.jpg.caption.json").exists)


SHARE = """async (bytes) => {
    const form = new FormData();
    form.append("file", new File([new Uint8Array(bytes)], "from a phone.jpg", { type: "image/jpeg" }));
    await fetch("share", { method: "POST", body: form });
}"""


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
    tab.goto(f"{page.served.url}/?model=former-model&to=2025-01-01")
    expect(page.card("old/")).not_to_have_count(0)
    tab.locator(".pick input").first.check()
    tab.get_by_role("button", name="Select all found").click()
    assert 100 < int(tab.locator("#picked-count").inner_text().split()[0].replace(",", "")) <= OLD
    tab.goto(f"{page.served.url}/?edited=true&format=PNG")
    expect(tab.get_by_text("No picture is like that.")).to_be_visible()


def test_retry_means_what_is_shown(page: Page) -> None:
    """All failures that a search finds go back, and no other; the count is of what lies there."""
    tab = page.open("?folder=failed&q=worse")
    expect(page.card("worse.png")).to_be_visible()
    lie_there = len(list(page.served.place.failed.glob("*.error.json")))
    expect(tab.locator("[data-count=failed]")).to_have_text(str(lie_there))
    before = (
        page.served.place.error("bad.png")["created_at"],
        page.served.place.error("worse.png")["created_at"],
    )
    tab.get_by_role("button", name="Retry all").click()
    page.served.daemon.until(
        lambda: (
            (page.served.place.failed / "worse.png.error.json").exists()
            and page.served.place.error("worse.png")["created_at"] != before[1]
        )
    )
    assert page.served.place.error("bad.png")["created_at"] == before[0]


def test_the_daemon_is_looked_at(page: Page) -> None:
    """Its numbers as plots, the last lines of its log as they come, its settings and where they stand."""
    tab = page.open()
    tab.get_by_role("link", name="Daemon").click()
    expect(tab.get_by_role("img", name="Pictures a day in 30 days")).to_be_visible()
    expect(tab.get_by_text("unreadable", exact=True)).to_be_visible()
    log = tab.get_by_role("list", name="Last lines of the log")
    expect(log.get_by_text("texts/sign.jpg").first).to_be_visible()
    page.served.place.drop(damaged(), "again.png")
    expect(log.get_by_text("again.png").first).to_be_visible()
    tab.get_by_label("Show").select_option("warning")
    expect(log.get_by_text("the door is open")).to_be_hidden()
    row = tab.get_by_role("row").filter(has_text="watch.settle_seconds")
    expect(row.get_by_text("0.05")).to_be_visible()
    expect(row.get_by_text("captiond.yaml, line 1")).to_be_visible()


def test_every_script_is_read_in_its_own_direction(page: Page) -> None:
    """Arabic goes from right to left, on the sheet and in the large view, and its neighbours do not."""
    page.open()
    direction = "(element) => getComputedStyle(element).direction"
    assert page.card("arabic.jpg").locator(".caption").evaluate(direction) == "rtl"
    assert page.card("arabic.jpg").locator(".path").evaluate(direction) == "ltr"
    assert page.card("trip/blue.jpg").locator(".caption").evaluate(direction) == "ltr"
    page.card("arabic.jpg").locator(".frame").click()
    assert page.tab.locator("dialog .caption").evaluate(direction) == "rtl"


def test_nothing_is_wider_than_the_window(page: Page) -> None:
    """From a phone to a large screen: the sheet, the failures, the inbox, the large view."""
    tab = page.tab

    def check(where: str) -> None:
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, (where, width)

    for query, seen in (
        ("?folder=failed", ".failed"),
        ("?folder=inbox", "#inbox"),
        ("", ".picture img[src]"),
    ):
        page.open(query)
        tab.wait_for_selector(seen)
        check(query)
    page.card("trip/blue.jpg").locator(".frame").click()
    expect(tab.get_by_role("dialog").get_by_text("Describe what is shown")).to_be_visible()
    check("large")


@pytest.mark.skipif(
    importlib.util.find_spec("axe_playwright_python") is None, reason="axe-playwright-python is not installed"
)
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_axe_finds_nothing(page: Page, width: int, scheme: str) -> None:
    """On the sheet, with filters and a selection, on failures, in the inbox, in the large view."""
    tab = page.tab
    tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    tab.set_viewport_size({"width": width, "height": 900})
    for query, seen in (
        ("?folder=failed", ".failed"),
        ("?folder=inbox", "#inbox"),
        ("?folder=daemon", "#settings tr"),
    ):
        page.open(query)
        tab.wait_for_selector(seen)
        assert not findings(tab), query
    page.open("?beneath=trip")
    expect(page.card("trip/blue.jpg").locator("img")).to_be_visible()
    tab.get_by_role("button", name="Filter").click()
    tab.locator(".pick input").first.check()
    assert not findings(tab), "the sheet"
    page.card("trip/blue.jpg").locator(".frame").click()
    expect(tab.get_by_role("dialog").get_by_text("Describe what is shown")).to_be_visible()
    assert not findings(tab), "large"


def test_files_are_dropped_and_the_inbox_is_seen(page: Page) -> None:
    """What is added goes into the inbox and is captioned; what lies there stands with its reason."""
    tab = page.open("?folder=inbox")
    page.served.place.drop(b"words", "letter.doc")
    letter = tab.get_by_role("listitem").filter(has_text="letter.doc")
    expect(letter.get_by_text("Ignored", exact=True)).to_be_visible()
    tab.locator("#files").set_input_files(
        [{"name": "added.jpg", "mimeType": "image/jpeg", "buffer": picture("orange", 77, 50)}]
    )
    page.served.daemon.until((page.served.place.done / "added.jpg.caption.json").exists)
    tab.evaluate(DROP, list(picture("purple", 66, 44)))
    page.served.daemon.until((page.served.place.done / "dropped.jpg.caption.json").exists)
    expect(tab.locator("#uploads")).to_be_hidden()
    tab.get_by_role("link", name="Captioned").click()
    expect(page.card("dropped.jpg")).to_be_visible()
    (page.served.place.inbox / "letter.doc").unlink()


DROP = """(bytes) => {
    const given = new DataTransfer();
    given.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const event = new DragEvent(kind, { dataTransfer: given, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }
}"""
