"""What a few bad files in the inbox can do to the rest: nothing."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon_process import Place, captiond
from fake_chat_server import FakeChatServer
from hostile.making import (
    deep_grey,
    many_scans,
    packed_text,
    pointing_tiff,
    rle_bitmap,
    vast_tile,
    vast_webp,
    wordy_png,
)
from process_tree import own_share_bytes

IS_WHOLE = os.environ.get("CAPTIOND_HOSTILE") == "whole"
ORDINARY = 40 if IS_WHOLE else 12
DECODE_SECONDS = 10 if IS_WHOLE else 2
SAMPLED = {"fill.bmp", "canvas.webp", "table.tif", "half.jpg"}
WITHIN_SECONDS = 60.0
STOPPED_WITHIN_SECONDS = 30.0
MOST_BYTES = 2_500_000_000
KINDS = {"unreadable", "too_slow", "too_much_memory", "too_complex"}


def bad_files() -> dict[str, bytes]:
    """Slow ones, greedy ones, and such as never become whole."""
    slow = {"scans.jpg": many_scans(4000), "fill.bmp": rle_bitmap()}
    slow["table.tif"] = pointing_tiff()
    greedy = {"tile.tif": vast_tile(), "canvas.webp": vast_webp(), "deep.png": deep_grey()}
    halves = {"half.jpg": ordinary(0)[:9000], "letters.jpg": b"nope\n", "page.jpg": b"<html></html>\n" * 3}
    every = slow | greedy | halves
    return every if IS_WHOLE else {name: data for name, data in every.items() if name in SAMPLED}


def ordinary(number: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).resize((1200, 900)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.timeout(300)
def test_bad_files_keep_nobody_waiting(tmp_path: Path, server: FakeChatServer) -> None:
    """Beside slow and greedy files, 40 ordinary pictures are delivered within a minute, in bounded memory;
    the daemon is healthy all the while, and stops in time.  (Sampled: fewer files of either sort.)"""
    limits = {"decode_seconds": DECODE_SECONDS}
    place = Place(tmp_path, {"model": server.settings, "limits": limits})
    bad = bad_files()
    for name, data in bad.items():  # the oldest, so they are first in line
        place.drop(data, name)
    wordy = {f"wordy-{n}.png": wordy_png(packed_text(b"workflow", 2 << 20)) for n in range(4)}
    good = wordy | {f"{number:02}.jpg": ordinary(number) for number in range(ORDINARY - len(wordy))}
    for name, data in good.items():
        place.drop(data, name)
    with place.running() as running, _watched(running.process.pid, place) as seen:
        began = time.monotonic()
        running.until(lambda: all((place.done / f"{name}.caption.json").exists() for name in good))
        assert time.monotonic() - began < WITHIN_SECONDS
        running.until(lambda: seen.health)
        assert seen.health == {0}
        stopping = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(STOPPED_WITHIN_SECONDS)
        assert time.monotonic() - stopping < STOPPED_WITHIN_SECONDS
    assert seen.most_bytes < MOST_BYTES
    failed = {path.name.removesuffix(".error.json") for path in place.failed.glob("*.error.json")}
    assert {place.error(name)["kind"] for name in failed} <= KINDS
    assert not failed & good.keys()
    assert failed >= bad.keys() & {"scans.jpg", "fill.bmp", "table.tif"}


class Seen:
    """What was seen of a daemon from outside."""

    def __init__(self) -> None:
        self.most_bytes = 0
        self.health: set[int] = set()


@contextmanager
def _watched(daemon: int, place: Place) -> Iterator[Seen]:
    """Its memory, with that of all it started, and its health, again and again while this lasts."""
    seen, ended = Seen(), threading.Event()

    def look() -> None:
        seen.most_bytes = max(seen.most_bytes, own_share_bytes(daemon))

    def ask() -> None:
        seen.health.add(captiond("health", "-c", place.settings).returncode)

    threads = [
        threading.Thread(target=_repeated, args=(act, every, ended))
        for act, every in ((look, 0.3), (ask, 2.0))
    ]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _repeated(act: Callable[[], None], seconds: float, ended: threading.Event) -> None:
    while True:
        act()
        if ended.wait(seconds):
            return
