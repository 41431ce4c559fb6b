"""Who is let in: decided from a request's headers, without I/O.

A browser carries requests of foreign pages to addresses that only its user can reach.  So a door on loopback
answers to loopback's names alone (a foreign name that leads here is DNS rebinding), and no door answers a
request whose headers say that another site sent it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from captiond.records import Role

# These paths tell nothing about pictures: the page that shows pictures fetches each with the token typed into
# it, and so does the page that describes the API.
OPEN_PATHS = ("/page", "/docs", "/openapi.json", "/worker.js")

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z._-]*))(?::[0-9]{0,5})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Known:
    """The client, as far as it is known."""

    name: str | None  # None: the client has the one shared token, or no token is needed
    role: Role

    def may(self, method: str, path: str) -> bool:
        """Whether this role may make that request."""
        if self.role == "edit" or path in _FOR_ALL:
            return True
        if self.role == "look":
            return method in ("GET", "HEAD") and path not in _OF_THE_HOUSE
        return (method, path) in _FOR_DROPPING or (method == "PUT" and path.startswith("/api/inbox/"))


ANYBODY = Known(None, "edit")
_OF_THE_HOUSE = ("/api/settings", "/api/log")
_FOR_ALL = ("/healthz", "/api/me")
_FOR_DROPPING = (("GET", "/api/inbox"), ("POST", "/infer"))


class Bearer(Protocol):
    """A person with a token of their own."""

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> Role: ...

    @property
    def token(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Access:
    host: str  # that the door listens on
    token: str | None  # the one shared by all
    people: Sequence[Bearer] = ()
    public: str | None = None  # the host, with its port, by which a proxy shows the door

    @property
    def wants_token(self) -> bool:
        return self.token is not None or bool(self.people)

    def refuse(self, headers: Mapping[str, str], *, is_for_page: bool = False) -> Refusal | None:
        """Why a request is refused, whatever it asks for; None if it is not.

        `is_for_page`: it asks for a file that is the same for all.  Links of other sites may lead there.
        """
        host = headers.get("host", "")
        name = _name(host)
        if name is None:
            return Refusal(400, "the header Host names no host")
        is_public = self.public is not None and host.lower() == self.public
        if is_loopback(self.host) and name != self.host and not is_loopback(name) and not is_public:
            return Refusal(421, "this door answers to the names of this machine alone")
        if is_for_page:
            return None
        if self._is_foreign(headers.get("origin"), host) or headers.get("sec-fetch-site") in _FOREIGN:
            return Refusal(403, "sent by a page of another site")
        return None

    def _is_foreign(self, origin: str | None, host: str) -> bool:
        if origin is None:
            return False
        sent_by = _netloc(origin)
        return not host or sent_by is None or sent_by not in (host, self.public or host)

    def known(self, headers: Mapping[str, str]) -> Known | None:
        """The client, by its token; None for a stranger."""
        if not self.wants_token:
            return ANYBODY
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        bearers = [(one.token, Known(one.name, one.role)) for one in self.people]
        if self.token is not None:
            bearers.append((self.token, ANYBODY))
        # All tokens are compared, so that the time does not tell where in the list one matches.
        found = [who for token, who in bearers if hmac.compare_digest(given.strip().encode(), token.encode())]
        return found[0] if found else None


_FOREIGN = ("cross-site", "same-site")


def is_open(path: str) -> bool:
    return path == "/" or any(path == opened or path.startswith(opened + "/") for opened in OPEN_PATHS)


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str | None:
    """A Host header without its port; empty if there is none, None if it is malformed."""
    found = _HOST.fullmatch(host)
    return (found["name"] or found["address"] or "").lower() if found is not None else None


def _netloc(origin: str) -> str | None:
    """The host and port of an Origin header; None if it is malformed, as `http://[` is."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
