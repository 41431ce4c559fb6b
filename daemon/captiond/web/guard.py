"""Stands before the application: it stops strangers, and uploads that are too large or too slow.

A body is counted and timed while it comes in, since a client need not say beforehand how long it is.  Only
uploads may be large, and all of them share one budget; any other body is a few words of JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from captiond.web.access import Access, Refusal, is_open
from captiond.web.arrival import FORM_BYTES, Limits, Upload, Uploads

WRONG_TOKEN_SECONDS = 0.5
THROWN_AWAY_BYTES = 1 << 30
THROWN_AWAY_SECONDS = 30.0
STALLED_SECONDS = 2.0
HEADERS_BYTES = 16 * 1024
MOST_HEADERS = 100
_UPLOADS = (("POST", "/infer"), ("PUT", "/api/inbox/"))

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    # Swagger UI sets styles on its elements, and shows its icons from data URIs.
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    b"form-action 'self'; frame-ancestors 'none'",
}


class Guard:
    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        *,
        max_upload_bytes: int,
        uploads: Uploads,
        limits: Limits,
        prefix: str = "",
    ) -> None:
        """`prefix`: the path under which a proxy shows the door, whether or not the proxy strips it."""
        self._app = app
        self._prefix = prefix
        self._access = access
        self._most_of_upload = max_upload_bytes
        self._uploads = uploads
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answered = _with_headers(send, closes=_may_be_two(headers))
        if self._prefix and scope["path"] == self._prefix:
            await RedirectResponse(f"{self._prefix}/")(scope, receive, answered)
            return
        scope = _beneath(self._prefix, scope)
        is_for_page = scope["method"] == "GET" and is_open(scope["path"])
        refused = _too_many(headers) or self._access.refuse(headers, is_for_page=is_for_page)
        if refused is not None:
            await _say(refused.status, refused.reason)(scope, receive, answered)
            return
        known = self._access.known(headers)
        scope["state"] = {**scope.get("state", {}), "known": known}
        # Without the token, /healthz tells whether the daemon is well, but not why.
        if known is None and not is_open(scope["path"]) and scope["path"] != "/healthz":
            if "authorization" in headers:
                await asyncio.sleep(WRONG_TOKEN_SECONDS)
            wanted = {"WWW-Authenticate": "Bearer"}
            await _say(401, "send the token: Authorization: Bearer ...", wanted)(scope, receive, answered)
            return
        if known is not None and not is_for_page and not known.may(scope["method"], scope["path"]):
            why = f"{known.name or 'this token'} may not do that: the role is `{known.role}`"
            await _say(403, why)(scope, receive, answered)
            return
        try:
            await self._let_in(scope, receive, answered)
        except HTTPException as refusal:  # before the application has begun
            if "expect" not in headers:  # with it, the client waits for leave to send the body
                await _let_end(receive)
            told = {"Connection": "close", **(refusal.headers or {})}
            await _say(refusal.status_code, refusal.detail, told)(scope, receive, answered)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = _declared(Headers(scope=scope))
        if not _is_upload(scope["method"], scope["path"]):
            body = _Body(receive, self._limits, FORM_BYTES, "the request")
            await self._app(scope, body.expecting(declared), send)
            return
        with self._uploads.one() as upload:
            body = _Body(receive, self._limits, self._most_of_upload, "the upload", upload)
            await self._app(scope, body.expecting(declared), send)


class _Body:
    """The body of one request while it comes in.

    Raises: HTTPException, if it is too large or too slow, or uploads together are too much.
    """

    def __init__(
        self, receive: Receive, limits: Limits, most: int, name: str, upload: Upload | None = None
    ) -> None:
        self._receive = receive
        self._limits = limits
        self._most = most
        self._name = name
        self._upload = upload
        self._received = 0
        self._waited_seconds = 0.0
        self._is_whole = False

    def expecting(self, declared: int) -> Receive:
        self._count(declared)
        return self._next

    async def _next(self) -> Message:
        if self._is_whole:
            return await self._receive()  # tells whether the client is still there
        message = await self._arrival()
        self._is_whole = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        try:
            self._count(self._received)
        except HTTPException:
            await _let_end(self._receive)
            raise
        return message

    async def _arrival(self) -> Message:
        """Only the time that the client takes counts: the application may be slow by itself."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._limits.left(self._received, self._waited_seconds)):
                return await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"{self._name} came too slowly", {"Connection": "close"}) from None
        finally:
            self._waited_seconds += clock() - began

    def _count(self, size: int) -> None:
        slack = FORM_BYTES if self._upload is not None else 0
        if size > self._most + slack:
            told = f"{self._name} is larger than {self._most:,} bytes"
            raise HTTPException(413, told, {"Connection": "close"})
        if self._upload is not None:
            self._upload.grow_to(size)


async def _let_end(receive: Receive) -> None:
    """Discard the rest of the body: most clients read an answer only when they have sent everything."""
    left = THROWN_AWAY_BYTES
    try:
        async with asyncio.timeout(THROWN_AWAY_SECONDS):
            while left > 0:
                # A client that waits for the answer before it sends more, or stalls, is answered soon.
                async with asyncio.timeout(STALLED_SECONDS):
                    message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        pass  # if it goes on sending, it is cut off and may not learn the reason


def _beneath(prefix: str, scope: Scope) -> Scope:
    """The request without the proxy's prefix, as the application knows it."""
    path: str = scope["path"]
    if not prefix or not path.startswith(f"{prefix}/"):
        return scope
    raw = scope.get("raw_path")
    shorter = {"path": path[len(prefix) :]}
    if raw is not None and raw.startswith(prefix.encode()):
        shorter["raw_path"] = raw[len(prefix) :]
    return {**scope, **shorter}


def _declared(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _too_many(headers: Headers) -> Refusal | None:
    """A refusal if the head is too large: the parser does not bound one that comes in a single piece."""
    size = sum(len(name) + len(value) for name, value in headers.raw)
    if size > HEADERS_BYTES or len(headers) > MOST_HEADERS:
        return Refusal(431, "the headers are too large")
    return None


def _is_upload(method: str, path: str) -> bool:
    return any(method == one and path.startswith(start) for one, start in _UPLOADS)


def _may_be_two(headers: Headers) -> bool:
    """Whether a proxy before us could see this request end elsewhere than we do: request smuggling."""
    return "transfer-encoding" in headers and "content-length" in headers


def _say(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": reason}, status, headers)


def _with_headers(send: Send, *, closes: bool) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            added = [(name, value) for name, value in _HEADERS.items() if name not in given]
            if closes and b"connection" not in given:
                added.append((b"connection", b"close"))
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending
