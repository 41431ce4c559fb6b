"""Whether a folder of the settings is there at all, and one sentence for it if it is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from captiond.errors import Surroundings

if TYPE_CHECKING:
    from captiond.settings import Settings


def refuse_missing(settings: Settings, *names: str) -> None:
    """Raises: Surroundings, with what to do, if one of the folders does not exist."""
    for name in names:
        folder: Path = getattr(settings.folders, name)
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            raise Surroundings(f"folders.{name} ({folder}) {what}", advice=_advice(settings))


def _advice(settings: Settings) -> str:
    if settings.source is None:
        return (
            "No settings file was found either.  `captiond init` makes the folders and a settings file; "
            "`captiond demo` shows a whole run without any."
        )
    return f"Create it or mount its volume; or is {settings.source} not the file you mean?"
