"""The kernel watches no more than 100 folders for this user, and the inbox has more."""

from __future__ import annotations

import subprocess
from pathlib import Path

from faults.load import loaded

PICTURES = (150, 400)
# A limit of a user namespace of its own, so that nobody else notices.
LIMITED = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 100 > /proc/sys/user/max_inotify_watches && exec "$@"',
    "sh",
)


def missing() -> str | None:
    probe = subprocess.run([*LIMITED, "true"], capture_output=True, text=True, check=False)
    return None if probe.returncode == 0 else "user namespaces with limits of their own are not permitted"


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        for number in range(pictures):
            (load.place.inbox / f"{number:03}").mkdir()
        with load.running(*LIMITED) as daemon:
            for number in range(pictures):
                load.drop(1, folder=f"{number:03}")
            load.until_delivered(daemon)
            daemon.until(lambda: "cannot be relied on" in daemon.log())
        load.check()
    return f"{pictures} folders, told as degraded"
