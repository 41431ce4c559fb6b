"""What stands before the application: strangers and too large uploads get no further.

An upload is counted while it comes in, since a client need not say beforehand how long it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from captiond.web.access import Access, is_open

WRONG_TOKEN_SECONDS = 0.5
THROWN_AWAY_BYTES = 1 << 30
THROWN_AWAY_SECONDS = 30.0
FORM_BYTES = 64 * 1024  # what a form may weigh beside the file in it

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    # Swagger UI sets styles on its elements, and shows its icons from data URIs.
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    b"frame-ancestors 'none'",
}


class Guard:
    def __init__(self, app: ASGIApp, access: Access, max_upload_bytes: int) -> None:
        self._app = app
        self._access = access
        self._most = max_upload_bytes + FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = _with_headers(send)
        headers = Headers(scope=scope)
        is_for_page = scope["method"] == "GET" and is_open(scope["path"])
        refused = self._access.refuse(headers, is_for_page=is_for_page)
        if refused is not None:
            await _say(refused.status, refused.reason)(scope, receive, answered)
            return
        is_known = self._access.is_known(headers)
        scope["state"] = {**scope.get("state", {}), "is_known": is_known}
        # Without the token /healthz tells whether, and not why.
        if not is_known and not is_open(scope["path"]) and scope["path"] != "/healthz":
            if "authorization" in headers:
                await asyncio.sleep(WRONG_TOKEN_SECONDS)
            wanted = {"WWW-Authenticate": "Bearer"}
            await _say(401, "send the token: Authorization: Bearer ...", wanted)(scope, receive, answered)
            return
        if _declared(headers) > self._most:
            if "expect" not in headers:  # else the client waits for leave to send it
                await _let_end(receive)
            await _say(413, self._too_large(), {"Connection": "close"})(scope, receive, answered)
            return
        await self._app(scope, self._counted(receive), answered)

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                await _let_end(receive)
                raise HTTPException(413, self._too_large(), {"Connection": "close"})
            return message

        return counted

    def _too_large(self) -> str:
        return f"the upload is larger than {self._most - FORM_BYTES:,} bytes"


async def _let_end(receive: Receive) -> None:
    """Throw away what still comes: most clients look at an answer only when they have sent everything."""
    left = THROWN_AWAY_BYTES
    try:
        async with asyncio.timeout(THROWN_AWAY_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        pass  # it is cut off, and learns no reason


def _declared(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _say(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": reason}, status, headers)


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            added = [(name, value) for name, value in _HEADERS.items() if name not in given]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending
