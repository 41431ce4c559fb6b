"""Completion and the manual page: made from the command line itself, and understood by bash and man."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from captiond.cli import app
from captiond.commands import manual
from daemon_process import captiond, environment


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    """`captiond completion SHELL` prints what the shell asks captiond with."""
    printed = CliRunner().invoke(app, ["completion", shell])
    assert printed.exit_code == 0
    assert f"_CAPTIOND_COMPLETE={shell}_complete" in printed.output


def test_bash_completes_commands_options_and_values() -> None:
    """What bash asks for is answered, by a process of its own, as when somebody presses the tab key."""

    def completed(words: str, at: int) -> set[str]:
        asked = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; sys.argv[0] = 'captiond'; import captiond.cli as c; c.main()",
            ],
            env=environment(_CAPTIOND_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(at)),
            capture_output=True,
            text=True,
        )
        return set(asked.stdout.split())

    assert {"plain,check", "plain,caption", "plain,completion"} <= completed("captiond c", 1)
    assert "plain,--once" in completed("captiond run --o", 2)
    assert completed("captiond completion f", 2) == {"plain,fish"}
    assert completed("captiond run -c ", 3) == {"file,"}  # bash completes the path itself


def test_every_command_and_option_stands_in_the_manual() -> None:
    """The page is made from the command line, so none is forgotten."""
    page = manual.page(app).replace("\\-", "-")
    for name, command in app.commands.items():
        assert f"captiond {name}" in page
        for parameter in command.params:
            assert all(option in page for option in parameter.opts if option.startswith("-"))


def test_man_has_nothing_to_complain_about() -> None:
    """man shows the page without a warning."""
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("man is not installed")
    shown = subprocess.run(
        ["man", "--warnings=w", "--local-file", "--pager=cat", "-"],
        input=captiond("man").stdout,
        capture_output=True,
        text=True,
        env=environment(LC_ALL="C.UTF-8", MANWIDTH="100"),
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert "captiond run" in shown.stdout
