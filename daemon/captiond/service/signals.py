"""Signals: the first SIGTERM or SIGINT asks for a stop, a second ends the process, SIGHUP asks to reread.

Handlers put a number into a queue and do nothing else; a thread of this room acts on it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

import structlog

log = structlog.get_logger(__name__)


@contextmanager
def heard(*, on_stop: Callable[[], None], on_reload: Callable[[], None]) -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets; the second such signal ends the process at once.

    Leaving in the middle is safe: every step of a delivery is one that a restart can finish.
    """
    stop = threading.Event()
    # A handler runs between two instructions of the main thread, which may be holding the event's own lock:
    # setting it there can deadlock.  SimpleQueue.put is the one thing promised to be safe.
    received: SimpleQueue[int | None] = SimpleQueue()
    had_terminal = _has_terminal()
    count = 0

    def on_stop_signal(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            os._exit(128 + number)
        received.put(number)

    def on_hangup(number: int, frame: FrameType | None) -> None:
        received.put(number)

    def relay() -> None:
        while (number := received.get()) is not None:
            # The kernel also sends SIGHUP if our terminal was closed: that must stop us, nothing else would.
            if number == signal.SIGHUP and not (had_terminal and not _has_terminal()):
                if not stop.is_set():
                    on_reload()
            elif not stop.is_set():
                log.info("stopping: finishing what is in work", signal=signal.Signals(number).name)
                on_stop()
                stop.set()

    handlers = {signal.SIGTERM: on_stop_signal, signal.SIGINT: on_stop_signal, signal.SIGHUP: on_hangup}
    earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    relaying = threading.Thread(target=relay, name="signals", daemon=True)
    relaying.start()
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            # A reload that comes while the last lines are written must not kill the process.
            signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else handler)
        received.put(None)
        relaying.join()


def _has_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except ValueError:  # stderr is closed
        return False
