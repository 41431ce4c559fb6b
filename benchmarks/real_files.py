"""Writes a caption into every image of a folder: with our writer, piexif and exiftool; judges the results.

Workload: each JPEG, PNG, WebP, TIFF, HEIC and AVIF file of the folder that Pillow decodes, copied; one
caption in two scripts with an emoji, as EXIF ImageDescription, over whatever is there.  Clean means: the
same pixels, compressed data, segments and tags, the caption read back by Pillow and exiftool, no new
complaint of `exiftool -validate`; refused: the very same bytes; damaged: anything else.  Times are for bytes
in memory (for HEIC and AVIF they include the start of the exiftool that puts our block in); exiftool's own
are for one run over all files of a format, files read and written included.

With --fields instead: a caption, alt text, a title and keywords at once, as `output.metadata: auto` writes
them when all are wanted.  Clean means the same of every place that was written; refused: no place inside was.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import piexif
import pillow_heif

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests")]  # where the judges are

from captiond.exiftool import Exiftool  # noqa: E402
from captiond.metadata import describe  # noqa: E402
from captiond.records import Texts  # noqa: E402
from metadata.fields import ALL, SAYS, carriers_of  # noqa: E402
from metadata.independent import exiftool_tags  # noqa: E402
from metadata.judging import copied, counted, decodable, judged  # noqa: E402
from metadata.making import CAPTION  # noqa: E402

FORMATS = {
    "JPEG": "JPEG",
    "MPO": "JPEG",
    "PNG": "PNG",
    "WEBP": "WebP",
    "TIFF": "TIFF",
    "HEIF": "HEIC",
    "AVIF": "AVIF",
}
LONGEST = 10  # seconds for one file
VERDICTS = ("clean", "with invented tags", "refused", "damaged")

Files = Mapping[str, tuple[str, bytes]]  # name -> Pillow's name of the format, bytes
Writer = Callable[[Files, Path], float]  # puts the written files into a folder, and tells the seconds it took


def write_ours(files: Files, folder: Path) -> float:
    with closing(Exiftool()) as tool:

        def lay(format: str, data: bytes) -> bytes:
            return describe(data, format, Texts(CAPTION), replace=True, place=tool.place).data

        return each(files, folder, lay)


def write_with_piexif(files: Files, folder: Path) -> float:
    def insert(_format: str, data: bytes) -> bytes:
        try:
            tags = piexif.load(data)
        except ValueError:  # a WebP without EXIF
            tags = {"0th": {}}
        tags["0th"][piexif.ImageIFD.ImageDescription] = CAPTION.encode()
        out = io.BytesIO()
        piexif.insert(piexif.dump(tags), data, out)
        return out.getvalue()

    return each(files, folder, insert)


def write_with_exiftool(files: Files, folder: Path) -> float:
    copied(folder.parent, folder.name, {name: data for name, (_, data) in files.items()})
    options = ["-q", "-q", "-P", "-overwrite_original", "-api", "NoMandatory=1", "-charset", "exif=UTF8"]
    start = time.perf_counter()
    command = ["exiftool", *options, f"-IFD0:ImageDescription={CAPTION}", str(folder)]
    subprocess.run(command, capture_output=True, check=False)
    return time.perf_counter() - start


def each(files: Files, folder: Path, write: Callable[[str, bytes], bytes]) -> float:
    """Write file by file; one whose writer fails or takes too long stays as it was."""
    folder.mkdir()
    seconds = 0.0
    for name, (format, data) in files.items():
        start = time.perf_counter()
        signal.alarm(LONGEST)
        try:
            new = write(format, data)
        except Exception:  # whatever a writer raises, it wrote nothing
            new = data
        finally:
            signal.alarm(0)
        seconds += time.perf_counter() - start
        (folder / name).write_bytes(new)
    return seconds


def ring(*_: object) -> None:
    raise TimeoutError


def measured(files: Files, name: str, write: Writer) -> dict[str, Any]:
    """What became of the files of one format, and the milliseconds for each."""
    with tempfile.TemporaryDirectory() as temporary:
        old = {name: data for name, (_, data) in files.items()}
        seconds = write(files, Path(temporary) / "new")
        tags = exiftool_tags(copied(Path(temporary), "old", old))
        verdicts = judged(old, tags, Path(temporary) / "new")
    numbers = {verdict: counted(verdicts)[verdict] for verdict in VERDICTS}
    return {"writer": name, "files": len(files), **numbers, "ms": round(1000 * seconds / len(files), 2)}


def compared(folder: Path) -> list[dict[str, Any]]:
    """One row for each format and writer."""
    writers: dict[str, Writer] = {"captiond": write_ours, "piexif": write_with_piexif}
    if shutil.which("exiftool"):
        version = subprocess.run(["exiftool", "-ver"], capture_output=True, text=True, check=True).stdout
        writers[f"exiftool {version.strip()}"] = write_with_exiftool
    return [
        {"format": format, **measured(files, name, write)}
        for format, files in sorted(by_format(folder).items())
        for name, write in writers.items()
    ]


def with_all_fields(folder: Path) -> list[dict[str, Any]]:
    """One row for each format: all texts at once, each place judged by itself."""
    rows = []
    with closing(Exiftool()) as tool, tempfile.TemporaryDirectory() as temporary:
        for format, files in sorted(by_format(folder).items()):
            started, made = time.perf_counter(), {}
            for name, (called, data) in files.items():
                made[name] = describe(data, called, ALL, replace=True, blocks="auto", place=tool.place)
            seconds = time.perf_counter() - started
            old = {name: data for name, (_, data) in files.items()}
            tags = exiftool_tags(copied(Path(temporary), f"old-{format}", old))
            new = copied(Path(temporary), f"new-{format}", {name: one.data for name, one in made.items()})
            carriers = {name: carriers_of(one, tags.get(name)) for name, one in made.items()}
            verdicts = judged(old, tags, new, carriers, SAYS)
            for name, verdict in verdicts.items():
                if verdict not in ("clean", "refused"):
                    print(f"{format} {name}: {verdict}", file=sys.stderr)
            numbers = {verdict: counted(verdicts)[verdict] for verdict in VERDICTS}
            each = round(1000 * seconds / len(files), 2)
            rows.append({"format": format, "writer": "captiond", "files": len(files), **numbers, "ms": each})
    return rows


def by_format(folder: Path) -> dict[str, dict[str, tuple[str, bytes]]]:
    """The pictures of a folder, by the format as people name it."""
    found: dict[str, dict[str, tuple[str, bytes]]] = {}
    for name, (format, path) in decodable(folder).items():
        if format in FORMATS:
            found.setdefault(FORMATS[format], {})[name] = format, path.read_bytes()
    return found


def table(rows: list[dict[str, Any]]) -> str:
    heads = ("format", "files", "writer", *VERDICTS, "ms")
    lines = [heads, ("---",) * len(heads), *(tuple(str(row[head]) for head in heads) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    default = os.environ.get("CAPTIOND_IMAGES") or REPOSITORY.parent / "shared" / "images"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(default), help="images, at any depth")
    parser.add_argument("--fields", action="store_true", help="all texts at once, by captiond alone")
    parser.add_argument("--json", action="store_true", help="print JSON rather than a table")
    given = parser.parse_args()
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is no folder: name one, or set CAPTIOND_IMAGES")
    signal.signal(signal.SIGALRM, ring)
    pillow_heif.register_heif_opener()
    rows = with_all_fields(given.folder) if given.fields else compared(given.folder)
    print(json.dumps(rows, indent=2) if given.json else table(rows))


if __name__ == "__main__":
    main()
