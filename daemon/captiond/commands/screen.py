"""`captiond status --watch`: the status on a terminal, kept up to date until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from captiond.characters import printable
from captiond.commands import status
from captiond.errors import Surroundings
from captiond.status import Status


def show(ask: Callable[[], Status], stream: TextIO) -> None:
    """Raises what `ask` raises the first time; later trouble is shown for as long as it lasts."""

    def text() -> str:
        try:
            return "\n".join(status.lines(ask()))
        except Surroundings as trouble:
            return trouble.message

    first = "\n".join(status.lines(ask()))
    with Live(_shown(first), console=Console(file=stream), auto_refresh=False) as live:
        try:
            for latest in status.again_and_again(text):
                live.update(_shown(latest), refresh=True)
        except KeyboardInterrupt:
            pass  # the last status stays on the screen


def _shown(text: str) -> Text:
    return Text(printable(text))
