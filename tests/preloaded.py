"""Processes of captiond that import nothing first, which takes most of a second, and six with a model.

One process has imported all of captiond; it forks whenever a test wants a daemon or a command.  A fork is as
real as any other process: it has its own threads, signals, descriptors and exit code, and runs `main` as
`python -m captiond` would.

    python tests/preloaded.py DESCRIPTOR        # what that process does
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

LONGEST_BYTES = 128 * 1024
STATUS_BYTES = 4
# Read when Python starts, or when a library is imported: a process with others of these starts by itself.
EARLY = ("PYTHON", "LD_", "LANG", "LC_", "OMP_", "MKL_", "HF_", "TORCH_", "TRANSFORMERS_", "HOME", "XDG_")
NOT_IMPORTED = ("captiond.__main__", "captiond.pictures.worker")


class Forked:
    """What tests use of subprocess.Popen."""

    def __init__(self, pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended  # has its status when it has ended

    def poll(self) -> int | None:
        return self._awaited(0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises: subprocess.TimeoutExpired."""
        found = self._awaited(timeout)
        if found is None:
            raise subprocess.TimeoutExpired(["captiond"], timeout or 0)
        return found

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _awaited(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], seconds)[0]:
            status = int.from_bytes(os.read(self._ended, STATUS_BYTES), "little")
            os.close(self._ended)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Preloaded:
    """The process that forks."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._early = _early(environment)
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=dict(environment),
            )

    def can_start(self, environment: Mapping[str, str]) -> bool:
        return self._early == _early(environment)

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdout: int, stderr: int
    ) -> Forked:
        """Start `captiond` with these arguments, in the caller's own folder."""
        told = {"arguments": list(arguments), "environment": dict(environment), "folder": str(Path.cwd())}
        ended, end = os.pipe()
        with open(os.devnull, "rb") as stdin, self._turn:  # noqa: PTH123  # as a descriptor
            descriptors = [stdin.fileno(), stdout, stderr, end]
            socket.send_fds(self._asking, [json.dumps(told).encode()], descriptors)
            os.close(end)
            answer = self._asking.recv(LONGEST_BYTES)
        assert answer, "the process that forks has ended"
        return Forked(int(answer), ended)

    def close(self) -> None:
        self._asking.close()
        self._process.wait()


@cache
def preloaded(base: tuple[tuple[str, str], ...]) -> Preloaded:
    """The one of this process, started for the first test that wants it; `base`: its environment."""
    found = Preloaded(dict(base))
    atexit.register(found.close)
    return found


def _early(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(EARLY)}


# ---- the process that forks ----------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Fork until the socket is closed.  It returns in each fork, which is ready to run `main`."""
    asking = socket.socket(fileno=descriptor)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}  # process: where its status goes
    watched: list[Any] = [asking, woken]
    while True:
        ready = select.select(watched, [], [])[0]
        if woken in ready:
            os.read(woken, LONGEST_BYTES)
            _tell_who_ended(running)
        if asking not in ready:
            continue
        data, descriptors = _received(asking)
        if not data:
            os._exit(0)
        *standard, end = descriptors
        pid = os.fork()
        if pid == 0:
            for one in (asking.detach(), woken, wake, end, *running.values()):
                os.close(one)
            _become(json.loads(data), standard)
            return
        running[pid] = end
        asking.send(str(pid).encode())
        for one in standard:
            os.close(one)


def _received(asking: socket.socket) -> tuple[bytes, array.array[int]]:
    data, control, _, _ = asking.recvmsg(LONGEST_BYTES, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for _, _, content in control:
        descriptors.frombytes(content)
    return data, descriptors


def _tell_who_ended(running: dict[int, int]) -> None:
    for pid, end in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del running[pid]
            with suppress(BrokenPipeError):  # nobody wants to know any more
                os.write(end, status.to_bytes(STATUS_BYTES, "little"))
            os.close(end)


def _become(told: Any, standard: Sequence[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    time.tzset()
    sys.argv[1:] = told["arguments"]


def import_all() -> None:
    import captiond

    for module in pkgutil.walk_packages(captiond.__path__, "captiond."):
        if module.name not in NOT_IMPORTED:
            with suppress(ImportError):  # it needs an extra
                importlib.import_module(module.name)
    gc.freeze()  # so that no fork copies all of this when it first looks for garbage


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, which `python -m captiond` does not see
    import_all()
    serve(int(sys.argv[1]))
    sys.argv[0] = importlib.import_module("captiond").__path__[0] + "/__main__.py"
    __package__ = "captiond"  # what Click calls the program by
    from captiond.cli import main

    main()
