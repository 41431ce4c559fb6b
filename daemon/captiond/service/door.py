"""What stands behind the HTTP door: the rooms, handed to the routes as plain calls.

A daemon without a page does not import this: FastAPI takes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from captiond.commands.sentences import sentence
from captiond.delivery.intake import Intake
from captiond.logs import Kept
from captiond.metadata.taken import camera_of, taken_at
from captiond.names import shown
from captiond.pipeline.ondemand import Answering
from captiond.records import Outcome
from captiond.redo.lists import Lists
from captiond.service import report
from captiond.service.build import Rooms
from captiond.service.report import Life
from captiond.settings.telling import told
from captiond.status import Standing
from captiond.web import Door, inbox, insight, pausing
from captiond.web.exhibits import Shot
from captiond.web.gallery import Gallery
from captiond.web.thumbnails import Thumbnails

if TYPE_CHECKING:
    from captiond.settings import Settings


@dataclass(frozen=True, slots=True)
class Behind:
    rooms: Rooms
    life: Life
    answering: Answering
    settings: Callable[[], Settings]  # as they are now
    lines: Kept
    tell: Callable[[Outcome], None]  # is told what became of a picture's texts

    def serving(self, door: Door) -> AbstractContextManager[None]:
        """Answer while this lasts, on the door's own threads."""
        rooms, life = self.rooms, self.life
        return door.serving(
            self.answering,
            partial(report.why_unhealthy, rooms, life),
            partial(report.measures, rooms, life),
            self._gallery(),
            self._inbox(),
            self._insight(),
            pausing.routes(rooms.resting, rooms.gate.look),
        )

    def _gallery(self) -> Gallery:
        rooms, folders = self.rooms, self.rooms.settings.folders
        return Gallery(
            rooms.history,
            rooms.delivery,
            Thumbnails(rooms.decoders, rooms.rules.of),
            partial(report.status, rooms, self.life),
            inbox=folders.inbox,
            done=folders.done,
            failed=folders.failed,
            libraries=rooms.libraries,
            lists=Lists(folders.state),
            shot_of=lambda data: Shot(taken_at(data), camera_of(data)),
            tell=self.tell,
        )

    def _inbox(self) -> Any:
        rooms = self.rooms

        def listing(most: int) -> list[tuple[str, Standing, str]]:
            found = rooms.inbox.listing(most, lambda path: rooms.rules.of(path).takes_text)
            return [(shown(path), standing, sentence(standing)) for path, standing in found]

        intake = Intake(rooms.settings.folders.inbox)
        intake.clear()
        return inbox.routes(
            intake, listing, lambda: rooms.rules.of("").max_file_bytes, lambda: rooms.inbox.unserved
        )

    def _insight(self) -> Any:
        def settings() -> tuple[str | None, list[object]]:
            now = self.settings()
            return None if now.source is None else str(now.source), list(told(now))

        return insight.routes(insight.Sources(settings, self.lines, self.rooms.history.numbers))
