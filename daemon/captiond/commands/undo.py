"""Putting former texts back: `captiond undo`; the daemon may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands.folders import refuse_missing
from captiond.commands.retry import beneath
from captiond.delivery import beside
from captiond.delivery.not_understood import Tell
from captiond.errors import Surroundings
from captiond.exiftool import Exiftool
from captiond.records import Event
from captiond.service import build, client
from captiond.service.rules import RuleBook
from captiond.sidecar import CAPTION_SUFFIX
from captiond.sidecar.rewriting import undone

if TYPE_CHECKING:
    from captiond.records import Delivered
    from captiond.settings import Settings
    from captiond.settings.schema import Folders
    from captiond.sidecar import Record
    from captiond.webhook import Webhook


def put_back(settings: Settings, path: str, cwd: Path, warn: Tell) -> tuple[str, str]:
    """The picture's path in done/, and what it says now.

    Raises: NotThere, if there is no such picture; TryLater, if nothing was changed or it is being changed;
    Surroundings.
    """
    named = beneath(path, settings.folders.done, cwd).removesuffix(CAPTION_SUFFIX)
    with changing(settings, warn) as (folder, tell):
        at = now()
        delivered, record = folder.rewrite(named, undone, at)
        tell(delivered, record, "undone")
    return named, record.caption or ""


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
            self._tell_daemon({"ask": "changed", "path": delivered.path, "event": event})

    def _tell_daemon(self, told: Mapping[str, str]) -> None:
        """If no daemon hears it, its history is corrected when somebody looks at the picture."""
        try:
            client.ask(self._folders.state, self._folders.inbox, told)
        except (client.NotRunning, Surroundings):
            self._is_heard = False

    def close(self) -> None:
        if self._webhook is not None:
            self._webhook.close()


@contextmanager
def changing(settings: Settings, warn: Tell) -> Iterator[tuple[beside.Beside, Telling]]:
    """The object that changes texts in done/ by these settings, and the one that tells the webhook."""
    refuse_missing(settings, "done")
    exiftool = Exiftool()
    telling = Telling(build.webhook_of(settings), settings.folders)
    try:
        with beside.opened(settings.folders.done, RuleBook(settings, exiftool).of, warn) as folder:
            yield folder, telling
    finally:
        exiftool.close()
        telling.close()


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
