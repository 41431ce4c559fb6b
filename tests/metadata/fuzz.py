"""Damages real and made images for a while: each gets a caption that others find harmless, or back its bytes.

So do made .xmp files, which are to lie beside an image.

`make fuzz SECONDS=600 IMAGES=folder`; no part of the test suite.  An input that breaks the promise is kept in
build/fuzz, with the seed that leads to it.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from captiond.metadata import TARGET

from .asking import describe
from .independent import is_exif, is_photoshop, is_xmp, jpeg_parts, pillow_description, png_parts, webp_parts
from .judging import decodable
from .making import CAPTION
from .test_beside import COMPANIONS, composed
from .test_jpeg import JPEGS
from .test_mutations import seen
from .test_png import PNGS
from .test_tiff_files import TIFFS
from .test_webp import WEBPS
from .test_xmp import defaults, others

BLOCKS = ("exif", "xmp", "iptc")
BESIDE = "XMP"  # no format of an image
MADE = {"JPEG": JPEGS, "PNG": PNGS, "TIFF": TIFFS, "WEBP": WEBPS, BESIDE: COMPANIONS}
LARGEST_BYTES = 1_000_000  # of a real file: larger ones only make the count smaller
LARGEST_PIXELS = 2_000_000
MEMORY_BYTES = 4 << 30
INPUT_SECONDS = 5
CARRIERS = (b"eXIf", b"EXIF", b"VP8X", b"XMP ")
MAGICS = (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"no answer within {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def originals(folder: Path | None) -> list[tuple[str, bytes]]:
    """Pillow's name of the format and the bytes, of the made files and of the folder's smaller ones."""
    files = [(format, data) for format, made in MADE.items() for data in made.values()]
    for format, path in decodable(folder).values() if folder else ():
        if format in (*MADE, "MPO") and path.stat().st_size <= LARGEST_BYTES:
            files.append((format, path.read_bytes()))
    return files


def damaged(draw: random.Random, original: bytes) -> bytes:
    """The original with some bytes changed, put in, removed or cut off, mostly near the beginning."""
    data = bytearray(original)
    for _ in range(draw.randint(1, 4)):
        if not data:
            break
        at = draw.randrange(len(data) if draw.random() < 0.3 else min(1200, len(data)))
        match draw.choice(["set", "set", "set", "word", "insert", "remove", "cut"]):
            case "set":
                data[at] = draw.randrange(256)
            case "word":
                data[at : at + 4] = draw.choice([draw.randbytes(4), bytes(4), b"\xff" * 4])
            case "insert":
                data[at:at] = draw.randbytes(draw.randint(1, 12))
            case "remove":
                del data[at : at + draw.randint(1, 12)]
            case "cut":
                del data[max(at, 16) :]
    return bytes(data)


def parts(data: bytes, format: str) -> object:
    """What must stay, beside the pixels; None where the independent walker gives up."""
    try:
        if format in ("JPEG", "MPO"):
            segments, scan = jpeg_parts(data)
            return [s for s in segments if not (is_exif(s) or is_xmp(s) or is_photoshop(s))], scan
        if format in ("PNG", "WEBP"):
            chunks, trailer = (png_parts if format == "PNG" else webp_parts)(data)
            is_packet = b"XML:com.adobe.xmp"
            return [c for c in chunks if c[0] not in CARRIERS and is_packet not in c[1][:20]], trailer
    except (AssertionError, LookupError, ValueError):
        pass
    return None


def verdict(data: bytes, format: str) -> str:
    """Wrote or refused; raises AssertionError where the promise is broken."""
    draw = random.Random(data)
    blocks, windows = draw.choice([BLOCKS, "auto"]), draw.random() < 0.3
    with time_limit(INPUT_SECONDS):
        result = describe(data, format, CAPTION, replace=True, blocks=blocks, windows=windows)
    unexpected = [one.reason for one in result.written if "unexpected" in (one.reason or "")]
    assert not unexpected, unexpected
    wrote = [one.target for one in result.written if one.action == "wrote"]
    if not wrote:
        assert result.data is data, "bytes changed though nothing was written"
        return "refused"
    before = seen(data)
    assert isinstance(before, type) or seen(result.data) == before, "the pixels changed"
    assert (old := parts(data, format)) is None or parts(result.data, format) == old, "other parts changed"
    # Pillow reads no EXIF from a PNG whose first frame is broken, before as after.
    if isinstance(before, list) and isinstance(before[0], tuple) and TARGET in wrote:
        assert pillow_description(result.data) == CAPTION, "the caption does not read back"
    return "wrote"


def verdict_beside(data: bytes) -> str:
    """The same for a file beside an image."""
    with time_limit(INPUT_SECONDS):
        made = composed(data, replace=True, text=False)
    (one,) = made.written
    assert "unexpected" not in (one.reason or ""), one.reason
    assert (made.xmp is not None) == (one.action == "wrote"), one
    if made.xmp is None:
        return "refused"
    try:
        before, said = others(data), defaults(made.xmp)
    except ElementTree.ParseError:  # it cannot read a "}" in the name of a namespace
        return "wrote"
    assert CAPTION in said, "the caption does not read back"
    assert others(made.xmp) == before, "other parts changed"
    return "wrote"


def one_input(seed: str, files: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    draw = random.Random(seed)
    if draw.random() < 0.1:
        return "TIFF", draw.choice(MAGICS) + draw.randbytes(draw.randint(0, 300))
    format, original = draw.choice(files)
    return format, damaged(draw, original)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--images", type=Path, help="a folder of real files to damage, besides made ones")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    files = originals(asked.images)
    Image.MAX_IMAGE_PIXELS = LARGEST_PIXELS
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    ends = time.monotonic() + asked.seconds
    while time.monotonic() < ends:
        seed = f"{asked.seed}-{counts.total()}"
        format, data = one_input(seed, files)
        try:
            found = verdict_beside(data) if format == BESIDE else verdict(data, format)
            counts[f"{format} {found}"] += 1
        except Exception as error:  # whatever it is, it is what was looked for
            counts[f"{format} BROKEN"] += 1
            kept = Path("build/fuzz", f"{seed}.{format.lower()}")
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(data)
            print(f"{kept}: {error!r}", file=sys.stderr, flush=True)
    print(f"{counts.total()} inputs from {len(files)} files: {dict(sorted(counts.items()))}")
    return int(any("BROKEN" in name for name in counts))


if __name__ == "__main__":
    sys.exit(main())
