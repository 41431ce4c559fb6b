"""A wanted pause over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from captiond.delivery.pausing import LONGEST_SECONDS, LONGEST_WHY, worded
from captiond.status import Rest
from captiond.web.browse import is_json
from captiond.web.lanes import Lane
from captiond.web.verdicts import verdicts


class Resting(Protocol):
    def pause(self, seconds: float | None, why: str | None) -> Rest | None: ...

    def resume(self) -> Rest | None: ...


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)] | None = Field(
        default=None, description="How long; null: until somebody resumes"
    )
    why: str | None = Field(default=None, max_length=LONGEST_WHY, description="For whoever asks")


class Standstill(BaseModel):
    paused: bool = Field(description="Whether nothing new begins, since somebody wants so or by the schedule")
    reason: str | None = None
    until: datetime | None = Field(default=None, description="When it ends by itself, if it does")


def routes(resting: Resting, look: Callable[[], Rest | None]) -> APIRouter:
    """`look`: looks up what holds now, and makes it known to the whole daemon."""
    api, lane = APIRouter(prefix="/api", tags=["pause"], dependencies=[Depends(is_json)]), Lane(2)

    @api.post("/pause", responses=_RESPONSES)
    async def pause(wish: Wish | None = None) -> Standstill:
        """Let what is in work end and begin nothing new; the daemon stays healthy.  It survives a restart."""
        wanted = wish or Wish()
        try:
            why = worded(wanted.why)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        with verdicts():
            await lane(resting.pause, wanted.seconds, why)
            return _told(await lane(look))

    @api.post("/resume", responses=_RESPONSES)
    async def resume() -> Standstill:
        """End a pause; outside the hours of the schedule nothing begins all the same."""
        with verdicts():
            await lane(resting.resume)
            return _told(await lane(look))

    return api


def _told(rest: Rest | None) -> Standstill:
    if rest is None:
        return Standstill(paused=False)
    return Standstill(paused=True, reason=rest.reason, until=rest.until)


_RESPONSES: dict[int | str, dict[str, str]] = {
    415: {"description": "It was not sent as JSON"},
    503: {"description": "The state folder cannot be written to just now, and why"},
}
