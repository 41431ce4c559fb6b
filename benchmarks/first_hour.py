"""The first hour: from a machine with Python to a captioned picture, as a newcomer would type it, timed.

    python benchmarks/first_hour.py                             wheel, environment, init, check, run, look
    python benchmarks/first_hour.py --svg docs/first-hour.svg   draws what was seen on the way

Every line is a process of its own in an empty folder, with the built-in model, so that neither a card nor a
download of weights is needed.  pip takes packages from its cache, if it has them.  What counts is the time
from the first line to the sidecar beside the picture: under two minutes with packages cached.
"""

from __future__ import annotations

import io
import os
import random
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from shared import REPOSITORY, Report, Target, options

LIMIT_SECONDS = 120.0
SHOWN_LINES = 14  # of each command, in the drawing
# As rich's own, but for the font, which it would have fetched from elsewhere.
DRAWING = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


@dataclass(frozen=True)
class Step:
    typed: str
    seconds: float
    said: str


def hour(place: Path, wheel: Path) -> list[Step]:
    """All that is typed; SystemExit for a line that fails."""
    captiond = "venv/bin/captiond"
    lines = (
        f"{shlex.quote(sys.executable)} -m venv venv",
        f"venv/bin/pip install -qq -c {REPOSITORY / 'constraints.txt'} {wheel}",
        f"{captiond} init pictures --model demo --yes",
        f"{captiond} check -c pictures/captiond.yaml",
        "cp drawn/a.png pictures/inbox/",
        f"{captiond} run --once -c pictures/captiond.yaml",
        f"{captiond} explain -c pictures/captiond.yaml a.png",
        "cat pictures/done/a.png.caption.json",
    )
    _draw(place / "drawn")
    return [_typed(line, place) for line in lines]


def _typed(line: str, place: Path) -> Step:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CAPTIOND_")}
    surroundings = {
        **inherited,
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "COLUMNS": "110",
        "CAPTIOND_LOG__FORMAT": "console",
    }
    surroundings.pop("PYTHONPATH", None)
    began = time.monotonic()
    ended = subprocess.run(
        shlex.split(line), cwd=place, env=surroundings, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise SystemExit(f"{line}\n{ended.stdout}{ended.stderr}")
    seconds = time.monotonic() - began
    return Step(_elsewhere(line, place), seconds, _elsewhere(ended.stdout + ended.stderr, place))


def _elsewhere(text: str, place: Path) -> str:
    """As it would read on somebody's machine."""
    for here, there in ((str(place), "/home/ada"), (f"{REPOSITORY}/", ""), (sys.executable, "python3")):
        text = text.replace(here, there)
    return text


def _draw(folder: Path) -> None:
    """One of the demo's pictures."""
    from captiond.demo.scenes import draw, random_scene

    folder.mkdir()
    draw(random_scene(random.Random(1)), 400, 300).save(folder / "a.png")


def drawing(steps: list[Step]) -> str:
    """What a terminal would have shown."""
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    for step in steps:
        console.print(
            Text(f"$ {step.typed}", style="bold green"), Text(f"  # {step.seconds:.1f} s", style="dim")
        )
        lines = step.said.rstrip().splitlines()
        console.print(Text("\n".join(lines[:SHOWN_LINES])))
        if len(lines) > SHOWN_LINES:
            console.print(Text("...", style="dim"))
    return console.export_svg(title="The first hour", code_format=DRAWING)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--svg", type=Path, help="draw it into this file")
    given = parser.parse_args()
    report = Report("first_hour", "a wheel built here, pip's cache as it is, the built-in model")
    with TemporaryDirectory() as folder:
        place = Path(folder)
        build = [sys.executable, "-m", "build", "--wheel", "--quiet", "--no-isolation", "--outdir", folder]
        subprocess.run(build, cwd=REPOSITORY, check=True)
        (wheel,) = place.glob("*.whl")
        steps = hour(place, wheel)
    for step in steps:
        report.add(typed=step.typed, seconds=step.seconds)
    seconds = sum(step.seconds for step in steps)
    report.targets.append(Target("seconds to the first captioned picture", seconds, LIMIT_SECONDS))
    if given.svg is not None:
        given.svg.write_text(drawing(steps), encoding="utf-8")
    report.give(given.json)


if __name__ == "__main__":
    main()
