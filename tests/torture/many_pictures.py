"""The page with very many pictures: a real browser, and a history as long as `make torture` says."""

from __future__ import annotations

from pathlib import Path

from open_page import CHROMIUM, IN_SIGHT, MOST_ELEMENTS, browsing, serving, tab_of

PICTURES = 200, 20_000


def missing() -> str | None:
    return "no Chromium on the PATH" if CHROMIUM is None else None


def look_through(root: Path, count: int) -> str:
    """Any of them is a moment away, and the document never holds more than a few rows."""
    most = 0
    with serving(root, old=count) as served, browsing() as browser, tab_of(browser, served) as page:
        tab = page.open()
        for share in (0.5, 0.25, 0.75, 1.0):
            tab.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {share})")
            served.daemon.until(lambda: tab.evaluate(IN_SIGHT))
            most = max(most, tab.evaluate("document.querySelectorAll('*').length"))
            assert most < MOST_ELEMENTS, f"{most} elements"
        tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        oldest = page.card("old/0.jpg")
        oldest.wait_for()
        assert oldest.get_attribute("aria-posinset") == str(count)
    return f"at most {most:,} elements"
