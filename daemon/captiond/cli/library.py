"""Commands about libraries, whose pictures are described where they lie."""

from __future__ import annotations

import os
from pathlib import Path

import click

from captiond.cli.given import config_option, settings_of
from captiond.cli.say import say_lines
from captiond.commands.manual import Commands
from captiond.errors import ExitCode


@click.group(cls=Commands)
def library() -> None:
    """Describe pictures where they lie, without moving or touching them."""


@library.command()
@click.argument("path", type=click.Path(path_type=Path))
@config_option
@click.option("--existing", is_flag=True, help="Also what lies there already; else only what comes later.")
@click.option("--name", metavar="NAME", help="What to call it; by default as its folder is called.")
@click.option(
    "--sidecars",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write into this folder, at the same paths, and not beside the pictures.",
)
@click.option("--yes", is_flag=True, help="Mark it as a library.")
def add(
    path: Path, config: Path | None, existing: bool, name: str | None, sidecars: Path | None, yes: bool
) -> ExitCode:
    """Say what PATH holds and what would be done about it; with --yes, mark it as a library."""
    from captiond.commands import library

    folder = _absolute(path)
    mirror = _absolute(sidecars) if sidecars is not None else None
    found = library.look(settings_of(config), folder, name=name, sidecars=mirror, existing=existing)
    if yes:
        library.add(found)
    say_lines(library.lines(found, is_added=yes))
    return ExitCode.OK


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve would follow links
