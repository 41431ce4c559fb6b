"""An open file, read a few blocks at a time and within a budget, so that no file can make a look long.

What a look may spend is counted in reads, in bytes and in steps, never in seconds: a slow disk is not the
file's fault, and the same file gets the same answer everywhere.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from captiond.records import Fault

WINDOW = 64 * 1024
BLOCK = 4096

# Together some hundredths of a second of one core.  Whole-slide TIFFs need most of the steps (one for each
# offset and length of 250,000 tiles), motion photos most of the bytes (their picture is read to its end).
_READS = 10_000
_BYTES = 96 * 1024 * 1024
_STEPS = 600_000


class Lack(NamedTuple):
    """What a file lacks to be served."""

    reason: str
    certain: bool = True  # whether a file that stays like this is no picture; else it may be a good one
    briefly: bool = False  # whether it is so unlikely that the rest still comes that a short wait will do
    fault: Fault | None = None  # what is wrong with it for good, however long one waits


class Cut(Exception):
    """The structure points beyond the end of the file."""


class TooComplex(Exception):
    """The budget of a look is used up."""


class File:
    """Reads by offset; every method may raise TooComplex."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size
        self._reads, self._bytes, self._steps = _READS, _BYTES, _STEPS

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`."""
        self._reads -= 1
        self._bytes -= count
        if self._reads < 0 or self._bytes < 0:
            raise TooComplex
        return os.pread(self._descriptor, count, offset)

    def step(self, count: int = 1) -> None:
        """Something that takes some ten nanoseconds is about to be done so many times."""
        self._steps -= count
        if self._steps < 0:
            raise TooComplex

    def exactly(self, offset: int, count: int) -> bytes:
        """All of these bytes; Cut where the file ends before."""
        if offset + count > self.size:
            raise Cut
        data = self.read(offset, count)
        if len(data) < count:
            raise Cut
        return data

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack(layout, self.exactly(offset, struct.calcsize(layout)))

    def is_zero_before(self, end: int) -> bool:
        """Whether the last block before `end` was never written, by its look."""
        return end >= 4 * BLOCK and not self.read(end - BLOCK, BLOCK).strip(b"\0")

    def end_without_zeros(self) -> int:
        """Where the zeros begin that the file ends in, found without reading all of them."""
        known_data, step = self.size, BLOCK
        zeros_from = self.size
        while known_data > 0:
            start = max(zeros_from - step, 0)
            block = self.read(start, min(step, WINDOW, zeros_from - start))
            data = block.rstrip(b"\0")
            if data:
                known_data = start + len(data)
                break
            zeros_from, known_data, step = start, start, step * 2
        return self._last_data(known_data, zeros_from)

    def _last_data(self, low: int, high: int) -> int:
        """Halves the gap between data that ends at `low` and zeros that begin at `high`."""
        while high - low > WINDOW:
            middle = (low + high) // 2
            data = self.read(middle, BLOCK).rstrip(b"\0")
            if data:
                low = middle + len(data)
            else:
                high = middle
        return low + len(self.read(low, high - low).rstrip(b"\0"))
