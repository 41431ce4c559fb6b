"""The disk is full: first the one with the state, then the one with done/.

Both are small file systems of their own with a ballast file that leaves no room, until somebody removes it.
"""

from __future__ import annotations

from pathlib import Path

from faults.load import loaded, paused
from faults.tools import cannot_mount, mounted

PICTURES = (10, 500)
missing = cannot_mount


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        room_kib = 2048 + 32 * pictures
        with mounted(load.place.done, size_kib=room_kib), mounted(root / "state", size_kib=16 * 1024):
            with load.running() as daemon:
                # The state comes first: later SQLite has a log that it writes into again and needs no room.
                for place, room in ((root / "state", 0), (load.place.done, 16 * 1024)):
                    ballast = place / "ballast"
                    is_paused = paused(daemon, "No space left" if room else "full")
                    _fill(ballast, room)
                    load.drop(pictures)
                    daemon.until(is_paused)
                    assert not any(load.place.failed.glob("*.jpg"))
                    ballast.unlink()
                    load.until_delivered(daemon)
            load.check()
            _check_charged_once(load.place.done)
    return "paused twice"


def _fill(ballast: Path, room: int) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        file.truncate(file.tell() - room)


def _check_charged_once(done: Path) -> None:
    for sidecar in done.rglob("*.caption.json"):
        assert '"attempts": 1,' in sidecar.read_text(), sidecar
