"""An installation without what runs a model: it asks servers, and says what is missing for anything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captiond.errors import ExitCode
from daemon_process import Place, captiond
from faults.load import picture

HIDDEN = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec
absent = {"torch", "transformers", "accelerate"}
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] in absent else found(name, *more)
"""


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment whose Python finds none of the three."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/sitecustomize.py").write_text(HIDDEN)
    paths = (str(tmp_path / "bare"), os.environ.get("PYTHONPATH", ""))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_a_server_describes_pictures(place: Place, without_torch: dict[str, str]) -> None:
    """`check` and `run --once` do all that they do elsewhere."""
    data, caption = picture(7)
    place.drop(data, "a.jpg")
    assert captiond("check", "-c", place.settings, **without_torch).returncode == ExitCode.OK
    assert place.once(**without_torch).returncode == ExitCode.OK
    assert place.sidecar("a.jpg")["caption"] == caption


@pytest.mark.parametrize("command", [("demo",), ("bench", "--memory")])
def test_what_needs_torch_says_so(command: tuple[str, ...], without_torch: dict[str, str]) -> None:
    """One sentence and what to do, with the exit code of wrong settings."""
    ended = captiond(*command, **without_torch)
    assert ended.returncode == ExitCode.WRONG_SETTINGS
    assert "without torch and transformers" in ended.stderr and "model.backend: openai" in ended.stderr
    assert "Traceback" not in ended.stderr
