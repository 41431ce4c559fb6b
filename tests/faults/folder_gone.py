"""The inbox is renamed away and comes back, once with nothing in it; then done/ goes and comes back."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from daemon_process import Running
from faults.load import loaded, paused

PICTURES = (6, 300)


def missing() -> str | None:
    return None


def _goes_on(daemon: Running, told: int) -> bool:
    return '"going on"' in daemon.log()[told:]


def inflict(root: Path, pictures: int) -> str:
    with loaded(root) as load:
        place, elsewhere = load.place, root / "elsewhere"
        with load.running() as daemon:
            for folder, count in ((place.inbox, 0), (place.inbox, pictures), (place.done, pictures)):
                told = len(daemon.log())
                load.drop(count)
                is_paused = paused(daemon)
                folder.rename(elsewhere)
                if folder == place.done:
                    load.drop(1)  # so that done/ is asked for, whatever was delivered before it went
                daemon.until(is_paused)
                assert not folder.exists(), f"{folder} was made anew"
                elsewhere.rename(folder)
                daemon.until(partial(_goes_on, daemon, told))
                load.until_delivered(daemon)
        load.check()
    return "paused three times"
