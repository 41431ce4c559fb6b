"""Commands that look at a daemon and change nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captiond.cli.given import config_option, settings_of
from captiond.cli.say import say, say_json, say_lines
from captiond.errors import ExitCode, Surroundings
from captiond.names import shown

if TYPE_CHECKING:
    from captiond.status import Status


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--watch", is_flag=True, help="Keep it up to date; with --json, an object each second.")
def status(config: Path | None, as_json: bool, watch: bool) -> ExitCode:
    """Show what the running daemon does; of a stopped one, what waits for it."""
    from captiond.commands import status

    if watch and as_json:
        for found in status.again_and_again(lambda: _status(config)):
            say_json(found.as_json())
    elif watch:
        from captiond.commands import screen

        if not sys.stdout.isatty():
            raise click.UsageError("--watch needs a terminal; `--watch --json` prints an object each second.")
        screen.show(lambda: _status(config), sys.stdout)
    elif as_json:
        say_json(_status(config).as_json(), indent=2)
    else:
        say_lines(status.lines(_status(config)))
    return ExitCode.OK


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def explain(path: Path, config: Path | None, as_json: bool) -> ExitCode:
    """Say why a file is still in the inbox, or where it went.

    PATH lies in one of the folders or in a library, or is a path beneath the inbox.
    """
    from captiond.commands import inspect

    found = inspect.explain(settings_of(config), path, Path.cwd())
    if as_json:
        say_json({"path": shown(str(path)), **found.as_json()})
    else:
        say(found.message, to_errors=not found.is_known)
        if found.advice:
            say(f"  {found.advice}")
    return ExitCode.OK if found.is_known else ExitCode.SOME_FAILED


@click.command()
@config_option
def health(config: Path | None) -> ExitCode:
    """Leave with 0 only if the daemon sees its inbox, its loops move and its model works; else with 1."""
    try:
        trouble = _status(config).why_unhealthy()
    except Surroundings as unseen:
        trouble = unseen.message
    say(f"unhealthy: {trouble}" if trouble else "healthy")
    return ExitCode.SOME_FAILED if trouble else ExitCode.OK


def _status(config: Path | None) -> Status:
    """How the daemon fares: asked at once if it runs by our settings, else found out at length."""
    from captiond.commands import status

    found = status.quick(config, os.environ, Path.cwd())
    if found is None:
        from captiond.commands import inspect

        found = inspect.status(settings_of(config))
    return found
