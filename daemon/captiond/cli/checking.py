"""`captiond check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from captiond.cli.given import config_option, configure_logs, settings_of
from captiond.cli.say import say_json, say_lines
from captiond.errors import ExitCode

if TYPE_CHECKING:
    from captiond.settings import Settings


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, each as soon as it is known.")
def check(config: Path | None, as_json: bool) -> ExitCode:
    """Look at settings, folders, disk, model files, GPU and watcher: what is wrong, and what to do."""
    settings = settings_of(config)
    configure_logs(settings, quieter=True)
    return say_checks(settings, as_json=as_json)


def say_checks(settings: Settings, *, as_json: bool) -> ExitCode:
    """Say each result as soon as it is known; the worst one decides the exit code."""
    from captiond.commands.check import checks

    worst = ExitCode.OK
    for result in checks(settings):
        if as_json:
            say_json(result.as_json())
        else:
            say_lines(result.lines())
        if result.ok is False:
            worst = max(worst, result.exit_code)
    return worst
