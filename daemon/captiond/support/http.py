"""One request over HTTP and its answer, bounded in time and in size; and how long a server asks to wait."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx


class TooLarge(httpx.HTTPError):
    """The answer is larger than the caller allows, or has no end."""


def exchange(
    client: httpx.Client,
    method: str,
    url: httpx.URL | str,
    *,
    seconds: float,
    largest_bytes: int,
    **more: Any,
) -> tuple[int, httpx.Headers, bytes]:
    """Status, headers and body.  httpx bounds each wait; the deadline is for a server that trickles.

    Raises: httpx.HTTPError, also if the answer is too large or takes too long.
    """
    deadline = time.monotonic() + seconds
    body = bytearray()
    with client.stream(method, url, **more) as response:
        for chunk in response.iter_bytes():
            body += chunk
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the deadline is over")
            if len(body) > largest_bytes:
                raise TooLarge("it answers without end")
        return response.status_code, response.headers, bytes(body)


def asked_to_wait(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After, which is a number or a date; None if the server asks for none."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            moment = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
