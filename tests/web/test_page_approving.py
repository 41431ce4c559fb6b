"""Approving on the page: a real browser, and a daemon whose texts all wait for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from open_page import CHROMIUM, Page, browsing, expect, findings, picture, serving, tab_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with serving(tmp_path, {"output": {"approve": "all"}}) as served, browsing() as browser:
        for width in range(81, 87):
            served.deliver(f"new/{width}.jpg", picture("blue", width, 60))
        served.daemon.until(lambda: len(served.ask("/api/ids")["ids"]) == 6)
        with tab_of(browser, served) as page:
            yield page


def waiting(page: Page) -> set[str]:
    """Of what waits, the names, by the sidecars."""
    records = {path.name: json.loads(path.read_text()) for path in page.served.place.done.rglob("*.json")}
    return {name[:2] for name, told in records.items() if told["approval"]["state"] == "waiting"}


def test_what_waits_is_marked_reviewed_and_approved(page: Page) -> None:
    """One by one with keys, an edit among them; then those that are selected; then nothing waits."""
    tab = page.open()
    expect(page.card("new/81.jpg").get_by_text("Waits for approval")).to_be_visible()
    expect(tab.locator("#review")).to_have_text("Review 6")
    tab.locator("#review").click()
    dialog, keys = tab.get_by_role("dialog"), tab.keyboard
    expect(dialog.get_by_text("86 × 60 pixels")).to_be_visible()
    expect(dialog.get_by_text("Waits for approval")).to_be_visible()
    assert findings(tab) == []
    keys.press("a")
    expect(dialog.get_by_text("85 × 60 pixels")).to_be_visible()
    dialog.get_by_role("button", name="Approve").click()
    expect(dialog.get_by_text("84 × 60 pixels")).to_be_visible()
    keys.press("e")
    keys.press("Control+A")
    keys.type("The sea.\n")
    expect(dialog.get_by_text("The model said: A 84")).to_be_visible()
    expect(dialog.get_by_text("Waits for approval")).to_be_hidden()
    expect(dialog.get_by_role("button", name="Approve")).to_be_hidden()
    expect(dialog.get_by_text("Approved", exact=True)).to_be_visible()
    keys.press("Escape")
    page.served.daemon.until(lambda: waiting(page) == {"81", "82", "83"})
    expect(tab.locator("#review")).to_have_text("Review 3")

    page.open("?awaits_approval=true")
    expect(tab.locator(".picture")).to_have_count(3)
    page.card("new/83.jpg").get_by_role("checkbox").check()
    page.card("new/82.jpg").get_by_role("checkbox").check()
    tab.locator("#pick-approve").click()
    expect(tab.locator("#told")).to_have_text("2 pictures were approved.")
    expect(page.card("new/83.jpg").get_by_text("Waits for approval")).to_be_hidden()
    assert waiting(page) == {"81"}

    page.card("new/81.jpg").locator(".opener").click()
    dialog.get_by_role("button", name="Approve").click()
    expect(dialog.get_by_role("button", name="Approve")).to_be_hidden()
    dialog.get_by_role("button", name="Put former words back").click()
    expect(dialog.get_by_role("button", name="Approve")).to_be_visible()
    assert waiting(page) == {"81"}
    assert (page.served.place.done / "new/81.jpg").read_bytes() == picture("blue", 81, 60)
