"""The inbox first: whose turn it is to ask the model.

A picture of the inbox asks whenever it is ready.  Pictures of libraries ask only while none of the inbox is
on its way, and never more at once than the model serves: so a dropped picture waits for those in work, not
for all that were decoded ahead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Safe to use from many threads."""

    def __init__(self, most: int) -> None:
        """`most`: how many pictures of libraries may ask at once."""
        self._most = most
        self._changing = threading.Condition()
        self._of_inbox = 0  # on their way, from their claim to their end
        self._asking = 0  # of libraries

    @contextmanager
    def of_inbox(self) -> Iterator[None]:
        """While this lasts, no picture of a library begins to ask."""
        with self._changing:
            self._of_inbox += 1
        try:
            yield
        finally:
            with self._changing:
                self._of_inbox -= 1
                self._changing.notify_all()

    @contextmanager
    def of_library(self) -> Iterator[None]:
        """Wait until a picture of a library may ask; it holds its turn while this lasts."""
        with self._changing:
            self._changing.wait_for(lambda: not self._of_inbox and self._asking < self._most)
            self._asking += 1
        try:
            yield
        finally:
            with self._changing:
                self._asking -= 1
                self._changing.notify_all()
