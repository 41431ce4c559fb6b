"""Programs that mirror a folder into the inbox delete what they did not bring, `.captiond/` too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from faults.load import Load, loaded

PICTURES = (10, 200)


def missing() -> str | None:
    return None if shutil.which("rsync") else "rsync is not on the PATH"


def inflict(root: Path, pictures: int) -> str:
    mirrors = {"rsync": _rsync, "rclone": _rclone, "by hand": _by_hand}
    there = {name: mirror for name, mirror in mirrors.items() if name == "by hand" or shutil.which(name)}
    with loaded(root) as load:
        for name in there:
            (root / "mirrored" / name).mkdir(parents=True)
        with load.running() as daemon:
            for name, mirror in there.items():
                _mirror(load, root / "mirrored" / name, mirror, pictures)
                load.until_delivered(daemon)
                assert '"paused"' not in daemon.log(), name
                # And once more, now that there is nothing to bring and our folder to delete.
                mirror(_emptied(root / "mirrored" / name), load.place.inbox)
                load.drop(3)
                load.until_delivered(daemon)
            assert '"paused"' not in daemon.log()
            daemon.until((load.place.inbox / ".captiond/inbox").exists)
        load.check()
    return f"by {', '.join(there)}: never paused"


def _mirror(load: Load, source: Path, mirror: Callable[[Path, Path], None], pictures: int) -> None:
    for _ in range(pictures):
        name, data = load.make()
        (source / name).write_bytes(data)
    mirror(source, load.place.inbox)


def _emptied(source: Path) -> Path:
    for path in source.iterdir():
        path.unlink()
    return source


def _rsync(source: Path, inbox: Path) -> None:
    subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{inbox}/"], check=True, capture_output=True)


def _rclone(source: Path, inbox: Path) -> None:
    subprocess.run(
        ["rclone", "sync", "--create-empty-src-dirs", source, inbox], check=True, capture_output=True
    )


def _by_hand(source: Path, inbox: Path) -> None:
    """As Syncthing's Revert does: the folder goes as a whole."""
    for path in source.iterdir():
        part = inbox / f"{path.name}.part"
        part.write_bytes(path.read_bytes())
        part.rename(inbox / path.name)
    shutil.rmtree(inbox / ".captiond", ignore_errors=True)
