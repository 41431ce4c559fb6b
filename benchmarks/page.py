"""Whether the page stays quick with very many pictures: no task of the browser over 50 ms.

    python benchmarks/page.py [PICTURES] [--times N] [--json FILE]

Workload: a history of 20,000 pictures, and 60 more that lie in done/ and have thumbnails; a headless
Chromium with a window of 1440 x 1000.  What is done with it stands in `acts`, by real keys and clicks.  Each
act is traced by the browser itself: how long the longest task of the page's main thread took, and how long
the processor worked on it, which is less where others use the processor too.  What the driver of the
browser runs in the page, to find and to wait, is not counted.  Beside it stands how many elements the
document holds then.  With `--times` all of it is done so often, and the least of each number is printed.
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
from open_page import IN_SIGHT, Page, browsing, picture, serving, tab_of
from shared import THIS_CHECKOUT, numbered, photo

PICTURES, LYING, REVIEWED = 20_000, 60, 6
LISTED, UPLOADED = 400, 200
LONG_MS = 50
QUIET_MS = 800  # after each act, for what it set going
DRIVER = "blink.mojom.DevToolsSession"


@dataclass(frozen=True)
class Act:
    """What somebody did, and what it cost."""

    name: str
    long_tasks: int
    longest_ms: float
    longest_of_processor_ms: float
    elements: int


class Acts:
    """What somebody does with the page, one after the other; each waits for what it leads to."""

    def __init__(self, page: Page, count: int) -> None:
        self.page, self.tab, self.count = page, page.tab, count
        self.rng = random.Random(5)

    def until(self, script: str) -> None:
        self.page.served.daemon.until(lambda: self.tab.evaluate(script))

    def seen(self) -> None:
        self.until(IN_SIGHT)

    def press(self, selector: str) -> None:
        self.tab.click(selector)

    def open(self) -> None:
        self.page.open()
        self.seen()

    def wheel(self) -> None:
        for _ in range(60):
            self.tab.mouse.wheel(0, 700)
            self.tab.wait_for_timeout(30)
        self.seen()

    def throw(self) -> None:
        for _ in range(5):
            self.tab.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {self.rng.random()})")
            self.seen()

    def end(self) -> None:
        self.tab.keyboard.press("End")
        self.seen()

    def density(self) -> None:
        self.press("#dense")
        self.seen()

    def search(self) -> None:
        self.press("#search")
        self.tab.keyboard.type("captioned long ago 77", delay=40)
        self.until("document.querySelector('#pictures').textContent.includes('old/77.jpg')")
        self.tab.keyboard.press("Control+A")
        self.tab.keyboard.press("Delete")
        self.until(f"document.querySelector('[aria-setsize=\"{self.count}\"]') !== null")
        self.seen()

    def select_all(self) -> None:
        self.press(".pick input")
        self.press("#pick-all")
        self.press("#pick-none")

    def select_many(self) -> None:
        self.press(".pick input")
        self.tab.evaluate("scrollTo(0, document.querySelector('.picture').offsetHeight * 2000 / 10)")
        self.seen()
        self.tab.keyboard.down("Shift")
        self.tab.locator(".picture:not(.unknown) .pick input").last.click()
        self.tab.keyboard.up("Shift")
        self.press("#pick-none")
        self.tab.keyboard.press("Home")
        self.seen()

    def look(self) -> None:
        self.press(".frame")
        self.until("document.querySelector('#large img[src]') !== null")
        for _ in range(10):
            self.tab.keyboard.press("j")
            self.tab.wait_for_timeout(100)
        self.tab.keyboard.press("Escape")

    def review(self) -> None:
        self.press("#review")
        self.until("document.querySelector('#large img[src]') !== null")
        for _ in range(5):
            self.tab.keyboard.press("ArrowRight")
            self.tab.wait_for_timeout(100)
            self.tab.keyboard.press("ArrowLeft")
            self.tab.wait_for_timeout(100)
        self.tab.keyboard.press("Escape")

    def inbox(self) -> None:
        self.press("[data-folder=inbox]")
        self.until(f"document.querySelectorAll('#lying li').length >= {LISTED}")

    def upload(self) -> None:
        data, folder = photo(1), self.page.served.place.root / "new"
        folder.mkdir()
        files = [folder / f"{number}.jpg" for number in range(UPLOADED)]
        for number, file in enumerate(files):
            file.write_bytes(numbered(data, 1000 + number))
        self.tab.set_input_files("#files", files)
        self.until(f"document.querySelector('#told').textContent.startsWith('{UPLOADED} files')")

    def daemon(self) -> None:
        self.press("[data-folder=daemon]")
        self.until(
            "document.querySelector('#log li') !== null && document.querySelector('#settings tr') !== null"
        )

    def back(self) -> None:
        self.press("[data-folder=done]")
        self.seen()

    def all(self) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "open", self.open
        yield "scroll by the wheel", self.wheel
        yield "throw to five places", self.throw
        yield "go to the end", self.end
        yield "make it dense", self.density
        yield "search, typing", self.search
        yield "select all", self.select_all
        yield "select 2,000 by shift", self.select_many
        yield "make it wide again", self.density
        yield "look at ten large", self.look
        yield "review, to and fro", self.review
        yield "look at the daemon", self.daemon
        yield f"open an inbox of {LISTED}", self.inbox
        yield f"add {UPLOADED} files", self.upload
        yield "back to the sheet", self.back


def measured(browser: Any, page: Page, name: str, act: Callable[[], object]) -> Act:
    browser.start_tracing(page=page.tab, categories=["toplevel", "devtools.timeline", "__metadata"])
    act()
    page.tab.wait_for_timeout(QUIET_MS)
    took, worked = tasks(json.loads(browser.stop_tracing())["traceEvents"])
    elements: int = page.tab.evaluate("document.querySelectorAll('*').length")
    return Act(name, sum(one > LONG_MS for one in took), round(max(took)), round(max(worked), 1), elements)


def tasks(events: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Milliseconds that the tasks of a page's main thread took, and that the processor worked on them."""
    mains = {
        (one["pid"], one["tid"])
        for one in events
        if one.get("name") == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    ours = [one for one in events if (one.get("pid"), one.get("tid")) in mains and "tdur" in one]
    drivers = [one["ts"] for one in ours if DRIVER in json.dumps(one.get("args", {}))]
    all_tasks = [one for one in ours if one["name"] == "ThreadControllerImpl::RunTask"]
    found = [one for one in all_tasks if not any(0 <= at - one["ts"] <= one["dur"] for at in drivers)]
    return [one["dur"] / 1000 for one in found] or [0.0], [one["tdur"] / 1000 for one in found] or [0.0]


def run(count: int) -> list[Act]:
    with tempfile.TemporaryDirectory() as root, serving(Path(root), old=count, more=THIS_CHECKOUT) as served:
        data = photo(1)
        for number in range(LYING):
            served.place.drop(numbered(data, number), f"{number}.jpg")
        for number in range(REVIEWED):
            served.place.drop(picture("blue", 60 + number), f"plain/{number}.jpg")
        for number in range(LISTED):
            served.place.drop(b"words", f"papers/{number}.doc")
        there = count + LYING + REVIEWED
        served.daemon.until(lambda: len(served.ask("/api/ids")["ids"]) == there)
        with browsing() as browser, tab_of(browser, served) as page:
            return [measured(browser, page, name, act) for name, act in Acts(page, there).all()]


def least(runs: list[list[Act]]) -> list[Act]:
    """Of each number the least, since whatever else runs on a machine only ever adds to it."""
    return [
        Act(
            acts[0].name,
            min(one.long_tasks for one in acts),
            min(one.longest_ms for one in acts),
            min(one.longest_of_processor_ms for one in acts),
            max(one.elements for one in acts),
        )
        for acts in zip(*runs, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="?", type=int, default=PICTURES)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    runs = [run(asked.pictures) for _ in range(asked.times)]
    print(f"{'':24} {'tasks over 50 ms':>18} {'longest':>10} {'of processor':>14} {'elements':>10}")
    for one in least(runs):
        worked = f"{one.longest_of_processor_ms:.1f} ms"
        print(
            f"{one.name:24} {one.long_tasks:>18} {one.longest_ms:>7.0f} ms {worked:>14} {one.elements:>10,}"
        )
    if asked.json is not None:
        told: dict[str, Any] = {
            "pictures": asked.pictures,
            "runs": [[asdict(one) for one in acts] for acts in runs],
        }
        asked.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
