"""What makes the page pleasant: places that are kept, words that are not lost, everything by keys."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from open_page import CHROMIUM, Page, Served, expect, picture, serving

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
    pytest.mark.xdist_group("page in detail"),
]
OLD = 400
IN_WINDOW = """[...document.querySelectorAll(".picture:not(.unknown)")].filter((item) => {
    const { top, bottom } = item.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
}).map((item) => Number(item.getAttribute("aria-posinset")))"""

COLUMNS = "getComputedStyle(document.querySelector('#pictures')).gridTemplateColumns.split(' ').length"
IS_KEPT = f"""(first) => {{
    const seen = {IN_WINDOW};
    const isDone = !document.querySelector(".unknown");
    return isDone && Math.min(...seen) - 10 <= first && first <= Math.max(...seen);
}}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that has delivered much, and three pictures today."""
    with serving(tmp_path_factory.mktemp("daemon"), old=OLD) as served:
        for name, width in (("one", 91), ("two", 92), ("three", 93)):
            served.deliver(f"day/{name}.jpg", picture("red", width, 60))
        served.daemon.until(lambda: len(served.ask("/api/ids")["ids"]) == OLD + 3)
        yield served


def scrolled_to(page: Page, share: float) -> int:
    """The first picture in the window there, once its neighbours are shown too."""
    # Before the first ones are there, there is nothing to scroll.
    expect(page.tab.locator(".picture:not(.unknown)").first).to_be_visible()
    page.tab.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {share})")
    page.served.daemon.until(lambda: len(page.tab.evaluate(IN_WINDOW)) > 5)
    first: int = page.tab.evaluate(IN_WINDOW)[0]
    return first


def test_the_place_is_kept_when_the_columns_change(page: Page) -> None:
    """Small pictures or large ones, a wide window or a narrow one: what was in it is in it."""
    tab = page.open()
    first = scrolled_to(page, 0.5)
    assert 100 < first < 300

    def keeps(act: Callable[[], object]) -> None:
        columns = tab.evaluate(COLUMNS)
        act()
        page.served.daemon.until(lambda: tab.evaluate(COLUMNS) != columns)
        page.served.daemon.until(lambda: tab.evaluate(IS_KEPT, first))

    # In a narrow window the button lies above all pictures: to click it is to scroll to the first.
    keeps(lambda: tab.get_by_role("button", name="Small").click())
    keeps(lambda: tab.set_viewport_size({"width": 600, "height": 800}))
    keeps(lambda: tab.set_viewport_size({"width": 1440, "height": 1000}))
    keeps(lambda: tab.get_by_role("button", name="Small").click())
    expect(page.card("old/0.jpg")).to_have_count(0)
    page.served.daemon.until(lambda: at_the_end(page))


def at_the_end(page: Page) -> bool:
    """Pressed again: while the columns change, the page goes back to its place."""
    page.tab.keyboard.press("End")
    found: int = page.card("old/0.jpg").count()
    return found == 1


def test_keys_begin_with_what_is_in_the_window(page: Page) -> None:
    """Whoever has scrolled on is not thrown back to the first picture."""
    tab = page.open()
    first = scrolled_to(page, 0.5)
    tab.keyboard.press("j")
    focused = "Number(document.activeElement.getAttribute('aria-posinset'))"
    assert first <= tab.evaluate(focused) <= first + 12


def test_a_range_is_selected_by_keys(page: Page) -> None:
    """x selects one, X all from there to here."""
    tab = page.open()
    expect(tab.locator(".picture:not(.unknown)").first).to_be_visible()  # whatever other tests have added
    tab.keyboard.press("j")
    tab.keyboard.press("x")
    for _ in range(20):
        tab.keyboard.press("j")
    tab.keyboard.press("Shift+X")
    expect(tab.locator("#picked-count")).to_have_text("21 selected")


def test_typed_words_outlast_a_closed_view(page: Page) -> None:
    """On a card and in the large view: they are there again until they are saved or cancelled."""
    tab = page.open("?beneath=day")
    page.card("day/one.jpg").locator(".frame").click()
    dialog = tab.get_by_role("dialog")
    expect(dialog.get_by_text("91 × 60 pixels")).to_be_visible()
    tab.keyboard.press("e")
    dialog.get_by_label("Caption", exact=True).fill("Half a sentence")
    dialog.get_by_text("Title, alternative text, keywords").click()
    dialog.get_by_label("Alternative text").fill("Red.")
    dialog.get_by_role("button", name="Close").click()
    page.card("day/one.jpg").locator(".frame").click()
    expect(dialog.get_by_label("Caption", exact=True)).to_be_focused()
    expect(dialog.get_by_label("Caption", exact=True)).to_have_value("Half a sentence")
    expect(dialog.get_by_label("Alternative text")).to_have_value("Red.")
    tab.keyboard.press("Escape")
    expect(dialog.locator(".caption")).to_have_text("A 91 by 60 picture, mostly red.")
    tab.keyboard.press("Escape")
    card = page.card("day/two.jpg")
    card.get_by_role("button", name="Edit the caption").click()
    card.get_by_label("Caption", exact=True).fill("Another half")
    tab.get_by_role("link", name="Failed").click()
    tab.get_by_role("link", name="Captioned").click()
    expect(page.card("day/two.jpg").get_by_label("Caption", exact=True)).to_have_value("Another half")
    page.card("day/two.jpg").get_by_role("button", name="Cancel").click()
    expect(page.card("day/two.jpg").locator("form")).to_have_count(0)


def shot() -> bytes:
    """As a camera takes it, with its clock and its name."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif.update({271: "Canon", 272: "Canon EOS R5"})
    exif.get_ifd(0x8769)[0x9003] = "2019:08:03 14:30:05"
    Image.new("RGB", (97, 60), "blue").save(buffer, "JPEG", exif=exif.tobytes())
    return buffer.getvalue()


def test_a_picture_tells_its_camera_and_its_former_words(page: Page) -> None:
    """When it was taken and by which camera; what its caption was before, and why that made way."""
    page.served.deliver("shot/sea.jpg", shot())
    tab = page.open("?beneath=shot")
    page.card("shot/sea.jpg").locator(".frame").click()
    dialog = tab.get_by_role("dialog")
    expect(dialog.get_by_role("definition").filter(has_text="Canon EOS R5")).to_be_visible()
    expect(dialog.get_by_role("definition").filter(has_text="August 3, 2019")).to_be_visible()
    expect(dialog.get_by_text("Former words", exact=True)).to_be_hidden()
    tab.keyboard.press("e")
    tab.keyboard.press("Control+A")
    tab.keyboard.type("The sea.\n")
    dialog.get_by_text("Former words", exact=True).click()
    expect(dialog.get_by_text("A 97 by 60 picture, mostly blue.").last).to_be_visible()
    expect(dialog.get_by_text("then edited by hand")).to_be_visible()
    shots = page.served.ask("/api/pictures?beneath=shot")["pictures"]
    told = page.served.ask(f"/api/pictures/{shots[0]['id']}/shot")
    assert told == {"taken_at": "2019-08-03T14:30:05", "camera": "Canon EOS R5"}


def test_keys_go_on_after_a_button_has_gone(page: Page) -> None:
    """Whoever accepts the last picture by mouse goes on by keys."""
    for width in (84, 85):
        page.served.deliver(f"blank/{width}.jpg", picture("blue", width, 60))
    tab = page.open("?beneath=blank&needs_look=true")
    page.card("blank/84.jpg").locator(".frame").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_role("button", name="Looks right").click()
    expect(dialog.get_by_role("button", name="Looks right")).to_be_hidden()
    tab.keyboard.press("k")
    expect(dialog.get_by_role("heading", name="blank/85.jpg")).to_be_visible()


def test_many_files_are_added(page: Page, tmp_path: Path) -> None:
    """A few lines tell of all of them; what is refused is told until it is put away."""
    files = [tmp_path / f"{number:03}.jpg" for number in range(60)]
    for number, file in enumerate(files):
        file.write_bytes(picture("green", 100 + number, 60))
    (tmp_path / "empty.jpg").touch()
    tab = page.open("?folder=inbox")
    tab.locator("#files").set_input_files([tmp_path / "empty.jpg", *files])
    uploads = tab.get_by_role("region", name="Uploads")
    expect(uploads.get_by_text("1 file was refused", exact=True)).to_be_visible()
    expect(uploads.get_by_role("listitem")).to_have_count(1)
    expect(uploads.get_by_text("The file is empty.")).to_be_visible()
    expect(tab.locator("#told")).to_have_text("60 files are in the inbox.")
    uploads.get_by_role("button", name="Put away").click()
    expect(uploads).to_be_hidden()
    page.served.daemon.until((page.served.place.done / "059.jpg.caption.json").exists)
    page.complaints.clear()  # the browser's own, of the answer 422


def test_what_is_selected_in_the_inbox_stays_selected(page: Page) -> None:
    """A line that says the same is left alone when the list is asked for again."""
    tab = page.open("?folder=inbox")
    page.served.place.drop(b"words", "letter.doc")
    letter = tab.get_by_role("listitem").filter(has_text="letter.doc")
    letter.evaluate("(line) => { line.isTheSame = true; }")
    page.served.place.drop(b"words", "another.doc")
    expect(tab.get_by_role("listitem").filter(has_text="another.doc")).to_be_visible()
    assert letter.evaluate("(line) => line.isTheSame")
    for name in ("letter.doc", "another.doc"):
        (page.served.place.inbox / name).unlink()


def test_the_keys_are_listed(page: Page) -> None:
    """By ?, and by a button for whoever does not know that."""
    tab = page.open()
    tab.keyboard.press("?")
    expect(tab.get_by_role("dialog", name="Keys")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("dialog", name="Keys")).to_be_hidden()
    tab.get_by_role("button", name="Keys").click()
    dialog = tab.get_by_role("dialog", name="Keys")
    expect(dialog.get_by_role("row").filter(has_text="select it, or all up to it")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_what_cannot_move_is_not_told_as_work(page: Page) -> None:
    """A file without its end is counted as such: nothing is said to be in work or to be done soon."""
    tab = page.open()
    page.served.place.drop(picture("red", 99, 60)[:-30], "half.jpg")
    expect(tab.get_by_text("1 not whole")).to_be_visible()
    expect(tab.get_by_text("Watching the inbox", exact=True)).to_be_visible()
    expect(tab.locator("[data-count=inbox]")).to_have_text("1")
    (page.served.place.inbox / "half.jpg").unlink()
    expect(tab.locator("[data-count=inbox]")).to_have_text("")
