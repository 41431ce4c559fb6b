"""Asking a running daemon, over a Unix socket in its state folder: one line of JSON there, one back.

The socket answers questions and obeys nothing.  It is named after the inbox, whose lock its owner holds, so
that two daemons may share a state folder.  Where the file system has no sockets the daemon works without.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from captiond.errors import Surroundings

log = structlog.get_logger(__name__)

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]

ASKING_SECONDS = 5.0
_LISTENING_SECONDS = 2.0  # how long a slow asker may keep others waiting
_LONGEST_QUESTION_BYTES = 64 * 1024
_LONGEST_ADDRESS_BYTES = 107  # sun_path of unix(7), less its NUL


class NotRunning(Exception):
    """Nobody listens: no daemon serves this inbox, or it could not make its socket."""


@contextmanager
def answering(state: Path, inbox: Path, answer: Answer) -> Iterator[None]:
    """While this lasts, whoever may write to the socket is answered by a thread of its own."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _bind(listener, state, inbox)
    except OSError as error:
        listener.close()
        log.warning("status and explain cannot ask this daemon", folder=str(state), reason=error.strerror)
        yield
        return
    thread = threading.Thread(target=_serve, args=(listener, answer), name="control", daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread from accept()
        thread.join(timeout=_LISTENING_SECONDS)
        listener.close()
        (state / _name(inbox)).unlink(missing_ok=True)


def ask(state: Path, inbox: Path, question: Mapping[str, Any]) -> dict[str, Any]:
    """What the daemon answers.

    Raises NotRunning, and Surroundings where it may not be asked or is silent.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asker:
        asker.settimeout(ASKING_SECONDS)
        try:
            with _address(state, inbox) as address:
                asker.connect(address)
            asker.sendall(json.dumps(question).encode() + b"\n")
            with asker.makefile("rb") as answers:
                answered: dict[str, Any] = json.loads(answers.readline())
        except PermissionError as error:
            raise Surroundings(
                f"the daemon of {inbox} may not be asked by this user",
                advice=f"Run this as the daemon's user or as root, or make {state} readable for you.",
            ) from error
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise NotRunning from error
        except (OSError, ValueError) as error:
            raise Surroundings(
                f"the daemon of {inbox} does not answer: {error}",
                advice="It may hang on a lost mount, or be about to stop; its log says more.",
            ) from error
    return answered


def _name(inbox: Path) -> str:
    return f"control-{hashlib.sha256(os.fsencode(inbox.resolve())).hexdigest()[:8]}.sock"


@contextmanager
def _address(state: Path, inbox: Path) -> Iterator[str]:
    """The socket's address; by way of a descriptor where its path is too long for one."""
    path = state / _name(inbox)
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _bind(listener: socket.socket, state: Path, inbox: Path) -> None:
    path = state / _name(inbox)
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()  # of a process that was killed: the inbox is ours now
    except FileNotFoundError:
        pass
    with _address(state, inbox) as address:
        listener.bind(address)
    path.chmod(0o660)
    listener.listen(8)


def _serve(listener: socket.socket, answer: Answer) -> None:
    while True:
        try:
            asker, _ = listener.accept()
        except OSError:
            return  # closed
        with asker:
            asker.settimeout(_LISTENING_SECONDS)
            try:
                with asker.makefile("rb") as questions:
                    question = json.loads(questions.readline(_LONGEST_QUESTION_BYTES))
                asker.sendall(json.dumps(answer(question)).encode() + b"\n")
            except (OSError, ValueError):
                continue  # whoever asked has gone, or asked nonsense
