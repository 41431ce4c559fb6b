"""The socket and the thread behind it.  Bound before the model is loaded: a taken port shows at once."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter
from starlette.types import ASGIApp

from captiond.errors import CannotStart, ExitCode
from captiond.pipeline.ondemand import Answering
from captiond.status import Measures
from captiond.web.access import Access, Bearer, is_loopback
from captiond.web.api import application
from captiond.web.arrival import FORM_BYTES, Limits, Uploads, most_connections
from captiond.web.browse import Gallery
from captiond.web.connection import Configuration, Server, quietly
from captiond.web.guard import Guard
from captiond.web.metrics import Metrics

log = structlog.get_logger(__name__)

LAST_ANSWERS_SECONDS = 10  # for what is being answered when the daemon stops


class Door:
    def __init__(
        self,
        host: str,
        port: int,
        *,
        token: str | None,
        max_upload_bytes: int,
        limits: Limits | None = None,
        people: Sequence[Bearer] = (),
        root_path: str = "",
    ) -> None:
        """Bind the address.  `root_path`: where a proxy shows the door, a path or a whole address.

        Raises: CannotStart, if it cannot be bound, or if a stranger could come in.
        """
        if token is None and not people and not is_loopback(host):
            raise CannotStart(
                f"`http.listen` ({host}) can be reached from other machines, and no token is set",
                exit_code=ExitCode.WRONG_SETTINGS,
                advice="Set http.token_file, http.tokens_file or $CAPTIOND_HTTP__TOKEN, "
                "or listen on 127.0.0.1.",
            )
        public = urlsplit(root_path)
        self._access = Access(host.lower(), token, people, public.netloc.lower() or None)
        self._prefix = public.path
        self._max_upload_bytes = max_upload_bytes
        self._limits = limits or Limits()
        self.metrics = Metrics()
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise CannotStart(
                f"`http.listen`: {host}:{port} cannot be listened on: {error.strerror or error}",
                exit_code=ExitCode.TRY_AGAIN,
                advice="Stop what uses the address (`ss -ltnp`), or choose another port.",
            ) from error

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the true one, also if the settings asked for any (0)."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def close(self) -> None:
        self._socket.close()

    @contextmanager
    def serving(
        self,
        answering: Answering,
        unwell: Callable[[], str | None],
        measure: Callable[[], Measures],
        gallery: Gallery,
        *more: APIRouter,
    ) -> Iterator[None]:
        """Answer on a thread of its own while this lasts.

        `unwell`: why the daemon is not well, if so; `measure`: the present figures; `more`: routes beside
        those of the gallery.
        """
        self.metrics.read(measure)
        app = application(
            answering,
            unwell,
            self.metrics,
            gallery,
            *more,
            max_upload_bytes=self._max_upload_bytes,
            wants_token=self._access.wants_token,
            root_path=self._prefix,
        )
        # Like uvicorn's log level: warnings are about what a client did wrong.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        server = Server(self._configuration(app))
        thread = threading.Thread(target=self._serve, args=(server,), name="door", daemon=True)
        thread.start()
        host, port = self.address
        log.info("the door is open", listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()

    def _configuration(self, app: ASGIApp) -> Configuration:
        most = most_connections()
        guard = Guard(
            app,
            self._access,
            max_upload_bytes=self._max_upload_bytes,
            uploads=Uploads(
                # Two of the largest: one may come in while the other is captioned.
                most_bytes=max(self._limits.uploads_bytes, 2 * (self._max_upload_bytes + FORM_BYTES)),
                most=most // 2,  # the other half is for the page, and for status and health
            ),
            limits=self._limits,
            prefix=self._prefix,
        )
        return Configuration(
            guard,
            limits=self._limits,
            most_connections=most,
            log_config=None,
            log_level="error",  # a warning is about what a client did wrong, which the client is told
            access_log=False,
            server_header=False,
            lifespan="off",
            proxy_headers=False,
            timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
        )

    def _serve(self, server: Server) -> None:
        async def serving() -> None:
            asyncio.get_running_loop().set_exception_handler(quietly(_cannot_accept))
            await server.serve(sockets=[self._socket])

        asyncio.run(serving())


def _cannot_accept(reason: str) -> None:
    log.warning("the door cannot take a connection", reason=reason)
