"""What some faults need: mounts of their own, and system calls that fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cannot_mount() -> str | None:
    if os.geteuid() != 0:
        return "mounting needs root"
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else "mounting is not permitted here"


@contextmanager
def mounted(folder: Path, *, size_kib: int) -> Iterator[None]:
    """A small file system of its own in memory."""
    run("mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "captiond-test", str(folder))
    try:
        yield
    finally:
        run("umount", "--lazy", str(folder))


def cannot_inject() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not on the PATH"
    probe = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else f"strace may not trace here: {probe.stderr.strip()}"


@contextmanager
def injected(pid: int, *options: str) -> Iterator[None]:
    """System calls of a running process fail while this lasts."""
    command = ["strace", "-f", "-qq", "-o", os.devnull, *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        try:
            deadline = time.monotonic() + 30
            while any(
                "TracerPid:\t0\n" in task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/status")
            ):
                assert time.monotonic() < deadline and strace.poll() is None, "strace did not attach"
                time.sleep(0.005)
            yield
        finally:
            strace.terminate()  # which lets the process go on by itself


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
