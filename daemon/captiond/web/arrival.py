"""How much may come in at once and how long it may take: the limits, and the count of all uploads.

Each limit is on what a client makes the daemon hold: a connection, bytes in memory and in temporary files, a
thread.  Only the door's event loop uses this, so nothing here needs a lock.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException

MOST_CONNECTIONS = 512
LEAST_CONNECTIONS = 16
SHARE_OF_DESCRIPTORS = 4  # the door gets one in four; the inbox, the model and the history have the rest
RETRY_AFTER_SECONDS = 10
FORM_BYTES = 64 * 1024  # the most for a form besides its file, and for any other body


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the door waits for a client, and how much all may send: slow lines are served, silence not."""

    head_seconds: float = 10.0  # from the connection, or from the last answer, to the end of the headers
    body_seconds: float = 30.0  # of silence; and for the whole body, with the time that the next line allows
    body_bytes_per_second: int = 10_000
    answer_seconds: float = 60.0  # while the client takes nothing of an answer, or sends on after it
    uploads_bytes: int = 256_000_000  # for all uploads together; the door allows at least two of the largest

    def left(self, received: int, waited_seconds: float) -> float:
        """How long the next piece of a body may take, after `received` bytes and `waited_seconds`."""
        whole = self.body_seconds + received / self.body_bytes_per_second
        return max(0.0, min(self.body_seconds, whole - waited_seconds))


def most_connections() -> int:
    """Well below the process's limit of open files: a full door must not keep the inbox from its files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, soft // SHARE_OF_DESCRIPTORS))


class Uploads:
    """All uploads that are held at present, whether they still come in or wait for the model."""

    def __init__(self, *, most_bytes: int, most: int) -> None:
        self._left_bytes = most_bytes
        self._left = most

    @contextmanager
    def one(self) -> Iterator[Upload]:
        """Hold room for one upload while this lasts.  Raises: HTTPException 503, if there is none."""
        if self._left < 1:
            raise _full()
        self._left -= 1
        upload = Upload(self)
        try:
            yield upload
        finally:
            self._left_bytes += upload.bytes
            self._left += 1

    def take(self, count: int) -> None:
        if count > self._left_bytes:
            raise _full()
        self._left_bytes -= count


class Upload:
    """The part of the room for all uploads that one request holds."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self.bytes = 0

    def grow_to(self, bytes: int) -> None:
        """Hold so many bytes.  Raises: HTTPException 503, if they do not fit beside the other uploads."""
        if bytes > self.bytes:
            self._uploads.take(bytes - self.bytes)
            self.bytes = bytes


def _full() -> HTTPException:
    return HTTPException(
        503, "too much is being uploaded just now", {"Retry-After": str(RETRY_AFTER_SECONDS)}
    )
