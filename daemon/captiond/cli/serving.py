"""Commands that run the daemon, or make what it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from captiond.cli.checking import say_checks
from captiond.cli.given import config_option, configure_logs, settings_of
from captiond.cli.say import say, say_lines
from captiond.commands.manual import duration
from captiond.errors import ExitCode


@click.command()
@config_option
@click.option("--once", is_flag=True, help="Empty the inbox (files still being written too); then leave.")
@click.option(
    "--patience", metavar="TIME", callback=duration, help="With --once: with what is not whole (10s)."
)
def run(config: Path | None, once: bool, patience: float | None) -> ExitCode:
    """Watch the inbox in the foreground."""
    from captiond.commands import run

    if patience is not None and not once:
        raise click.UsageError("--patience goes with --once")
    settings = settings_of(config)
    configure_logs(settings)
    run.begin(settings)
    # The very file of this start: with it gone, another one or the defaults would be a surprise.
    return run.serve(
        settings,
        sys.stderr,
        once=once,
        patience_seconds=run.PATIENCE_SECONDS if patience is None else patience,
        reread=lambda: settings_of(settings.source or config),
    )


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--model", metavar="demo|phi|URL", help="Drawn shapes, Phi-3.5-vision, or a server's address.")
@click.option("--page/--no-page", default=None, help="A page to look at, for this machine alone.")
@click.option("--yes", is_flag=True, help="Ask nothing: phi, no page, and the first model of a server.")
@click.option("--systemd", is_flag=True, help="Only print what to type for a service of systemd.")
def init(folder: Path | None, model: str | None, page: bool | None, yes: bool, systemd: bool) -> ExitCode:
    """Make folders and a commented settings file in DIR, try the model, say what next.

    DIR is the current folder if it is left out.  What exists is not changed.
    """
    from captiond.commands import init

    if systemd:
        say_lines(init.service_lines(init.program()))
        return ExitCode.OK
    plan = init.planned(Path.cwd() / (folder or ""), model, page, asks=not yes and sys.stdin.isatty())
    settings = init.make(plan, os.environ)
    say(f"Made {settings.source}, and beside it {', '.join(init.FOLDERS)}.  What `captiond check` says:")
    configure_logs(settings, quieter=True)
    code = say_checks(settings, as_json=False)
    say_lines(init.next_steps(plan, Path.cwd()))
    return code


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
def demo(folder: Path | None) -> ExitCode:
    """Show a whole run on drawn sample pictures with the built-in model.

    Needs no download and no GPU.  Works in DIR, which must be new or empty, else in a temporary folder.
    """
    from captiond.commands import run
    from captiond.demo import tour

    drawn = tour.prepare(folder)
    settings = tour.settings(drawn)
    configure_logs(settings, quieter=True)
    say(f"Drew {len(drawn.samples)} pictures into {drawn.inbox}; running the daemon over them ...")
    code = run.serve(settings, sys.stderr, once=True)
    say_lines(tour.told(drawn, tour.look_back(drawn)))
    return code
