"""How the daemon is set up and how it fared: its settings, its last lines of log, its numbers.  Read-only."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from captiond.history import Numbers
from captiond.logs import Kept
from captiond.web.lanes import Lane
from captiond.web.verdicts import verdicts

MOST_DAYS = 366
LINES_AT_ONCE = 200
FARTHEST_MINUTES = 24 * 60  # that a clock may be away from UTC


class Setting(BaseModel):
    """One key."""

    model_config = ConfigDict(from_attributes=True)

    key: str
    value: Any
    where: str = Field(description="File and line, environment, command line, or default")
    profile: str | None = Field(description="Only for the pictures of this profile")


class Settings(BaseModel):
    file: str | None = Field(description="The settings file; null: there is none")
    settings: list[Setting]


class Line(BaseModel):
    number: int
    line: dict[str, Any] = Field(description="As it stands in the log where that is JSON")


class Lines(BaseModel):
    lines: list[Line] = Field(description="Oldest first")
    newest: int = Field(description="The number of the last one; a start begins with 1 again")


class Day(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    day: date
    captioned: int
    failed: int
    seconds: float | None = Field(description="That a captioned picture took on average, without its wait")


class Counted(BaseModel):
    days: list[Day] = Field(description="Those on which there was anything")
    failures: dict[str, int] = Field(description="By kind, the most frequent first")


@dataclass(frozen=True, slots=True)
class Sources:
    """The functions that know the settings, the log and the numbers."""

    settings: Callable[[], tuple[str | None, Sequence[object]]]  # the file, and each key
    lines: Kept
    numbers: Callable[[datetime, timedelta], Numbers]


def routes(sources: Sources) -> APIRouter:
    """These routes beneath `/api`."""
    api = APIRouter(prefix="/api", tags=["daemon"])
    looking = Lane(2)

    @api.get("/settings")
    async def settings() -> Settings:
        """Every setting and where its value comes from; no secret."""
        file, keys = sources.settings()
        return Settings(file=file, settings=[Setting.model_validate(key) for key in keys])

    @api.get("/log")
    async def log(after: Annotated[int, Query(ge=0, description="Newer than this number")] = 0) -> Lines:
        """The last lines of the log, as far as they are kept in memory."""
        newest, found = sources.lines.newest, sources.lines.after(after)[-LINES_AT_ONCE:]
        return Lines(lines=[Line(number=number, line=_line(text)) for number, text in found], newest=newest)

    @api.get("/numbers")
    async def numbers(
        days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = 30,
        ahead_minutes: Annotated[
            int, Query(ge=-FARTHEST_MINUTES, le=FARTHEST_MINUTES, description="Your clock, ahead of UTC")
        ] = 0,
    ) -> Counted:
        """Pictures and seconds by day, and failures by kind."""
        ahead = timedelta(minutes=ahead_minutes)
        today = (datetime.now(UTC) + ahead).replace(hour=0, minute=0, second=0, microsecond=0)
        with verdicts():
            found = await looking(sources.numbers, today - timedelta(days=days - 1) - ahead, ahead)
        return Counted(days=[Day.model_validate(day) for day in found.days], failures=dict(found.failures))

    return api


def _line(text: str) -> dict[str, Any]:
    """A log line as an object; one that was too long to be kept whole is no JSON any more."""
    try:
        line: dict[str, Any] = json.loads(text)
    except ValueError:
        return {"event": text}
    return line
