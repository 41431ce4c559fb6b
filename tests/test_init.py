"""`captiond init`, and what a newcomer meets without it."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from captiond.commands import init
from captiond.demo.samples import write_samples
from captiond.errors import CannotStart
from captiond.settings import load
from daemon_process import captiond, environment
from fake_chat_server import FakeChatServer

CONFIG = Path(__file__).parent.parent / "config" / "captiond.yaml"


def test_from_nothing_to_captions_in_three_commands(tmp_path: Path) -> None:
    """init, drop pictures, run: every setting stands in the file with its sentence, and it says what next."""
    place = tmp_path / "my pictures"
    made = captiond("init", place, "--model", "demo", "--yes")
    assert made.returncode == 0, made.stderr
    assert sorted(path.name for path in place.iterdir()) == [
        "captiond.yaml",
        "done",
        "failed",
        "inbox",
        "state",
    ]
    option = shlex.quote(str(place / "captiond.yaml"))
    assert f"captiond run -c {option}" in made.stdout and "WRONG" not in made.stdout
    samples = write_samples(place / "inbox")[:2]
    assert captiond("run", "--once", "-c", place / "captiond.yaml").returncode == 0
    for sample in samples:
        assert (place / "done" / f"{sample.path.name}.caption.json").exists()


def test_only_what_was_chosen_differs_from_the_settings_that_come_along(tmp_path: Path) -> None:
    """The settings file is config/captiond.yaml with other values: each comment and each key stays."""
    plan = init.Plan(tmp_path, "phi", page=True)
    init.make(plan, {})
    made, ours = (file.read_text().splitlines() for file in (tmp_path / "captiond.yaml", CONFIG))
    assert len(made) == len(ours)
    changed = [new for new, old in zip(made, ours, strict=True) if new != old]
    assert changed == ["  inbox: inbox", "  done: done", "  failed: failed", "  state: state",
                       "  listen: 127.0.0.1:8000"]  # fmt: skip
    assert load(tmp_path / "captiond.yaml", {}, tmp_path).folders.inbox == tmp_path / "inbox"


def test_nothing_that_is_there_is_changed(tmp_path: Path) -> None:
    """A settings file, or a file in a folder's place, is refused; folders are used as they are."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.jpg").write_bytes(b"mine")
    (tmp_path / "captiond.yaml").write_text("mine")
    refused = captiond("init", tmp_path, "--yes", "--model", "demo")
    assert refused.returncode == 2 and "captiond.yaml is there already" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captiond.yaml", "inbox"]
    (tmp_path / "captiond.yaml").unlink()
    (tmp_path / "done").write_text("mine")
    refused = captiond("init", tmp_path, "--yes", "--model", "demo")
    assert refused.returncode == 2 and "no folder" in refused.stderr
    (tmp_path / "done").unlink()
    assert captiond("init", tmp_path, "--yes", "--model", "demo").returncode == 0
    assert (tmp_path / "inbox" / "a.jpg").read_bytes() == b"mine"


def test_a_server_is_tried_and_asked_for_its_model(tmp_path: Path) -> None:
    """The model's name comes from the server; one that does not answer is told before anything is made."""
    with FakeChatServer() as server:
        made = captiond("init", tmp_path / "a", "--model", server.url, "--yes")
        assert made.returncode == 0, made.stdout + made.stderr
        settings = load(tmp_path / "a" / "captiond.yaml", {}, tmp_path)
        assert (settings.model.backend, settings.model.id) == ("openai", server.model_id)
        assert settings.model.base_url == server.url and "has described a picture" in made.stdout
    silent = captiond("init", tmp_path / "b", "--model", server.url, "--yes")
    assert silent.returncode == 75 and server.url in silent.stderr and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("phi", None),
        ("demo", None),
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
        ("http://vllm:8000", "http://vllm:8000/v1"),
        ("localhost:8080/", "http://localhost:8080/v1"),
        ("https://example.org/llm/v1/", "https://example.org/llm/v1"),
    ],
)
def test_an_address_may_be_said_shortly(said: str, address: str | None) -> None:
    """The scheme and the path of a usual server need not be typed."""
    assert init.server_address(said) == address


@pytest.mark.parametrize(
    "said", ["ftp://x:1", "phi3", "", "http://user:word@host:1/v1", "http:// x", "a b:1"]
)
def test_what_is_no_model_is_refused(said: str) -> None:
    """With the three things that it may be."""
    with pytest.raises(CannotStart, match="phi, demo or the address"):
        init.server_address(said)


def test_on_a_terminal_it_asks_what_was_not_said(tmp_path: Path) -> None:
    """Two questions, each with an answer that a newcomer can take by pressing Enter."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "captiond", "init", str(tmp_path / "new")]
    asking = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment())
    os.close(theirs)
    os.write(ours, b"demo\n\n")
    heard = b""
    try:
        while some := os.read(ours, 65536):
            heard += some
    except OSError:  # the other end was closed, as Linux says it
        pass
    os.close(ours)
    assert asking.wait(60) == 0, heard
    assert b"[phi]" in heard and b"[Y/n]" in heard
    values = yaml.safe_load((tmp_path / "new" / "captiond.yaml").read_text())
    assert (values["model"]["id"], values["http"]["listen"]) == ("demo", "127.0.0.1:8000")


def test_the_lines_for_systemd_name_files_that_are_there(tmp_path: Path) -> None:
    """`init --systemd` changes nothing; every file it names came along, and is the one of the checkout."""
    told = captiond("init", "--systemd")
    assert told.returncode == 0
    named = [Path(found) for found in re.findall(r"(\S+/files/\S+) ", told.stdout)]
    assert {file.name for file in named} == {
        "captiond.yaml", "captiond.service", "captiond.sysusers", "captiond.tmpfiles"
    }  # fmt: skip
    assert all(file.is_file() for file in named)
    assert (init.FILES / "captiond.yaml").read_bytes() == CONFIG.read_bytes()
    for line in told.stdout.splitlines():
        subprocess.run(["sh", "-n", "-c", line], check=True)
    moved = list(init.service_lines(Path("/home/me/venv/bin/captiond")))
    assert any("/home/me/venv/bin/captiond" in line for line in moved)
    assert any("ProtectHome" in line for line in moved)


def test_a_newcomer_is_shown_the_way(tmp_path: Path) -> None:
    """`run` without settings names `init` and `demo`, and does not ask for a volume to be mounted."""
    if Path("/srv/captiond/inbox").exists() or Path("/etc/captiond/captiond.yaml").exists():
        pytest.skip("captiond is installed here")
    told = subprocess.run(
        [sys.executable, "-m", "captiond", "run"],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    assert told.returncode == 75
    assert "captiond init" in told.stderr and "captiond demo" in told.stderr and "mount" not in told.stderr
