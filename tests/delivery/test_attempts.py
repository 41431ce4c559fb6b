"""Promises about counting attempts: durable, fair, and harmless when the database is not."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from captiond.delivery.attempts import Attempts
from captiond.errors import Surroundings
from captiond.records import Fingerprint

FILE = Fingerprint(1, 2, 3, 4, 5)
NOT_UTF8 = os.fsdecode(b"trip/\xff.jpg")
Opened = Callable[[Path], Attempts]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens the attempts of a state folder, and closes them after the test."""
    with ExitStack() as closing:

        def open_(folder: Path) -> Attempts:
            attempts = Attempts(folder)
            closing.callback(attempts.close)
            return attempts

        yield open_


def test_attempts_are_counted_for_each_file(opened: Opened, tmp_path: Path) -> None:
    """Path, size and time together are what an attempt belongs to."""
    attempts = opened(tmp_path)
    assert [attempts.begin(NOT_UTF8, FILE) for _ in range(3)] == [1, 2, 3]
    assert attempts.begin("other.jpg", FILE) == 1
    assert attempts.begin(NOT_UTF8, Fingerprint(1, 2, 3, 999, 5)) == 1


def test_a_remount_does_not_forget(opened: Opened, tmp_path: Path) -> None:
    """Device and inode numbers, which some file systems give anew, do not make a new file of an old one."""
    attempts = opened(tmp_path)
    attempts.begin("a.jpg", FILE)
    assert attempts.begin("a.jpg", Fingerprint(77, 88, 3, 4, 99)) == 2


def test_the_count_outlives_a_kill(opened: Opened, tmp_path: Path) -> None:
    """A process that is killed right after `begin` has been counted."""
    code = (
        "import os, signal, sys; from pathlib import Path; from captiond.delivery.attempts import Attempts;"
        "from captiond.records import Fingerprint;"
        "Attempts(Path(sys.argv[1])).begin('a.jpg', Fingerprint(1, 2, 3, 4, 5));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert opened(tmp_path).count("a.jpg", FILE) == 2


def test_forgiving_undoes_one_attempt_once(opened: Opened, tmp_path: Path) -> None:
    """Trouble with the surroundings charges no image, and forgiving twice gives nothing away."""
    attempts = opened(tmp_path)
    attempts.begin("a.jpg", FILE)
    attempts.begin("a.jpg", FILE)
    attempts.forgive("a.jpg", FILE)
    attempts.forgive("a.jpg", FILE)
    attempts.forgive("never-begun.jpg", FILE)
    assert attempts.count("a.jpg", FILE) == 1


def test_another_process_attempts_are_not_forgiven(opened: Opened, tmp_path: Path) -> None:
    """What a process that died had begun stays counted, whatever its successor forgives."""
    opened(tmp_path).begin("a.jpg", FILE)
    attempts = opened(tmp_path)
    attempts.forgive("a.jpg", FILE)
    assert attempts.count("a.jpg", FILE) == 1


def test_a_delivered_path_begins_at_one(opened: Opened, tmp_path: Path) -> None:
    """A path that was delivered owes nothing to what is dropped there later."""
    attempts = opened(tmp_path)
    attempts.begin("a.jpg", FILE)
    attempts.clear("a.jpg")
    assert attempts.begin("a.jpg", FILE) == 1


@pytest.mark.parametrize("content", [b"no database", b"", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_database_is_replaced(opened: Opened, tmp_path: Path, content: bytes) -> None:
    """A corrupt database costs a few counts and stops nothing; it is left for whoever wants to look."""
    (tmp_path / "attempts.sqlite3").write_bytes(content)
    attempts = opened(tmp_path)
    assert attempts.begin("a.jpg", FILE) == 1
    if content:
        assert (tmp_path / "attempts.sqlite3").read_bytes() == content
    attempts.close()
    assert opened(tmp_path).begin("a.jpg", FILE) == 2


def test_a_foreign_table_is_left_alone(opened: Opened, tmp_path: Path) -> None:
    """A database of other columns is somebody's, and not ours to write into."""
    foreign = sqlite3.connect(tmp_path / "attempts.sqlite3")
    foreign.execute("CREATE TABLE attempts (something TEXT)")
    foreign.close()
    assert opened(tmp_path).begin("a.jpg", FILE) == 1
    assert opened(tmp_path).begin("a.jpg", FILE) == 2


def test_a_database_deleted_while_running_is_made_anew(opened: Opened, tmp_path: Path) -> None:
    """Clearing the state folder under a running daemon loses counts and nothing else."""
    attempts = opened(tmp_path)
    attempts.begin("a.jpg", FILE)
    for file in tmp_path.iterdir():
        file.unlink()
    assert attempts.begin("a.jpg", FILE) == 1
    assert opened(tmp_path).count("a.jpg", FILE) == 1


def test_a_state_folder_that_is_gone_is_the_surroundings(opened: Opened, tmp_path: Path) -> None:
    """Without its folder nothing can be counted, so nothing is tried; when it is back, work goes on."""
    folder = tmp_path / "state"
    attempts = opened(folder)
    with pytest.raises(Surroundings):
        attempts.begin("a.jpg", FILE)
    folder.mkdir()
    assert attempts.begin("a.jpg", FILE) == 1


def test_what_is_forgiven_in_trouble_is_paid_later(opened: Opened, tmp_path: Path) -> None:
    """Forgiving while the state folder is away is made good before the next attempt."""
    folder, away = tmp_path / "state", tmp_path / "away"
    folder.mkdir()
    attempts = opened(folder)
    attempts.begin("a.jpg", FILE)
    attempts.close()
    folder.rename(away)
    attempts.forgive("a.jpg", FILE)
    away.rename(folder)
    assert attempts.begin("a.jpg", FILE) == 1


def test_threads_count_together(opened: Opened, tmp_path: Path) -> None:
    """No attempt is lost between threads."""
    attempts = opened(tmp_path)
    threads = [
        threading.Thread(target=lambda: [attempts.begin("a.jpg", FILE) for _ in range(10)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert attempts.count("a.jpg", FILE) == 40


def test_threads_share_the_wait_for_the_disk(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come while one is being written down are all written down in the next step."""
    attempts = opened(tmp_path)
    steps: list[int] = []
    slow = Attempts._count_all

    def count_all(self: Attempts, database: sqlite3.Connection) -> None:
        if not steps:  # the first has the others come while it writes
            steps.append(1)
            slow(self, database)
            for thread in others:
                thread.start()
            while len(self._asked) < len(others):
                pass
            return
        steps.append(len(self._asked))
        slow(self, database)

    monkeypatch.setattr(Attempts, "_count_all", count_all)
    begun: list[int] = []
    others = [
        threading.Thread(target=lambda name=name: begun.append(attempts.begin(name, FILE)))
        for name in ("b.jpg", "c.jpg", "d.jpg")
    ]
    assert attempts.begin("a.jpg", FILE) == 1
    for thread in others:
        thread.join()
    assert begun == [1, 1, 1] and steps == [1, 3]
    assert opened(tmp_path).begun() == {"a.jpg", "b.jpg", "c.jpg", "d.jpg"}


def test_what_is_dropped_anew_after_its_delivery_counts_from_one(opened: Opened, tmp_path: Path) -> None:
    """A delivery that could not be written down is, before the next attempt of the same path is."""
    folder, away = tmp_path / "state", tmp_path / "away"
    folder.mkdir()
    attempts = opened(folder)
    attempts.begin("a.jpg", FILE)
    attempts.close()
    folder.rename(away)
    attempts.clear("a.jpg")
    away.rename(folder)
    assert attempts.begin("a.jpg", FILE) == 1
    assert opened(folder).count("a.jpg", FILE) == 1


def test_trouble_with_counting_is_told_to_each_that_waits(opened: Opened, tmp_path: Path) -> None:
    """Nobody is taken for counted who is not, and who was not is not counted later."""
    folder = tmp_path / "state"
    attempts = opened(folder)
    told: list[str] = []

    def begin(name: str) -> None:
        try:
            attempts.begin(name, FILE)
        except Surroundings:
            told.append(name)

    threads = [threading.Thread(target=begin, args=(f"{number}.jpg",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8
    folder.mkdir()
    assert attempts.begin("a.jpg", FILE) == 1
    assert attempts.begun() == {"a.jpg"}
