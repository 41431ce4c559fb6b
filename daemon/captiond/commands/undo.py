"""Putting former texts back: `captiond undo`; the daemon may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from captiond.commands.folders import refuse_missing
from captiond.commands.retry import beneath
from captiond.delivery import beside
from captiond.delivery.not_understood import Tell
from captiond.exiftool import Exiftool
from captiond.records import Event
from captiond.service import build
from captiond.service.rules import RuleBook
from captiond.sidecar import CAPTION_SUFFIX
from captiond.sidecar.rewriting import undone

if TYPE_CHECKING:
    from captiond.records import Delivered
    from captiond.settings import Settings
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
    """Tells the settings' webhook what a command changed: the daemon does not know of it."""

    def __init__(self, webhook: Webhook | None) -> None:
        self._webhook = webhook

    def __call__(self, delivered: Delivered, record: Record, event: Event) -> None:
        if self._webhook is not None:
            at = now()
            self._webhook.tell(replace(record.outcome(delivered, at), event=event, at=at))

    def close(self) -> None:
        if self._webhook is not None:
            self._webhook.close()


@contextmanager
def changing(settings: Settings, warn: Tell) -> Iterator[tuple[beside.Beside, Telling]]:
    """The object that changes texts in done/ by these settings, and the one that tells the webhook."""
    refuse_missing(settings, "done")
    exiftool = Exiftool()
    telling = Telling(build.webhook_of(settings))
    try:
        with beside.opened(settings.folders.done, RuleBook(settings, exiftool).of, warn) as folder:
            yield folder, telling
    finally:
        exiftool.close()
        telling.close()


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
