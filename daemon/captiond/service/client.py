"""Asking a running daemon over its control socket: one line of JSON there, one back.

Commands that must answer at once import this: it loads neither settings nor logging.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from captiond.errors import Surroundings
from captiond.support import wire

ASKING_SECONDS = 5.0
LONGEST_ANSWER_BYTES = 1024 * 1024
_LONGEST_ADDRESS_BYTES = 107  # sun_path of unix(7), less its NUL


class NotRunning(Exception):
    """No daemon serves this inbox, or it could not make its socket."""


def ask(state: Path, inbox: Path, question: Mapping[str, Any]) -> dict[str, Any]:
    """What the daemon answers.

    Raises: NotRunning; Surroundings, if it may not be asked, is silent, or answers nonsense.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asker:
        try:
            answered = wire.parsed(_exchanged(asker, state, inbox, question))
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
    if isinstance(answered.get("error"), str):
        raise not_understood(inbox, answered["error"])
    return answered


def not_understood(inbox: Path, why: object) -> Surroundings:
    """The verdict if the daemon and this process are of two versions."""
    return Surroundings(
        f"the daemon of {inbox} and this captiond do not understand each other: {why}",
        advice="It was started by another version; restart it: systemctl restart captiond",
    )


def name_of(inbox: Path) -> str:
    """The socket's name in the state folder."""
    return f"control-{key_of(inbox)}.sock"


def key_of(inbox: Path) -> str:
    """The key that tells one daemon's files from another's, since two may share a state folder."""
    return hashlib.sha256(os.fsencode(os.path.realpath(inbox))).hexdigest()[:8]


@contextmanager
def address(state: Path, inbox: Path) -> Iterator[str]:
    """The socket's address: its path, or one through a descriptor if that is too long."""
    path = state / name_of(inbox)
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _exchanged(asker: socket.socket, state: Path, inbox: Path, question: Mapping[str, Any]) -> bytes:
    """The line that came back, or as much of it as came in time."""
    deadline = time.monotonic() + ASKING_SECONDS
    asker.settimeout(ASKING_SECONDS)
    with address(state, inbox) as place:
        _connect(asker, place, deadline)
    asker.sendall(json.dumps(question).encode() + b"\n")
    heard = bytearray()
    while not heard.endswith(b"\n") and len(heard) <= LONGEST_ANSWER_BYTES:
        asker.settimeout(max(deadline - time.monotonic(), 0.001))
        some = asker.recv(65536)
        if not some:
            break
        heard += some
    if not heard:
        raise ValueError("it hung up")
    return bytes(heard)


def _connect(asker: socket.socket, place: str, deadline: float) -> None:
    while True:
        try:
            return asker.connect(place)
        except BlockingIOError:  # the kernel's queue of connections is full
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
