"""The watcher: its threads come and go, whatever watchdog loses count of."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from captiond.inbox.watch import Watcher


def test_a_folder_that_watchdog_lost_count_of_keeps_nobody_from_ending_it(tmp_path: Path) -> None:
    """Somebody made and removed a folder faster than watchdog reads: closing comes back, no thread stays."""
    (tmp_path / "swept").mkdir()
    before = set(threading.enumerate())
    watcher = Watcher(tmp_path, "native", time.monotonic)
    watcher.start()
    assert watcher.state.method == "native"
    _lose_count_of_all(watcher)
    watcher.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive(), thread
    assert watcher.state.method == "polling"


def _lose_count_of_all(watcher: Watcher) -> None:
    observer = watcher._observer
    assert observer is not None
    for emitter in observer.emitters:
        emitter._inotify._active_callbacks_by_path.clear()  # type: ignore[attr-defined]
