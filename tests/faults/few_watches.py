"""The kernel watches no more than 100 folders for this user, and the inbox has more."""

from __future__ import annotations

from pathlib import Path

from faults import limited
from faults.load import loaded

PICTURES = (150, 400)
LIMITED = limited.within("max_inotify_watches", 100)


def missing() -> str | None:
    return limited.missing(LIMITED)


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
