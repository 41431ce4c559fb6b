"""Who is let in: decided from a request's headers, without I/O.

A browser carries requests of foreign pages to addresses that only its user can reach.  So a door on loopback
answers to loopback's names alone (a foreign name that leads here is DNS rebinding), and no door answers a
request that says it was sent by another site.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

# These tell nothing of anybody's pictures: the page that shows them asks for each with the token typed into
# it, and so does the page that describes the API.
OPEN_PATHS = ("/page", "/docs", "/openapi.json")

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z._-]*))(?::[0-9]{0,5})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Access:
    host: str  # that the door listens on
    token: str | None

    def refuse(self, headers: Mapping[str, str], *, is_for_page: bool = False) -> Refusal | None:
        """Why a request is refused, whatever it asks for; None if it is not.

        `is_for_page`: for what is the same for everybody.  Links of other sites may lead there.
        """
        host = headers.get("host", "")
        name = _name(host)
        if name is None:
            return Refusal(400, "the header Host names no host")
        if is_loopback(self.host) and name != self.host and not is_loopback(name):
            return Refusal(421, "this door answers to the names of this machine alone")
        if is_for_page:
            return None
        origin = headers.get("origin")
        is_foreign = origin is not None and (not host or _netloc(origin) != host)
        if is_foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return Refusal(403, "sent by a page of another site")
        return None

    def is_known(self, headers: Mapping[str, str]) -> bool:
        """Whether the request bears the token, if one is asked for."""
        if self.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        is_equal = hmac.compare_digest(given.strip().encode(), self.token.encode())
        return is_equal and scheme.lower() == "bearer"


def is_open(path: str) -> bool:
    return path == "/" or any(path == opened or path.startswith(opened + "/") for opened in OPEN_PATHS)


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str | None:
    """A Host header without its port; empty where there is none, None if it is malformed."""
    found = _HOST.fullmatch(host)
    return (found["name"] or found["address"] or "").lower() if found is not None else None


def _netloc(origin: str) -> str | None:
    """The host and port of an Origin header; None if it is malformed, as `http://[` is."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
