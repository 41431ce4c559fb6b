"""What the daemon and its decoders say to each other: a few words, and descriptors, over a Unix socket.

Words and not pickled objects, since a decoder that a picture has taken over may say anything.
"""

from __future__ import annotations

import array
import socket

LONGEST_BYTES = 64 * 1024
_MOST_DESCRIPTORS = 2
_SPACE = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
_BETWEEN = "\0"


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a socket that keeps messages whole: one send is one receive."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, *words: object, descriptors: tuple[int, ...] = ()) -> None:
    text = _BETWEEN.join(str(word).replace(_BETWEEN, "\ufffd") for word in words)
    socket.send_fds(channel, [text.encode("utf-8", "backslashreplace")], descriptors)


def receive(channel: socket.socket) -> tuple[list[str], list[int]]:
    """What was sent, in one or more words; its descriptors are the caller's to close.

    Raises: EOFError, if the other side has gone; ValueError, if it is no text; TimeoutError, if the socket
    does.
    """
    data, control, _, _ = channel.recvmsg(LONGEST_BYTES, _SPACE, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if not data:
        raise EOFError
    return data.decode().split(_BETWEEN), list(descriptors)
