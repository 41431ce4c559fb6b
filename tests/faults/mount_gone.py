"""The inbox's volume goes away and leaves its bare mount point, which looks like an empty inbox."""

from __future__ import annotations

from pathlib import Path

from faults.load import loaded, paused
from faults.tools import cannot_mount, mounted, run

PICTURES = (6, 300)
missing = cannot_mount


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        inbox, volume = load.place.inbox, root / "volume"
        volume.mkdir()
        with mounted(volume, size_kib=2048 + 16 * pictures):
            run("mount", "--bind", str(volume), str(inbox))
            try:
                with load.running() as daemon:
                    load.drop_by_copy(pictures)
                    is_paused = paused(daemon)
                    run("umount", "--lazy", str(inbox))
                    daemon.until(is_paused)
                    assert not any(inbox.iterdir()), "something was made in a bare mount point"
                    run("mount", "--bind", str(volume), str(inbox))
                    load.until_delivered(daemon)
                load.check()
            finally:
                run("umount", "--lazy", str(inbox))
    return "paused"
