"""Every fault is survived: what it stops goes on by itself, and no picture is lost, doubled or harmed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from daemon_process import Place, environment
from fake_chat_server import fails
from faults import every
from faults.load import loaded
from faults.tools import cannot_mount


@pytest.mark.parametrize("fault", every.FAULTS, ids=lambda fault: fault.__name__.rpartition(".")[2])
def test_survives(fault: ModuleType, tmp_path: Path) -> None:
    """All pictures are delivered exactly once with the right captions, and none fails but one that kills."""
    reason = fault.missing()
    if reason is not None:
        pytest.skip(reason)
    fault.inflict(tmp_path, fault.PICTURES[0])


def test_nothing_is_made_in_a_bare_mount_point(tmp_path: Path) -> None:
    """Started before its volume is mounted, the daemon says so, exits with 75 and leaves it empty."""
    if (reason := cannot_mount()) is not None or not Path("/etc/fstab").exists():
        pytest.skip(reason or "there is no /etc/fstab")
    place = Place(tmp_path, {"model": {"backend": "openai", "id": "m", "base_url": "http://127.0.0.1:9/v1"}})
    fstab = tmp_path / "fstab"
    fstab.write_text(f"/dev/captiond-test {place.inbox} ext4 defaults 0 2\n")
    with_fstab = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind "$1" /etc/fstab && shift && exec "$@"',
        "sh",
    ]
    started = subprocess.run(
        [*with_fstab, fstab, sys.executable, "-m", "captiond", "run", "-c", place.settings],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert started.returncode == 75 and "not mounted" in started.stderr, started.stderr
    assert not any(place.inbox.iterdir())


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    """It hears when the daemon is ready, how it fares, why it pauses, and that it is stopping."""
    address = f"captiond-test-{tmp_path.name}-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, loaded(tmp_path) as load:
        manager.bind(f"\0{address}")
        manager.settimeout(30)
        heard: list[str] = []

        def hear(word: str) -> None:
            while not any(word in message for message in heard):
                heard.append(manager.recv(4096).decode())

        with load.running(NOTIFY_SOCKET=f"@{address}"):
            hear("READY=1")
            load.server.always = fails(503, "the model is being loaded")
            load.drop(1)
            hear("STATUS=paused: the server")
            load.server.always = None
            hear("STATUS=watching the inbox; 0 waiting, 0 in work, 1 done, 0 failed")
        hear("STOPPING=1")
        load.check()
