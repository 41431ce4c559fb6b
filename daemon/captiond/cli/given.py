"""What every command is given: the settings, and how much it logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from captiond.settings import Settings

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file.  Else $CAPTIOND_CONFIG, ./captiond.yaml, /etc/captiond/captiond.yaml.",
)


def settings_of(config: Path | None, model: str | None = None) -> Settings:
    """The settings that count for this command; `model` overrules theirs.

    Raises: CannotStart, for whatever is wrong with them.
    """
    from captiond import settings

    overrides = {} if model is None else {"model.id": model}
    return settings.load(config, os.environ, Path.cwd(), overrides=overrides)


def configure_logs(settings: Settings, *, quieter: bool = False) -> None:
    """`quieter`: for commands whose answer is on standard output, below a warning only if asked for."""
    from captiond import logs

    level = settings.log.level
    logs.configure("warning" if quieter and level == "info" else level, settings.log.format)
