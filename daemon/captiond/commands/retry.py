"""Putting failed images back: `captiond retry`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands import library_files
from captiond.commands.folders import refuse_missing
from captiond.delivery import retry
from captiond.delivery.not_understood import Tell
from captiond.errors import NotThere
from captiond.libraries.index import forget_failure

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.settings.library import Library


def put_back(
    settings: Settings, named: Iterable[str], cwd: Path, tell: Tell
) -> Iterator[tuple[str, Path | None]]:
    """Put back all that failed, or what is named: each path, and its place now; None if it had not failed.

    A picture that failed in a library still lies there, and is tried again at the next look through it.
    `tell`: is told what an earlier retry left that cannot be understood or finished.

    Raises: Surroundings, if a folder is missing or cannot be used.
    """
    refuse_missing(settings, "inbox", "failed")
    folders = settings.folders
    wanted = [beneath(path, folders.failed, cwd) for path in named] or [
        *retry.failures(folders.failed),
        *library_files.failures(settings),
    ]
    for path in wanted:
        absolute = Path(os.path.abspath(cwd / path))  # noqa: PTH100 - resolve would follow links
        found = library_files.within(settings, absolute)
        try:
            if found is None:
                back = retry.put_back(path, inbox=folders.inbox, failed=folders.failed, tell=tell)
                yield path, folders.inbox / back
                continue
        except NotThere:
            found = library_files.named(settings, Path(path))
        yield path, _tried_again(settings, *found) if found is not None else None


def _tried_again(settings: Settings, library: Library, path: str) -> Path | None:
    """Where the picture lies, if it had failed."""
    is_known = forget_failure(settings.folders.state, library.name, path)
    return library.path / path if is_known else None


def beneath(path: str, folder: Path, cwd: Path) -> str:
    """`path` as seen from `folder`, whether it was given so or from where the caller stands."""
    absolute = Path(os.path.abspath(cwd / path))  # noqa: PTH100 - resolve would follow links
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else path
