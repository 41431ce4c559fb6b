"""How far the download of a model is, by what lies in the cache; a log line tells it now and then.

The library that downloads shows it only in bars on a terminal, and differently from version to version.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from captiond.status import Download
from captiond.support.background import repeating

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
TOLD_EVERY_SECONDS = 30.0
WINDOW_SECONDS = 30.0  # over which the rate is measured


class Meter:
    """Turns the bytes there at some moments into progress and rate."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, there: int, at: float) -> Download:
        self._looks.append((at, there))
        while len(self._looks) > 2 and self._looks[1][0] <= at - WINDOW_SECONDS:
            self._looks.popleft()
        since, before = self._looks[0]
        rate = (there - before) / (at - since) if at > since else 0.0
        return Download(min(there, self._total), self._total, max(rate, 0.0))


class Downloads:
    """The download that is going on, if any.  Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.now: Download | None = None

    @contextmanager
    def told(self, folder: Path, wanted: Mapping[str, int]) -> Iterator[None]:
        """While this lasts, `now` is kept up to date.

        `wanted`: the names that the files get in `folder`, and their sizes.
        """
        meter, told_at = Meter(sum(wanted.values())), self._clock()

        def look() -> None:
            nonlocal told_at
            at = self._clock()
            self.now = meter.look(there(folder, wanted), at)
            if at - told_at >= TOLD_EVERY_SECONDS:
                told_at = at
                log.info("downloading the model", **_fields(self.now))

        try:
            with repeating("download", look, lambda: LOOK_SECONDS):
                yield
        finally:
            self.now = None


def there(folder: Path, wanted: Mapping[str, int]) -> int:
    """Bytes of the wanted files in `folder`; of a partial file, those that have come."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0  # the folder is made with the first file
    total = 0
    for entry in entries:
        name, _, rest = entry.name.partition(".")
        if name in wanted:
            try:
                stat = entry.stat()
            except OSError:
                continue  # it was just renamed to its final name
            # A partial file may already have its final size, so its blocks are counted.
            total += min(stat.st_size, stat.st_blocks * 512) if rest else stat.st_size
    return total


def _fields(download: Download) -> dict[str, float]:
    left = download.seconds_left
    return {
        "megabytes": round(download.bytes / 1e6),
        "of": round(download.total_bytes / 1e6),
        "megabytes_a_second": round(download.bytes_per_second / 1e6, 1),
        **({} if left is None else {"seconds_left": round(left)}),
    }
