"""What a process beside the daemon can tell about pictures in libraries: by their sidecars and the index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands.status import of
from captiond.errors import Surroundings
from captiond.libraries import index
from captiond.libraries.around import NotOurs, Old, Tree, old_record
from captiond.libraries.marker import Place
from captiond.service import client
from captiond.sidecar import CAPTION_SUFFIX
from captiond.status import LibraryStatus, Standing, Status
from captiond.support import wire

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.settings.library import Library


def at_rest(settings: Settings) -> tuple[LibraryStatus, ...]:
    """The libraries' status if no daemon runs: what was known when it stopped."""
    if not settings.libraries:
        return ()
    with index.looked_into(settings.folders.state) as counts:
        found = [(one.name, counts(one.name)) for one in settings.libraries]
    return tuple(
        LibraryStatus(
            name=name,
            state="unknown",
            pictures=known["described"] + known["failed"],
            described=known["described"],
            waiting=0,
            failed=known["failed"],
            left_behind=known["left"],
        )
        for name, known in found
    )


def within(settings: Settings, file: Path) -> tuple[Library, str] | None:
    """The library in which a file lies, and its path there; also for a file where its sidecars go."""
    for library in settings.libraries:
        for root in filter(None, (library.path, library.mirror)):
            if file.is_relative_to(root):
                return library, str(file.relative_to(root)).removesuffix(CAPTION_SUFFIX)
    return None


def named(settings: Settings, given: Path) -> tuple[Library, str] | None:
    """The library and path of a picture that is named as in the log: the library's name, then the path."""
    for library in settings.libraries:
        if len(given.parts) > 1 and given.parts[0] == library.name:
            inner = Path(*given.parts[1:])
            if os.path.lexists(library.path / inner):
                return library, str(inner)
    return None


def failures(settings: Settings) -> list[str]:
    """All that failed in libraries."""
    state = settings.folders.state
    return [
        str(library.path / path)
        for library in settings.libraries
        for path in index.failures_of(state, library.name)
    ]


def asked(settings: Settings, library: Library, path: str) -> tuple[Standing, Status | None]:
    """Where a picture stands, and the status of the daemon that says so; None if there is none.

    Raises: Surroundings, if there is a daemon and it does not answer.
    """
    folders = settings.folders
    question = {"ask": "explain", "path": path, "library": library.name}
    try:
        answer = client.ask(folders.state, folders.inbox, question)
    except client.NotRunning:
        return standing(settings, library, path), None
    try:
        return wire.decoded(Standing, answer.get("standing")), of(answer, folders.inbox)
    except ValueError as error:
        raise client.not_understood(folders.inbox, error) from error


def standing(settings: Settings, library: Library, path: str) -> Standing:
    """Where a picture stands while no daemon runs."""
    if not os.path.lexists(library.path / path):
        return Standing("not_there")
    if _old(library, path) is not None:
        return Standing("described")
    failed = index.failure_of(settings.folders.state, library.name, path)
    return Standing("unlooked") if failed is None else Standing("failed", failed.message)


def caption_of(library: Library, path: str) -> str:
    """The picture's caption; empty if it cannot be read."""
    old = _old(library, path)
    return (old.record.caption if old is not None else None) or ""


def _old(library: Library, path: str) -> Old | None:
    place = Place(library.name, library.path, library.mirror)
    try:
        with place.opened() as root, place.written_into(root) as target:
            return old_record(Tree(target), path)
    except (OSError, NotOurs, ValueError, Surroundings):
        return None
