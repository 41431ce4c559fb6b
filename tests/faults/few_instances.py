"""The kernel gives this user no inotify instance, as on a container host that has used them up."""

from __future__ import annotations

from pathlib import Path

from faults import limited
from faults.load import loaded

PICTURES = (20, 300)
LIMITED = limited.within("max_inotify_instances", 0)


def missing() -> str | None:
    return limited.missing(LIMITED)


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        with load.running(*LIMITED) as daemon:
            for number in range(pictures):
                load.drop(1, folder=f"{number % 7}")
            load.until_delivered(daemon)
            daemon.until(lambda: "sysctl fs.inotify.max_user_instances=" in daemon.log())
        load.check()
    return "polled, told as degraded"
