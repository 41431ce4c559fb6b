"""`captiond demo`: sample pictures in, one whole run of the daemon, and a page to look at.

Works in one folder, which must be new or empty; nothing of a user's is ever touched.
"""

from __future__ import annotations

import base64
import html
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captiond.demo.samples import Sample, write_samples
from captiond.demo.scenes import Scene
from captiond.errors import CannotStart, ExitCode
from captiond.pictures.decoding import decode
from captiond.settings import Settings, load

THUMBNAIL_PIXELS = 240
_NAME_WIDTH = 10  # of "keywords", and a gap


@dataclass(frozen=True, slots=True)
class Tour:
    """The folder of one demo run, and the pictures drawn into its inbox."""

    folder: Path
    samples: tuple[Sample, ...]

    @property
    def inbox(self) -> Path:
        return self.folder / "inbox"

    @property
    def done(self) -> Path:
        return self.folder / "done"

    @property
    def page(self) -> Path:
        return self.folder / "index.html"


@dataclass(frozen=True, slots=True)
class Stop:
    """One picture of the tour: what was drawn, and what the daemon made of it."""

    name: str
    drawn: Mapping[str, str]  # the right texts, by their names on the page
    told: Mapping[str, str] | None  # the sidecar's texts; None if the picture was not delivered
    written: tuple[str, ...]  # places inside the image that carry the texts
    thumbnail: bytes | None  # JPEG

    @property
    def is_right(self) -> bool:
        return self.told == self.drawn

    @property
    def caption(self) -> str | None:
        return self.told["caption"] if self.told is not None else None


def prepare(folder: Path | None) -> Tour:
    """Draw the samples.  Raises: CannotStart, if the folder already holds something."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="captiond-demo-"))
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CannotStart(
            f"{folder} is not an empty folder",
            exit_code=ExitCode.USAGE,
            advice="The demo works in a folder of its own: name a new one, or none for a temporary one.",
        )
    for name in ("inbox", "done", "failed", "state"):
        (folder / name).mkdir(parents=True)
    return Tour(folder, tuple(write_samples(folder / "inbox")))


def settings(tour: Tour) -> Settings:
    """The settings of a demo run; it reads neither a settings file nor the environment."""
    folders = {f"folders.{name}": str(tour.folder / name) for name in ("inbox", "done", "failed", "state")}
    ours = {**folders, "model.id": "demo", "model.device": "cpu", "watch.settle_seconds": "0.2"}
    ours["fields.wanted"] = "[caption, alt_text, title, keywords]"
    ours["watch.settle_untold_seconds"] = "0.2"  # no other program writes there
    return load(None, {}, tour.folder, overrides=ours, system_file=tour.folder / "captiond.yaml")


def look_back(tour: Tour) -> list[Stop]:
    """What became of each sample; also writes `index.html` beside the folders."""
    stops = [_stop(tour, sample) for sample in tour.samples]
    tour.page.write_text(_page(stops), encoding="utf-8")
    return stops


def told(tour: Tour, stops: list[Stop]) -> Iterator[str]:
    """What the demo says at its end."""
    for stop in stops:
        yield f"\n{stop.name}"
        told = stop.told or {"": "not delivered"}
        yield from (f"  {name:{_NAME_WIDTH}}{text}" for name, text in told.items())
    right = sum(stop.is_right for stop in stops)
    yield f"\n{right} of {len(stops)} pictures have exactly the right texts.  Look at the page {tour.page},"
    yield f"at the sidecars and pictures in {tour.done}, or at what one picture says itself:"
    yield f"  exiftool -ImageDescription -AltTextAccessibility -Title -Subject {tour.done / stops[0].name}"
    yield "\nThis model knows drawn shapes only.  For photographs use Phi-3.5-vision, the default: leave out"
    yield "model.id, or set it to microsoft/Phi-3.5-vision-instruct; a GPU is advised (docs/gpu.md)."


def _stop(tour: Tour, sample: Sample) -> Stop:
    name = str(sample.path.relative_to(tour.inbox))
    sidecar = tour.done / f"{name}.caption.json"
    if not sidecar.exists():
        return Stop(name, _drawn(sample.scene), None, (), None)
    record = json.loads(sidecar.read_text(encoding="utf-8"))
    written = tuple(entry["target"] for entry in record["written"] if entry["action"] == "wrote")
    fields = record.get("fields", {})
    told = _named(record["caption"], fields.get("alt_text"), fields.get("title"), fields.get("keywords", ()))
    return Stop(name, _drawn(sample.scene), told, written, _thumbnail(tour.done / name))


def _drawn(scene: Scene) -> dict[str, str]:
    return _named(scene.caption, scene.alt_text, scene.title, scene.keywords)


def _named(caption: str, alt_text: str | None, title: str | None, keywords: Sequence[str]) -> dict[str, str]:
    """The texts as people read them, in the order in which they are shown."""
    return {
        "caption": caption, "alt text": alt_text or "", "title": title or "", "keywords": ", ".join(keywords)
    }  # fmt: skip


def _thumbnail(path: Path) -> bytes:
    # Browsers show neither TIFF nor HEIC, so every picture is shown as a small upright JPEG.
    image = decode(path.read_bytes(), max_pixels=100_000_000).image
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _page(stops: list[Stop]) -> str:
    figures = "\n".join(_figure(stop) for stop in stops)
    right = sum(stop.is_right for stop in stops)
    return _PAGE.format(figures=figures, right=right, count=len(stops))


def _figure(stop: Stop) -> str:
    picture = ""
    if stop.thumbnail is not None:
        data = base64.b64encode(stop.thumbnail).decode("ascii")
        alt = html.escape((stop.told or {}).get("alt text", ""))
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="{alt}">'
    told = stop.told or {"": "not delivered: see failed/"}
    lines = "".join(_line(name, text, stop.drawn.get(name, text)) for name, text in told.items())
    places = ", ".join(("JSON sidecar", *stop.written))
    return (
        f"<figure>{picture}<figcaption><dl>{lines}</dl>"
        f"<small><code>{html.escape(stop.name)}</code> · {html.escape(places)}</small></figcaption></figure>"
    )


def _line(name: str, text: str, drawn: str) -> str:
    note = "" if text == drawn else f"<br><small>drawn: {html.escape(drawn)}</small>"
    return f"<dt>{name}</dt><dd>{html.escape(text)}{note}</dd>"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>captiond: a demo run</title>
<style>
  :root {{ color-scheme: light dark; font: 16px/1.45 system-ui, sans-serif; }}
  body {{ max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }}
  main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1.5rem; }}
  figure {{ margin: 0; }}
  img {{ width: 100%; height: 12rem; object-fit: contain; background: #8882; border-radius: .4rem; }}
  small {{ opacity: .75; }}
  dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0 .6rem; margin: .4rem 0; }}
  dt {{ opacity: .75; }}
  dd {{ margin: 0; }}
  code {{ font-size: .95em; }}
</style>
<h1>captiond: a demo run</h1>
<p>{right} of {count} pictures have exactly the right texts.  The built-in demo model knows drawn shapes
only.  For photographs set <code>model.id: microsoft/Phi-3.5-vision-instruct</code>, which is the default.</p>
<main>
{figures}
</main>
</html>
"""
