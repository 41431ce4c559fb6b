"""Putting former texts back: `captiond undo`; the daemon may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands import places
from captiond.commands.folders import refuse_missing
from captiond.commands.places import Named
from captiond.delivery import beside
from captiond.delivery.edit import Revise
from captiond.delivery.not_understood import Tell
from captiond.errors import Surroundings
from captiond.exiftool import Exiftool
from captiond.libraries import Revising
from captiond.records import Event, Limits, RulesOf
from captiond.service import build, client
from captiond.service.rules import RuleBook
from captiond.sidecar.rewriting import undone

if TYPE_CHECKING:
    from captiond.records import Delivered
    from captiond.settings import Settings
    from captiond.settings.library import Library
    from captiond.settings.schema import Folders
    from captiond.sidecar import Record
    from captiond.webhook import Webhook


def put_back(settings: Settings, path: str, cwd: Path, warn: Tell) -> tuple[str, str]:
    """The picture's path, in done/ or with its library's name before it, and what it says now.

    Raises: NotThere, if there is no such picture; TryLater, if nothing was changed or it is being changed;
    Ambiguous; Surroundings.
    """
    named = places.picture(settings, path, cwd)
    with changing(settings, warn) as (texts, tell):
        at = now()
        delivered, record = texts.rewrite(named, undone, at)
        tell(delivered, record, "undone")
    return named.path, record.caption or ""


class Telling:
    """Tells what a command changed: the settings' webhook, and the daemon, which then looks at the record."""

    def __init__(self, webhook: Webhook | None, folders: Folders) -> None:
        self._webhook = webhook
        self._folders = folders
        self._is_heard = True  # by a daemon, as far as is known

    def __call__(self, delivered: Delivered, record: Record, event: Event) -> None:
        if self._webhook is not None:
            at = now()
            self._webhook.tell(replace(record.outcome(delivered, at), event=event, at=at))
        if self._is_heard:
            library = {} if delivered.library is None else {"library": delivered.library}
            self._tell_daemon({"ask": "changed", "path": delivered.path, "event": event, **library})

    def _tell_daemon(self, told: Mapping[str, str]) -> None:
        """If no daemon hears it, its history is corrected when somebody looks at the picture."""
        try:
            client.ask(self._folders.state, self._folders.inbox, told)
        except (client.NotRunning, Surroundings):
            self._is_heard = False

    def close(self) -> None:
        if self._webhook is not None:
            self._webhook.close()


class Changing:
    """Changes texts where they lie, beside a daemon or without one."""

    def __init__(self, settings: Settings, rules: RuleBook, done: beside.Beside) -> None:
        self._settings = settings
        self._rules = rules
        self._done = done

    def rewrite(self, named: Named, revise: Revise, at: datetime) -> tuple[Delivered, Record]:
        """See `Delivery.rewrite` and `Revising.rewrite`."""
        library = named.library
        if library is None:
            return self._done.rewrite(named.path, revise, at)
        refuse_missing(self._settings, "state")
        revising = Revising(places.place_of(library), self._rules_of(library), self._settings.folders.state)
        return revising.rewrite(named.path.removeprefix(f"{library.name}/"), revise, at)

    def limits_of(self, named: Named, record: Record) -> Limits:
        """The limits of a person's texts for this picture."""
        rules_of = self._rules.of if named.library is None else self._rules_of(named.library)
        return rules_of(record.path).limits

    def _rules_of(self, library: Library) -> RulesOf:
        return self._rules.of_library(library.name, xmp="xmp" in library.write)


@contextmanager
def changing(settings: Settings, warn: Tell) -> Iterator[tuple[Changing, Telling]]:
    """The object that changes texts by these settings, and the one that tells the webhook."""
    refuse_missing(settings, "done")
    exiftool = Exiftool()
    telling = Telling(build.webhook_of(settings), settings.folders)
    rules = RuleBook(settings, exiftool)
    try:
        with beside.opened(settings.folders.done, rules.of, warn) as done:
            yield Changing(settings, rules, done), telling
    finally:
        exiftool.close()
        telling.close()


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
