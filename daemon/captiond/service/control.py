"""The socket on which a running daemon is asked: one line of JSON there, one back (`client` asks).

The socket answers questions and obeys nothing; its mode decides who may ask.  A command that has changed a
record says so here, and the daemon looks at that record itself.  The socket is named after the inbox,
whose lock its owner holds, so that two daemons may share a state folder.  If the file system has no sockets,
the daemon works without.

One thread listens to all connections at once.  A client may be silent, slow, or send anything at all: a
question has a limit of bytes and of seconds, the longest-waiting connection is closed if there are too many,
and a malformed question is answered with an error.  A question that needs the disk is answered on a thread of
its own, so that a lost mount keeps no other client waiting.
"""

from __future__ import annotations

import json
import selectors
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from captiond.errors import Surroundings
from captiond.service import client
from captiond.support import wire

log = structlog.get_logger(__name__)

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]

LISTENING_SECONDS = 2.0  # for a whole question, however it is cut into pieces
LONGEST_QUESTION_BYTES = 64 * 1024
MOST_CONNECTIONS = 64
_MOST_LOOKING = 4  # questions that need the disk, at a time
_BREATH_SECONDS = 0.1  # after a connection that could not be taken, e.g. for want of descriptors


@contextmanager
def answering(state: Path, inbox: Path, answers: Mapping[str, Answer]) -> Iterator[None]:
    """While this lasts, answer every process that may write to the socket.

    `answers`: the function that answers each value of `ask`.  The listening thread itself answers `status`,
    which therefore must not wait for anything.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _bind(listener, state, inbox)
    except OSError as error:
        listener.close()
        log.warning("status and explain cannot ask this daemon", folder=str(state), reason=error.strerror)
        yield
        return
    switchboard = _Switchboard(listener, answers)
    thread = threading.Thread(target=switchboard.serve, name="control", daemon=True)
    thread.start()
    try:
        yield
    finally:
        switchboard.ended.set()
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        thread.join(timeout=LISTENING_SECONDS)
        listener.close()
        try:
            (state / client.name_of(inbox)).unlink(missing_ok=True)
        except OSError:
            pass  # the state folder is away; the next daemon takes the socket's place


def _bind(listener: socket.socket, state: Path, inbox: Path) -> None:
    path = state / client.name_of(inbox)
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()  # a killed process left it: the inbox's lock is ours now
    except FileNotFoundError:
        pass
    with client.address(state, inbox) as address:
        listener.bind(address)
    path.chmod(0o660)  # before `listen`: until then no process can connect
    listener.listen(socket.SOMAXCONN)
    listener.setblocking(False)


@dataclass(slots=True, eq=False)
class _Asker:
    connection: socket.socket
    deadline: float
    heard: bytearray = field(default_factory=bytearray)

    @property
    def has_asked(self) -> bool:
        return b"\n" in self.heard or len(self.heard) > LONGEST_QUESTION_BYTES


class _Switchboard:
    """The connections that have not asked yet; one that has asked is answered and closed."""

    def __init__(self, listener: socket.socket, answers: Mapping[str, Answer]) -> None:
        self.ended = threading.Event()
        self._listener = listener
        self._answers = answers
        self._askers: dict[int, _Asker] = {}  # by descriptor, in the order in which they came
        self._looking = threading.BoundedSemaphore(_MOST_LOOKING)
        self._lookers = ThreadPoolExecutor(_MOST_LOOKING, thread_name_prefix="control")

    def serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self.ended.is_set():
                for key, _ in selector.select(self._seconds_left()):
                    if key.fileobj is self._listener:
                        self._connect(selector)
                    elif key.fd in self._askers:  # if not, it was closed in this very round
                        self._hear(self._askers[key.fd], selector)
                self._drop_late(selector)
            for asker in list(self._askers.values()):
                self._forget(asker, selector).close()
        self._lookers.shutdown(wait=False, cancel_futures=True)

    def _seconds_left(self) -> float | None:
        oldest = next(iter(self._askers.values()), None)
        return None if oldest is None else max(oldest.deadline - time.monotonic(), 0.0)

    def _connect(self, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            self.ended.wait(_BREATH_SECONDS)  # no descriptor is left, or the client has gone
            return
        connection.setblocking(False)
        if len(self._askers) >= MOST_CONNECTIONS:
            self._forget(next(iter(self._askers.values())), selector).close()
        asker = _Asker(connection, time.monotonic() + LISTENING_SECONDS)
        self._askers[connection.fileno()] = asker
        selector.register(connection, selectors.EVENT_READ)

    def _hear(self, asker: _Asker, selector: selectors.BaseSelector) -> None:
        try:
            some = asker.connection.recv(LONGEST_QUESTION_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._forget(asker, selector).close()
            return
        asker.heard += some
        if asker.has_asked or not some:
            self._answer(self._forget(asker, selector), bytes(asker.heard))

    def _drop_late(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for asker in [late for late in self._askers.values() if late.deadline <= now]:
            self._forget(asker, selector).close()

    def _forget(self, asker: _Asker, selector: selectors.BaseSelector) -> socket.socket:
        del self._askers[asker.connection.fileno()]
        selector.unregister(asker.connection)
        return asker.connection

    def _answer(self, connection: socket.socket, heard: bytes) -> None:
        try:
            if len(heard) > LONGEST_QUESTION_BYTES:
                raise ValueError("it is longer than 64 KiB")
            question = wire.parsed(heard.partition(b"\n")[0])
            asked = question.get("ask")
            if not isinstance(asked, str) or asked not in self._answers:
                raise ValueError(f"`ask` must be one of {', '.join(self._answers)}")
        except ValueError as error:
            _send(connection, {"error": f"this is no question: {error}"})
            return
        if asked == "status":
            _send(connection, self._answers[asked](question))
        elif self._looking.acquire(blocking=False):
            looking = self._lookers.submit(self._look, connection, self._answers[asked], question)
            looking.add_done_callback(lambda _: connection.close())  # also if the stop cancels it
        else:
            _send(connection, {"error": "too many ask at once; ask again"})

    def _look(self, connection: socket.socket, answer: Answer, question: Mapping[str, Any]) -> None:
        try:
            _send(connection, answer(question))
        except Surroundings as trouble:
            _send(connection, {"error": trouble.message})
        finally:
            self._looking.release()
            connection.close()


def _send(connection: socket.socket, answer: Mapping[str, Any]) -> None:
    """Answer and close.  An answer fits into the socket's buffer, so this never waits for the client."""
    with connection:
        try:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass  # the client has gone
