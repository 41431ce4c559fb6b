"""One connection: uvicorn's, with an end to waiting for the client.

uvicorn waits for ever for the head of a request, for a client that takes no more of its answer, and for one
that sends on after it; and it answers 503 to all clients once silent connections reach its limit.  Here each
of these has its time (see `Limits`), and if the door is full, the connection that has been silent for the
longest is closed.  The guard decides how long a body may take: it knows whether the client or the daemon is
slow.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Literal, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from captiond.web.arrival import RETRY_AFTER_SECONDS, Limits

WAITING_CONNECTIONS = 1024
TOLD_EVERY_SECONDS = 60.0

# awaiting: no request is being answered, and the head of the next has not come; answering: the application
# has it; overrun: it was answered before its body had come; closing: the last bytes are leaving.
_Phase = Literal["awaiting", "answering", "overrun", "closing"]


class Configuration(uvicorn.Config):
    """The server's configuration, with what each connection needs besides."""

    def __init__(self, app: Any, *, limits: Limits, most_connections: int, **more: Any) -> None:
        # asyncio accepts at most `backlog` connections between two checks of the limit.
        backlog = max(1, most_connections // 4)
        super().__init__(app, http=Connection, ws="none", loop="asyncio", backlog=backlog, **more)
        self.limits = limits
        self.most_connections = most_connections


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Let as many connections wait in the kernel as it allows, though few are accepted at once."""
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(WAITING_CONNECTIONS)


class Connection(H11Protocol):
    def __init__(
        self,
        config: Configuration,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._most = config.most_connections
        self._phase: _Phase | None = None
        self._since = 0.0
        self._ends: asyncio.TimerHandle | None = None
        self._ends_unread: asyncio.TimerHandle | None = None

    # Called by asyncio.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._make_room()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._ends, self._ends_unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._ends_unread = self.loop.call_later(self._limits.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._ends_unread is not None:
            self._ends_unread.cancel()

    # Called by uvicorn.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._look()

    def shutdown(self) -> None:
        super().shutdown()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Send it only if no answer was sent or begun; otherwise abort."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    # Timeouts.

    def _look(self) -> None:
        """Start a new timeout if the connection is in another phase now."""
        phase = self._now()
        if phase == self._phase:
            return
        self._phase, self._since = phase, self.loop.time()
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None
        if phase == "awaiting":
            self._ends = self.loop.call_later(self._limits.head_seconds, self._give_up)
        elif phase != "answering":
            self._ends = self.loop.call_later(self._limits.answer_seconds, self.transport.abort)

    def _now(self) -> _Phase:
        if self.transport.is_closing():
            return "closing"
        if self.conn.their_state is h11.IDLE:
            return "awaiting"
        is_answered = self.cycle is not None and self.cycle.response_complete
        return "overrun" if is_answered else "answering"

    def _give_up(self) -> None:
        has_begun, _ = self.conn.trailing_data
        if has_begun:
            self._say(408, "the head of the request took too long")
        else:
            self.transport.close()  # no 408: browsers open connections ahead, and take it for an answer
        self._look()

    def _make_room(self) -> None:
        if len(self.connections) <= self._most:
            return
        others = cast("set[Connection]", self.connections) - {self}
        silent = [one for one in others if one._phase == "awaiting" and not one.transport.is_closing()]
        if silent:
            oldest = min(silent, key=lambda one: one._since)
            oldest.transport.abort()
            self.connections.discard(oldest)  # at once: others may come before it is closed
        else:
            self._say(503, "there are too many connections")

    def _say(self, status: int, reason: str) -> None:
        """Answer without the application, to a client that has not asked yet."""
        body = f'{{"detail":"{reason}"}}'.encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        if status == 503:
            headers.append(("Retry-After", str(RETRY_AFTER_SECONDS)))
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def quietly(tell: Callable[[str], None]) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """A handler for the event loop's errors, which tells failures to accept only once in a while.

    asyncio itself logs them for each place in the backlog, every second, with a traceback.
    """
    last_told = float("-inf")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal last_told
        error = context.get("exception")
        if not (isinstance(error, OSError) and "accept" in context.get("message", "")):
            loop.default_exception_handler(context)
        elif loop.time() - last_told >= TOLD_EVERY_SECONDS:
            last_told = loop.time()
            tell(error.strerror or str(error))

    return handle
