"""The tests' own forks of captiond: as good as processes that start by themselves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from daemon_process import Place, captiond, environment, started
from preloaded import Forked


@pytest.mark.parametrize("arguments", [["--version"], ["nonsense"], ["status", "-c", "nowhere.yaml"]])
def test_a_command_says_what_it_says_when_it_starts_by_itself(arguments: list[str]) -> None:
    """Both outputs and the exit code, whatever it is."""
    alone = subprocess.run(
        [sys.executable, "-m", "captiond", *arguments],
        capture_output=True, text=True, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    forked = captiond(*arguments)
    found, expected = ((one.returncode, one.stdout, one.stderr) for one in (forked, alone))
    assert found == expected


def test_a_daemon_is_forked_and_ends_by_a_signal(place: Place) -> None:
    """If this fails, the tests still pass, and take twice as long."""
    with place.running() as running:
        assert isinstance(running.process, Forked)
        assert running.process.poll() is None
    assert running.process.returncode == 0
    with TemporaryFile() as nowhere:
        process = started(["run", "-c", str(place.settings)], environment(), nowhere, nowhere)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL


def test_it_lives_where_its_caller_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same folder and with the same environment; with another Python's, it is no fork."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captiond.yaml").write_text("log: {format: nonsense}\n")
    assert "nonsense" in captiond("status").stderr
    with TemporaryFile() as nowhere:
        process = started(["--version"], environment(PYTHONOPTIMIZE="1"), nowhere, nowhere)
        assert isinstance(process, subprocess.Popen) and process.wait(60) == 0
