"""Tells a server about every picture that left the inbox, and about texts that changed: a POST of JSON each.

No picture waits for it: a thread of its own does it.  A notice that the server does not take is sent again,
after longer and longer waits, for some minutes; then it is dropped and counted, and so is the oldest if too
many wait.  A notice may come twice (if an answer got lost), with the same `id`.  The log says once that the
server fails and once that it is back.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog

from captiond import __version__, sidecar
from captiond.names import job_id, name_keys, utc_text
from captiond.records import Outcome
from captiond.support.background import Aside
from captiond.support.http import asked_to_wait, exchange

log = structlog.get_logger(__name__)

MOST_WAITING = 10_000
TRIES = 8  # of one notice, in about two minutes
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
LONGEST_ASKED_WAIT_SECONDS = 300.0
LAST_SECONDS = 5.0  # for the notices that wait when the daemon stops
_LARGEST_ANSWER_BYTES = 1_000_000
_AGAIN = frozenset({408, 425, 429})  # and every 5xx


class Webhook:
    """Safe to use from many threads."""

    def __init__(self, url: str, *, token: str | None = None, timeout_seconds: float = 10.0) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(
            headers={"User-Agent": f"captiond/{__version__}", **authorization}, timeout=timeout_seconds
        )
        self._aside = Aside("webhook", self._tell, most=MOST_WAITING)
        self._stopping = threading.Event()
        self._wait_seconds = FIRST_WAIT_SECONDS  # the server's, not one notice's: it grows while it is down
        self._is_down = False
        self._delivered = self._refused = self._given_up = 0

    @property
    def results(self) -> dict[str, int]:
        """How many notices the server took, how many it did not want, and how many it never got."""
        dropped = self._given_up + self._aside.dropped
        return {"delivered": self._delivered, "refused": self._refused, "dropped": dropped}

    @property
    def waiting(self) -> int:
        return self._aside.waiting

    def tell(self, outcome: Outcome) -> None:
        """Never raises and never waits."""
        self._aside.put(outcome)

    def close(self) -> None:
        """Try once more to send the waiting notices, for a few seconds."""
        given_up = self._given_up
        self._stopping.set()
        left = self._aside.close(LAST_SECONDS)
        if not left:
            self._client.close()  # else it is in use, by a thread that ends with the process
        untold = left + self._given_up - given_up
        if untold:
            log.warning("the webhook was not told of the last pictures", pictures=untold, server=self._server)

    @property
    def _server(self) -> str:
        """The part of the URL that may be logged: services put their keys into the path."""
        url = urlsplit(self._url)
        return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")

    def _tell(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._tell_one(notice(outcome))

    def _tell_one(self, told: dict[str, Any]) -> None:
        for number in range(1, TRIES + 1):
            is_last = number == TRIES or self._stopping.is_set()
            status, reason, asked = self._post(told)
            if 200 <= status < 300:
                self._delivered += 1
                self._is_back()
                return
            if status and status not in _AGAIN and status < 500:
                self._refused += 1
                self._fails(reason, "Correct notify.url or notify.token_file; it is not sent again.")
                return
            self._fails(reason, "It is sent again for some minutes.")
            if is_last:
                break
            self._stopping.wait(max(self._wait_seconds, asked))
            self._wait_seconds = min(2 * self._wait_seconds, LONGEST_WAIT_SECONDS)
        self._given_up += 1

    def _post(self, told: dict[str, Any]) -> tuple[int, str, float]:
        """The status, 0 if there was none; what is wrong; and how long the server asks to wait."""
        try:
            status, headers, _ = exchange(
                self._client,
                "POST",
                self._url,
                seconds=self._timeout_seconds,
                largest_bytes=_LARGEST_ANSWER_BYTES,
                json=told,
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return 0, str(error) or type(error).__name__, 0.0
        asked = asked_to_wait(headers.get("retry-after")) or 0.0
        return status, f"it answers {status}", min(asked, LONGEST_ASKED_WAIT_SECONDS)

    def _fails(self, reason: str, advice: str) -> None:
        if not self._is_down:
            log.warning("the webhook fails", server=self._server, reason=reason, advice=advice)
        self._is_down = True

    def _is_back(self) -> None:
        if self._is_down:
            log.info("the webhook answers again", server=self._server, dropped=self.results["dropped"])
        self._is_down = False
        self._wait_seconds = FIRST_WAIT_SECONDS


def notice(outcome: Outcome) -> dict[str, Any]:
    """What the server is sent about one picture."""
    suffix, what = sidecar.SUFFIXES[outcome.folder], outcome.event or outcome.folder
    return {
        "id": job_id(outcome.path, f"{what} {outcome.sha256} {outcome.at.timestamp()}"),
        "event": outcome.event or ("captioned" if outcome.folder == "done" else "failed"),
        **name_keys("path", outcome.path),
        "folder": outcome.folder,
        **({"library": outcome.library} if outcome.library is not None else {}),
        **name_keys("delivered", outcome.delivered),
        **name_keys("sidecar", outcome.delivered + suffix),
        "caption": outcome.caption,
        **({"fields": outcome.fields} if outcome.fields else {}),
        **({"needs_look": True} if outcome.needs_look else {}),
        **({"awaits_approval": True} if outcome.awaits_approval else {}),
        "model": outcome.model,
        "kind": outcome.kind,
        "message": outcome.message,
        "advice": outcome.advice,
        "at": utc_text(outcome.at),
        "sha256": outcome.sha256,
        "format": outcome.format,
        "width": outcome.width,
        "height": outcome.height,
        "attempts": outcome.attempts,
        "timings_seconds": asdict(outcome.timings) if outcome.timings else None,
    }


def why_unreachable(url: str, timeout_seconds: float) -> tuple[str, str] | None:
    """What is wrong with the server, and what to do; None if it answers.  Tells it nothing."""
    try:
        httpx.head(url, timeout=timeout_seconds, headers={"User-Agent": f"captiond/{__version__}"})
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        host = urlsplit(url).hostname or ""
        try:
            socket.getaddrinfo(host, None)
        except (OSError, ValueError):
            return f"the name {host} is not known here", "Correct notify.url, or the DNS of this machine."
        reason = str(error) or type(error).__name__
        return f"{host} cannot be reached: {reason}", "Start what listens there, or correct notify.url."
    return None
