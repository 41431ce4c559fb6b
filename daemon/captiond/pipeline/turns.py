"""The inbox first: whose turn it is to ask the model.

A picture of the inbox asks whenever it is ready.  Those of libraries ask while none of the inbox is on its
way, and never more of them at once than the model serves: so what is dropped waits for one of them in work,
and not for all that were decoded ahead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Safe to use from many threads."""

    def __init__(self, most: int) -> None:
        """`most`: so many pictures of libraries ask at once."""
        self._most = most
        self._changing = threading.Condition()
        self._of_inbox = 0  # on their way, from their claim to their end
        self._asking = 0  # of libraries

    @contextmanager
    def of_inbox(self) -> Iterator[None]:
        """While this lasts no picture of a library begins to ask."""
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
        """Waits until a picture of a library may ask."""
        with self._changing:
            self._changing.wait_for(lambda: not self._of_inbox and self._asking < self._most)
            self._asking += 1
        try:
            yield
        finally:
            with self._changing:
                self._asking -= 1
                self._changing.notify_all()
