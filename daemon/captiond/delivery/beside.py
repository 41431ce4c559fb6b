"""Other texts for what lies in done/, for a command beside the daemon, or without one.

It leaves the daemon's lock alone: each edit holds the edits' own lock for as long as it lasts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from captiond.delivery.edit import Edits, Revise
from captiond.delivery.folders import Folder
from captiond.delivery.moves import exchange, move
from captiond.delivery.not_understood import Tell
from captiond.errors import as_surroundings
from captiond.names import shown
from captiond.records import Delivered, Limits, RulesOf
from captiond.sidecar import Record
from captiond.support import own

_NO_LOCK = -1


class Beside:
    """The part of `Delivery` that changes delivered pictures."""

    def __init__(self, done: Folder, rules_of: RulesOf, tell: Tell) -> None:
        self._done = done
        self._rules_of = rules_of
        self._edits = Edits(rules_of, move, exchange, tell)

    def rewrite(self, path: str, revise: Revise, at: datetime) -> tuple[Delivered, Record]:
        """See `Delivery.rewrite`."""
        try:
            return self._edits.rewrite(self._done, path, revise, at)
        except OSError as error:
            raise as_surroundings(error, f"changing the texts of {shown(path)}") from error

    def limits_of(self, record: Record) -> Limits:
        """The limits of a person's texts for this picture."""
        return self._rules_of(record.path).limits


@contextmanager
def opened(done: Path, rules_of: RulesOf, tell: Tell) -> Iterator[Beside]:
    """Raises: Surroundings, if the folder cannot be used."""
    with ExitStack() as closing:
        try:
            root = os.open(done, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            closing.callback(os.close, root)
            work = own.enter(root, done, for_its_owner=True)
            closing.callback(os.close, work.descriptor)
        except OSError as error:
            raise as_surroundings(error, f"opening folders.done ({done})") from error
        folder = Folder("done", done, root, work.descriptor, _NO_LOCK, "", work.is_private)
        yield Beside(folder, rules_of, tell)
