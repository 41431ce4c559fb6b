"""Putting failed images back: `captiond retry`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands.folders import refuse_missing
from captiond.delivery import retry
from captiond.delivery.not_understood import Tell
from captiond.errors import NotThere

if TYPE_CHECKING:
    from captiond.settings import Settings


def put_back(
    settings: Settings, named: Iterable[str], cwd: Path, tell: Tell
) -> Iterator[tuple[str, Path | None]]:
    """All that failed, or what is named: each path, and where it lies now; None if nothing failed there.

    `tell`: hears of what an earlier retry left, and cannot be understood or finished.
    Raises Surroundings if a folder is missing or does not let us.
    """
    refuse_missing(settings, "inbox", "failed")
    folders = settings.folders
    wanted = [beneath(path, folders.failed, cwd) for path in named] or retry.failures(folders.failed)
    for path in wanted:
        try:
            back = retry.put_back(path, inbox=folders.inbox, failed=folders.failed, tell=tell)
        except NotThere:
            yield path, None
        else:
            yield path, folders.inbox / back


def beneath(path: str, folder: Path, cwd: Path) -> str:
    """`path` as seen from `folder`, whether it was given so or from where the caller stands."""
    absolute = Path(os.path.abspath(cwd / path))  # noqa: PTH100 - resolve would follow links
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else path
