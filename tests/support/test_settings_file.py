"""What is told of a settings file without checking it: too little rather than something wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from captiond.settings import load
from captiond.support.settings_file import fingerprint, whereabouts

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize(
    "text",
    [
        "folders:\n  inbox: in\n  state: st\n",
        "folders:\n    state:   st   # here\n    inbox: in\n\nmodel:\n  id: demo\n",
        "# first\nmodel:\n  id: demo\nfolders: # four\n  # a comment\n\n  inbox: in\n  done: d\n  state: st",
        '{"folders": {"inbox": "in", "state": "st"}, "model": {"id": "demo"}}',
        "\ufefffolders:\n  inbox: in\n  state: st\n",
    ],
)
def test_plain_settings_are_read_as_the_daemon_reads_them(tmp_path: Path, text: str) -> None:
    """The folders are those of the settings in full."""
    file = tmp_path / "captiond.yaml"
    file.write_text(text, encoding="utf-8")
    folders = load(file, {}, tmp_path).folders
    assert whereabouts(file, {}, tmp_path) == (folders.inbox, folders.state)


def test_the_settings_that_come_with_captiond_are_plain_enough() -> None:
    """What most people edit a little takes the quick way."""
    for name, root in (("captiond.yaml", "/srv/captiond"), ("docker.yaml", "/data")):
        found = whereabouts(CONFIG / name, {}, Path("/"))
        assert found == (Path(root) / "inbox", Path(root) / "state")


def test_the_environment_overrules_the_file(tmp_path: Path) -> None:
    """As it does in the settings in full; a home is somebody's home."""
    file = tmp_path / "captiond.yaml"
    file.write_text("folders:\n  inbox: ~/in\n  state: st\n")
    environ = {"CAPTIOND_FOLDERS__STATE": "elsewhere"}
    assert whereabouts(file, environ, tmp_path / "x") == (Path.home() / "in", tmp_path / "x" / "elsewhere")


@given(st.text(alphabet=" \n:#'\"&*!|>{}[]%@`,~-abinboxstatefolders", max_size=80))
@example(" inbox: 'in'\n state: st")
@example(" inbox: &a in\n state: *a")
@example(" inbox: in\n inbox: other\n state: st")
@example(" inbox: |\n   in\n state: st")
@example(" inbox: in # not: this\n state: st#this")
def test_what_is_not_plain_is_left_to_the_settings(
    tmp_path_factory: pytest.TempPathFactory, body: str
) -> None:
    """Whatever stands there, it is read as YAML reads it, or not at all; it raises nothing."""
    file = tmp_path_factory.getbasetemp() / "some.yaml"
    file.write_text(f"folders:\n{body}\n", encoding="utf-8")
    found = whereabouts(file, {}, Path("/base"))
    if found is None:
        return
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))["folders"]
    except yaml.YAMLError:
        return  # such a file starts no daemon
    if isinstance(said, dict) and all(isinstance(said.get(name), str) for name in ("inbox", "state")):
        assert found == tuple((file.parent / said[name]) for name in ("inbox", "state"))


def test_a_fingerprint_is_of_all_that_settings_come_from(tmp_path: Path) -> None:
    """Another file or another variable is another fingerprint; what a secret is never counts."""
    file = tmp_path / "captiond.yaml"
    file.write_text("model:\n  id: demo\n")
    first = fingerprint(file, {"HOME": "/root"})
    assert first == fingerprint(file, {"CAPTIOND_CONFIG": "x", "PATH": "/bin"})
    assert first != fingerprint(file, {"CAPTIOND_MODEL__ID": "demo"})
    with_key = fingerprint(file, {"CAPTIOND_MODEL__API_KEY": "secret"})
    assert with_key == fingerprint(file, {"CAPTIOND_MODEL__API_KEY": "other"}) != first
    file.write_text("model:\n  id: other\n")
    assert first != fingerprint(file, {})
    assert fingerprint(tmp_path / "missing.yaml", {}) is None
