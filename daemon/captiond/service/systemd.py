"""Telling systemd the state of the service (sd_notify(3)); silent if no service manager listens."""

from __future__ import annotations

import os
import socket

PATIENCE_SECONDS = 1.0  # with a manager whose queue is full: a stop must not wait for a frozen one


def notify(*assignments: str) -> None:
    """Send e.g. `READY=1` or `STATUS=...` to the service manager.

    The message goes to the datagram socket that $NOTIFY_SOCKET names; a leading @ stands for the abstract
    namespace.  If the manager does not take it, that is ignored.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.settimeout(PATIENCE_SECONDS)
            manager.sendto("\n".join(assignments).encode(), address)
    except OSError:
        pass
