"""A real captiond in a process of its own, over real folders, for tests that promise what users see."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from preloaded import Forked, preloaded

PATIENCE_SECONDS = 100.0  # within the 120 that a test gets


def environment(**more: str) -> dict[str, str]:
    """The surroundings of a test process: no settings from outside, no network, one thread for torch."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CAPTIOND_")}
    return {**inherited, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **more}


def captiond(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        process = started(list(map(str, arguments)), environment(**more), stdout, stderr)
        try:
            code = process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, _text(stdout), _text(stderr))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    with io.TextIOWrapper(file, errors="surrogateescape") as text:
        return text.read()


def started(
    arguments: list[str], env: dict[str, str], stdout: IO[bytes], stderr: IO[bytes]
) -> subprocess.Popen[bytes] | Forked:
    """`captiond` with these arguments; a fork, if `fork` was called and nothing speaks against it."""
    if _FORKS and preloaded(_FORKS[0]).can_start(env):
        return preloaded(_FORKS[0]).start(arguments, env, stdout.fileno(), stderr.fileno())
    command = [sys.executable, "-m", "captiond", *arguments]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env)


_FORKS: list[tuple[tuple[str, str], ...]] = []


def fork() -> None:
    """Fork captiond from now on: for tests.  Benchmarks measure what a start takes."""
    _FORKS[:] = [tuple(sorted(environment().items()))]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Place:
    """The four folders and a settings file in a temporary folder."""

    def __init__(self, root: Path, settings: dict[str, dict[str, Any]] | None = None) -> None:
        self.root = root
        self.inbox, self.done, self.failed = root / "inbox", root / "done", root / "failed"
        for name in ("inbox", "done", "failed", "state"):
            (root / name).mkdir(parents=True, exist_ok=True)
        values: dict[str, dict[str, Any]] = {
            "folders": {name: name for name in ("inbox", "done", "failed", "state")},
            "watch": {"settle_seconds": 0.2},
            "model": {"id": "demo", "device": "cpu"},
            "log": {"format": "json"},
        }
        for section, keys in (settings or {}).items():
            values.setdefault(section, {}).update(keys)
        self.settings = root / "captiond.yaml"
        self.settings.write_text(json.dumps(values))  # JSON is YAML

    def drop(self, data: bytes, name: str) -> Path:
        """Put a file into the inbox as a careful program does: written elsewhere, then renamed."""
        elsewhere = self.root / f"writing-{os.urandom(4).hex()}"
        elsewhere.write_bytes(data)
        target = self.inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        elsewhere.rename(target)
        return target

    def sidecar(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.done / f"{name}.caption.json").read_text(encoding="utf-8"))
        return record

    def error(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.failed / f"{name}.error.json").read_text(encoding="utf-8"))
        return record

    def left_in_inbox(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.inbox))
            for path in self.inbox.rglob("*")
            if path.is_file() and ".captiond" not in path.relative_to(self.inbox).parts
        )

    def once(self, **more: str) -> subprocess.CompletedProcess[str]:
        """`captiond run --once` to its end."""
        return captiond("run", "--once", "-c", self.settings, **more)

    @contextmanager
    def running(self, **more: str) -> Iterator[Running]:
        """`captiond run` while this lasts; it must end by SIGTERM with exit code 0."""
        running = Running(self, more)
        try:
            running.until(lambda: "watching" in running.said())
            yield running
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(PATIENCE_SECONDS) == 0, running.log()
        finally:
            running.process.kill()
            running.process.wait()


class Running:
    """A daemon process and what it said so far."""

    def __init__(self, place: Place, more: dict[str, str]) -> None:
        self._log = place.root / "daemon.log"
        with self._log.open("ab") as log:
            self._begins = log.tell()
            self.process = started(["run", "-c", str(place.settings)], environment(**more), log, log)

    def log(self) -> str:
        """With what the daemons before it said."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def said(self) -> str:
        return self._log.read_bytes()[self._begins :].decode(errors="replace")

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to become true; fails with the log after a minute or when the daemon ends."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; the daemon said:\n{self.log()}"
            assert self.process.poll() is None, f"the daemon ended:\n{self.log()}"
            time.sleep(0.02)
