"""One picture among others kills the process, whenever the model sees it; something restarts the daemon."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fake_chat_server import Handler, describe
from faults.load import PATIENCE_SECONDS, loaded

PICTURES = (12, 200)
ATTEMPTS = 3


def missing() -> str | None:
    return None


def inflict(root: Path, pictures: int) -> str:
    with loaded(root, seconds_per_answer=0.1, limits={"attempts": ATTEMPTS}) as load:
        load.drop(pictures // 3)
        (killer,) = load.drop(1)
        load.drop(pictures - pictures // 3)
        pids: list[int] = []

        def step(handler: Handler) -> None:
            text = describe(handler.seen.image)
            if text == load.captions[killer]:
                os.kill(pids[-1], signal.SIGKILL)
            else:
                handler.say(text)

        load.server.always = step
        while load.delivered() < pictures or load.place.left_in_inbox():
            process = load.start()
            pids.append(process.process.pid)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while process.process.poll() is None and load.place.left_in_inbox():
                assert time.monotonic() < deadline, process.log()[-5000:]
                time.sleep(0.02)
            process.process.terminate()
            process.process.wait(PATIENCE_SECONDS)
            assert len(pids) <= ATTEMPTS + 1, "it was tried once too often"
        load.check(failed={killer: "too_many_attempts"})
    return f"{len(pids) - 1} kills"
