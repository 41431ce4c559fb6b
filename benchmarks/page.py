"""Whether the page stays quick with very many pictures: no task of the browser over 50 ms.

    python benchmarks/page.py [PICTURES] [--json FILE]

Workload: a history of 20,000 pictures, and 60 more that lie in done/ and have thumbnails; a headless
Chromium with a window of 1440 x 1000.  The page is opened, scrolled by the wheel, thrown to five places and
to its end, made dense, searched, all found are selected, and ten pictures are looked at large.  A
PerformanceObserver in the page tells each task over 50 ms: what somebody notices as a stutter.  On a busy
machine most of that is waiting for others, so the browser's own trace is asked as well: the longest task by
the time that the processor worked on it.  Beside it stands how many elements the document holds then.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import shared  # noqa: F401  (it puts this checkout first)
from open_page import IN_SIGHT, Page, browsing, expect, serving, tab_of
from shared import THIS_CHECKOUT, numbered, photo

PICTURES, LYING = 20_000, 60
LONG_MS = 50
QUIET_MS = 800  # after each act, for what it set going
OBSERVE = """
window.longTasks = [];
new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) window.longTasks.push(duration);
}).observe({ type: "longtask", buffered: true });
"""


@dataclass(frozen=True)
class Act:
    """What somebody did, and what it cost."""

    name: str
    long_tasks: int
    longest_ms: float
    longest_of_processor_ms: float | None  # None: this browser does not tell
    elements: int


def acts(page: Page, count: int) -> Iterator[tuple[str, Callable[[], object]]]:
    tab = page.tab
    rng = random.Random(5)

    def seen() -> None:
        page.served.daemon.until(lambda: tab.evaluate(IN_SIGHT))

    def throw() -> None:
        for _ in range(5):
            tab.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {rng.random()})")
            seen()

    def wheel() -> None:
        for _ in range(60):
            tab.mouse.wheel(0, 700)
            tab.wait_for_timeout(30)
        seen()

    def search() -> None:
        tab.get_by_role("searchbox").press_sequentially("captioned long ago 77")
        expect(page.card("old/77.jpg")).to_be_visible()
        tab.get_by_role("searchbox").fill("")
        expect(tab.locator("[aria-setsize]").first).to_have_attribute("aria-setsize", str(count + LYING))

    def select() -> None:
        tab.locator(".pick input").first.check()
        tab.get_by_role("button", name="Select all found").click()
        tab.get_by_role("button", name="Clear").last.click()

    def look() -> None:
        tab.locator(".frame").first.click()
        expect(tab.get_by_role("dialog").locator("img[src]")).to_be_visible()
        for _ in range(10):
            tab.keyboard.press("j")
            tab.wait_for_timeout(100)
        tab.keyboard.press("Escape")

    def begin() -> None:
        page.open()
        seen()

    def end() -> None:
        tab.keyboard.press("End")
        seen()

    def make_dense() -> None:
        tab.get_by_role("button", name="Small").click()
        seen()

    yield "open", begin
    yield "scroll by the wheel", wheel
    yield "throw to five places", throw
    yield "go to the end", end
    yield "make it dense", make_dense
    yield "search", search
    yield "select all", select
    yield "look at ten large", look


def measured(browser: Any, page: Page, name: str, act: Callable[[], object]) -> Act:
    browser.start_tracing(page=page.tab, categories=["toplevel", "devtools.timeline", "__metadata"])
    act()
    page.tab.wait_for_timeout(QUIET_MS)
    worked = longest_task(json.loads(browser.stop_tracing()))
    found: list[float] = page.tab.evaluate("window.longTasks.splice(0)")
    elements: int = page.tab.evaluate("document.querySelectorAll('*').length")
    return Act(name, len(found), round(max(found, default=0.0)), worked, elements)


def longest_task(trace: dict[str, Any]) -> float | None:
    """Milliseconds that the processor worked on the longest task of a page's main thread."""
    events = trace["traceEvents"]
    mains = {
        (one["pid"], one["tid"])
        for one in events
        if one.get("name") == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    tasks = [one for one in events if (one.get("pid"), one.get("tid")) in mains and "RunTask" in one["name"]]
    worked = [one["tdur"] / 1000 for one in tasks if "tdur" in one]
    return round(max(worked), 1) if worked else None


def run(count: int) -> list[Act]:
    with tempfile.TemporaryDirectory() as root, serving(Path(root), old=count, more=THIS_CHECKOUT) as served:
        data = photo(1)
        for number in range(LYING):
            served.place.drop(numbered(data, number), f"{number}.jpg")
        served.daemon.until(lambda: len(served.ask("/api/ids")["ids"]) == count + LYING)
        with browsing() as browser, tab_of(browser, served) as page:
            page.tab.add_init_script(OBSERVE)
            return [measured(browser, page, name, act) for name, act in acts(page, count)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="?", type=int, default=PICTURES)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = run(asked.pictures)
    print(f"{'':24} {'tasks over 50 ms':>18} {'longest':>10} {'of processor':>14} {'elements':>10}")
    for one in found:
        worked = "unknown" if one.longest_of_processor_ms is None else f"{one.longest_of_processor_ms:.1f} ms"
        print(
            f"{one.name:24} {one.long_tasks:>18} {one.longest_ms:>7.0f} ms {worked:>14} {one.elements:>10,}"
        )
    if asked.json is not None:
        told: dict[str, Any] = {"pictures": asked.pictures, "acts": [asdict(one) for one in found]}
        asked.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
