"""Kills a daemon under load at random times, again and again; something restarts it each time.

After each kill every picture and what travels with it must be whole in the inbox or in done/, and every
sidecar must have both beside it; in the end everything must be delivered exactly once with the right caption.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from faults.load import PATIENCE_SECONDS, Load, files_in, loaded

# A picture cannot be told from one that kills where somebody kills at random: none is to be given up here.
LIMITS = {"attempts": 1_000}
IN_THE_INBOX = 30
LONGEST_LIFE_SECONDS = 0.8
KILLED_WHILE_STARTING = 0.15
WITH_EDITS = 0.5  # files that travel with their pictures


def kill(root: Path, kills: int, seed: int) -> str:
    """So many kills; AssertionError where a promise is broken."""
    dice = random.Random(seed)
    with loaded(root, seconds_per_answer=0.02, limits=LIMITS) as load:
        checked: set[str] = set()
        for _ in range(kills):
            missing = IN_THE_INBOX - len(load.place.left_in_inbox())
            folder = dice.choice(("", "trip", "a/b"))
            load.drop(missing, folder, with_edits=dice.random() < WITH_EDITS)
            _live_and_die(load, dice)
            _check_instant(load, checked)
        with load.running() as daemon:
            load.until_delivered(daemon)
        load.check()
        asked = load.asked
    return f"{len(load.captions)} pictures, {len(load.beside)} companions, asked {asked} times"


def _live_and_die(load: Load, dice: random.Random) -> None:
    process = load.launch() if dice.random() < KILLED_WHILE_STARTING else load.start()
    time.sleep(dice.uniform(0, LONGEST_LIFE_SECONDS))
    assert process.process.poll() is None, process.log()[-5000:]
    os.kill(process.process.pid, signal.SIGKILL)
    process.process.wait(PATIENCE_SECONDS)


def _check_instant(load: Load, checked: set[str]) -> None:
    done = files_in(load.place.done)
    for name in load.captions:
        if f"{name}.caption.json" in done and name not in checked:
            load.check_delivered(name)
            checked.add(name)
        elif name not in checked:
            assert name in done or load.has_original(name), f"{name} is nowhere"
    for name in load.beside:
        picture = name.replace(".AAE", ".jpg")
        assert name in done or picture not in checked, f"{name} did not come along"
        assert name in done or load.has_original(name), f"{name} is nowhere"
    assert not files_in(load.place.failed)
