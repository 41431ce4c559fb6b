"""How far the download of a model is: told by what lies in the cache, however it gets there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from captiond.captioners.downloads import Downloads, Meter, there
from captiond.status import Download, Status, downloading
from captiond.support import wire

WANTED = {"a" * 64: 3000, "b" * 40: 1000}


def test_bytes_are_counted_whole_or_not(tmp_path: Path) -> None:
    """Of the wanted files alone; what a program reserved beforehand is not there yet."""
    assert there(tmp_path / "not-made-yet", WANTED) == 0
    (tmp_path / ("b" * 40)).write_bytes(b"0" * 1000)
    (tmp_path / f"{'a' * 64}.1f2e.incomplete").write_bytes(b"0" * 500)
    (tmp_path / ("c" * 64)).write_bytes(b"0" * 7000)  # another revision's
    assert there(tmp_path, WANTED) == 1500
    with (tmp_path / f"{'a' * 64}.1f2e.incomplete").open("wb") as reserved:
        os.truncate(reserved.fileno(), 3000)
    assert there(tmp_path, WANTED) == 1000


def test_the_rate_is_of_the_last_half_minute() -> None:
    """What lay there before counts as there and not as fast; a standstill leaves no time to tell."""
    meter = Meter(10_000)
    assert meter.look(4000, 0.0) == Download(4000, 10_000, 0.0)
    assert meter.look(4000, 0.0).seconds_left is None
    assert meter.look(4500, 5.0) == Download(4500, 10_000, 100.0)
    assert meter.look(4500, 5.0).seconds_left == 55.0
    for at in range(6, 60):
        last = meter.look(4500, float(at))
    assert last.bytes_per_second == 0.0 and last.seconds_left is None
    assert meter.look(99_999, 61.0).bytes == 10_000


def test_it_is_told_while_it_lasts(tmp_path: Path) -> None:
    """And not before or after; as one line for people, and over the socket for programs."""
    downloads, seen = Downloads(), threading.Event()
    assert downloads.now is None
    (tmp_path / ("b" * 40)).write_bytes(b"0" * 1000)
    with downloads.told(tmp_path, WANTED):
        while downloads.now is None and not seen.wait(0.01):
            pass
        assert downloads.now == Download(1000, 4000, 0.0)
    assert downloads.now is None
    words = downloading(Download(1_200_000_000, 8_300_000_000, 25e6))
    assert words == "downloading the model: 1.2 of 8.3 GB, 25.0 MB a second"


def test_a_status_brings_it_to_other_processes() -> None:
    """As it went, and None from a daemon that does not know of it."""
    told = Status(
        "starting", None, None, {}, 0.0, None, {}, {}, None, None, 1, None, download=Download(1, 2, 3.0)
    )
    assert wire.decoded(Status, told.as_json()).download == Download(1, 2, 3.0)
    older = {name: value for name, value in told.as_json().items() if name != "download"}
    assert wire.decoded(Status, older).download is None
