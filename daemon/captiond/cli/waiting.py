"""Commands that keep a daemon from beginning anything new, and let it go on."""

from __future__ import annotations

from pathlib import Path

import click

from captiond.cli.given import config_option, configure_logs, settings_of
from captiond.cli.say import say
from captiond.commands.manual import duration
from captiond.errors import ExitCode


@click.command()
@click.option("--for", "seconds", metavar="TIME", callback=duration, help="It ends by itself then: 90s, 2h.")
@click.option("--why", metavar="TEXT", help="A reason, for whoever asks `status`.")
@config_option
def pause(seconds: float | None, why: str | None, config: Path | None) -> ExitCode:
    """Let what is in work end and begin nothing new, until `captiond resume` or for a time.

    It survives a restart, and needs no daemon; the daemon stays healthy meanwhile.
    """
    from captiond.commands import pause
    from captiond.delivery.pausing import LONGEST_SECONDS

    if seconds is not None and not 0 < seconds <= LONGEST_SECONDS:
        raise click.UsageError("--for is a time of at most ten years")
    settings = settings_of(config)
    configure_logs(settings, quieter=True)
    try:
        say(pause.begin(settings, seconds, why))
    except ValueError as error:
        raise click.UsageError(f"--why: {error}") from error
    return ExitCode.OK


@click.command()
@config_option
def resume(config: Path | None) -> ExitCode:
    """End a pause."""
    from captiond.commands import pause

    settings = settings_of(config)
    configure_logs(settings, quieter=True)
    say(pause.end(settings))
    return ExitCode.OK
