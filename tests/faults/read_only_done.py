"""done/ becomes read-only in the middle of work.

The kernel refuses to remount what a process holds open for writing, and the daemon holds its lock.  What is
left in practice is the kernel's own remount after a disk error, or a server's; so the calls into done/ are
made to fail as they fail then.
"""

from __future__ import annotations

from pathlib import Path

from faults.load import loaded, paused
from faults.tools import cannot_inject, injected

PICTURES = (6, 300)
CALLS = "openat,mkdirat,renameat,renameat2,rename,linkat,unlinkat,fsync"
missing = cannot_inject


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        with load.running() as daemon:
            load.drop(2)
            load.until_delivered(daemon)
            is_paused = paused(daemon, "Read-only file system")
            path = str(load.place.done / ".captiond")
            with injected(daemon.process.pid, "-P", path, "-e", f"inject={CALLS}:error=EROFS"):
                names = load.drop(pictures)
                daemon.until(is_paused)
                assert set(load.place.left_in_inbox()) == set(names)
            load.until_delivered(daemon)
            # What could not be taken away then goes by itself, without another picture and without a restart.
            daemon.until(lambda: not list((load.place.done / ".captiond").glob("*.delivered")))
        load.check()
    return "paused"
