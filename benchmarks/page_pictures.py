"""Draws docs/page*.png anew: the page at four widths, light and dark, with drawn pictures in it.

python benchmarks/page_pictures.py [FOLDER]
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor

import shared  # noqa: F401  (it puts this checkout first)
from captiond.demo.scenes import Scene, draw, random_scene
from fake_chat_server import Handler
from open_page import Served, browsing, expect, serving, tab_of
from shared import REPOSITORY, THIS_CHECKOUT

PICTURES = 24
WIDTH, HEIGHT = 1600, 1200
COLOURS = 256  # of a palette: the files stay small
ACCENTS = ("#3f8f55", "#b3311b", "#ff8a70")  # of page.css


@dataclass(frozen=True)
class Shot:
    name: str
    width: int
    height: int
    scheme: str
    query: str = ""
    is_large: bool = False


SHOTS = (
    Shot("page", 1440, 900, "light"),
    Shot("page-dark", 1440, 900, "dark"),
    Shot("page-390", 390, 844, "light"),
    Shot("page-390-dark", 390, 844, "dark", is_large=True),
    Shot("page-820", 820, 1000, "light", "?folder=failed"),
    Shot("page-820-dark", 820, 1000, "dark", "?folder=daemon"),
    Shot("page-2560", 2560, 1300, "light"),
    Shot("page-2560-dark", 2560, 1300, "dark", is_large=True),
)
SAID = {
    "alt_text": "Drawn shapes on a plain ground.",
    "title": "Shapes",
    "keywords": "shapes, drawing, colours",
}
PROMPTS = {"cannot see": "alt_text", "title": "title", "keywords": "keywords"}


def deliver(served: Served, scenes: list[Scene]) -> None:
    """Each with a width of its own, by which the model knows it again."""

    def say(handler: Handler) -> None:
        prompt = handler.seen.prompt
        field = next((name for words, name in PROMPTS.items() if words in prompt), None)
        scene = scenes[handler.seen.image.width - WIDTH]
        handler.say(SAID[field] if field is not None else scene.caption)

    served.server.always = say
    for number, scene in enumerate(scenes):
        buffer = io.BytesIO()
        draw(scene, WIDTH + number, HEIGHT).save(buffer, "JPEG", quality=95, subsampling=0)
        served.deliver(f"trip/{number:02}.jpg", buffer.getvalue())
    served.fail("scan/cut.png")


def flattened(image: Image.Image) -> Image.Image:
    """In a palette of its own that has the page's accents, too: they are a few points of many."""
    own = image.quantize(COLOURS - len(ACCENTS), method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*own, *(value for accent in ACCENTS for value in ImageColor.getrgb(accent))])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def shoot(browser: Any, served: Served, shot: Shot, folder: Path) -> None:
    size = {"width": shot.width, "height": shot.height}
    with tab_of(browser, served, viewport=size, color_scheme=shot.scheme, reduced_motion="reduce") as page:
        tab = page.open(shot.query)
        if not shot.query:
            expect(tab.locator(".picture img[src]").first).to_be_visible()
        if shot.is_large:
            tab.locator(".frame").first.click()
            expect(tab.get_by_role("dialog").locator("img[src]")).to_be_visible()
        tab.wait_for_load_state("networkidle", timeout=5000) if not shot.query else tab.wait_for_timeout(1500)
        tab.wait_for_timeout(800)
        image = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    if shot.width > 1440:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    flat = flattened(image)
    flat.save(folder / f"{shot.name}.png", optimize=True)
    print(f"{shot.name}.png: {(folder / f'{shot.name}.png').stat().st_size:,} bytes")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs"
    rng = random.Random(11)
    scenes = [random_scene(rng, rng.randint(1, 3)) for _ in range(PICTURES)]
    settings = {"fields": {"wanted": ["caption", *SAID]}, "limits": {"attempts": 2}}
    with (
        tempfile.TemporaryDirectory() as root,
        serving(Path(root), settings, more=THIS_CHECKOUT) as served,
        browsing() as browser,
    ):
        deliver(served, scenes)
        for shot in SHOTS:
            shoot(browser, served, shot, folder)


if __name__ == "__main__":
    main()
