"""The inbox on the page: which files lie in it and why, and files that are put into it.

A file comes as the body of a PUT whose path says its name.  `delivery.intake` writes it aside while it comes
in, and it appears in the inbox whole.  Nothing there is ever replaced or removed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from pydantic import BaseModel, Field

from captiond.delivery.intake import Incoming, Intake
from captiond.status import Standing, Unserved, Where
from captiond.web.lanes import Lane
from captiond.web.verdicts import verdicts

MOST_LISTED = 500
PIECE_BYTES = 1 << 18
LATEST_SECONDS = 32_503_680_000  # the year 3000, which every file system can store
WRITING_TOGETHER = 4

# Given a greatest number: files of the inbox, each with its path, where it stands, and a sentence about it.
Listing = Callable[[int], Sequence[tuple[str, Standing, str]]]


class Lying(BaseModel):
    """A file in the inbox."""

    path: str
    state: Where = Field(description="A stable word")
    sentence: str = Field(description="As `captiond explain` says it")
    wait_seconds: float | None = Field(description="Until something becomes of it by itself")


class Kind(BaseModel):
    """Pictures of one kind that stay in the inbox."""

    kind: str
    files: int
    advice: str = Field(description="What would serve them")


class Inbox(BaseModel):
    files: list[Lying] = Field(description="First what somebody has to look after; ignored files last")
    is_all: bool = Field(description=f"False where there are more than {MOST_LISTED}")
    unserved: list[Kind] = Field(description="Pictures that stay there, by kind; among `files`, too")


class Taken(BaseModel):
    inbox: str = Field(description="Its path in the inbox, which is another where the name was taken")


async def _is_a_file(request: Request) -> None:
    """Require a type that no form of another site can send; a script has to ask first, which is refused."""
    if request.headers.get("content-type", "").strip().lower() != "application/octet-stream":
        raise HTTPException(415, "send it as Content-Type: application/octet-stream")


def routes(
    intake: Intake,
    listing: Listing,
    max_file_bytes: Callable[[], int],
    unserved: Callable[[], Sequence[Unserved]] = tuple,
) -> APIRouter:
    """The routes beneath `/api/inbox`."""
    api = APIRouter(prefix="/api/inbox", tags=["inbox"])
    looking, writing = Lane(2), Lane(WRITING_TOGETHER)

    @api.get("")
    async def inbox() -> Inbox:
        """What lies in the inbox, and why it is still there."""
        with verdicts():
            found = await looking(listing, MOST_LISTED + 1)
        files = [
            Lying(path=path, state=standing.state, sentence=sentence, wait_seconds=standing.wait_seconds)
            for path, standing, sentence in found[:MOST_LISTED]
        ]
        kinds = [Kind(kind=one.kind, files=one.files, advice=one.advice) for one in unserved()]
        return Inbox(files=files, is_all=len(found) <= MOST_LISTED, unserved=kinds)

    @api.put("/{path:path}", dependencies=[Depends(_is_a_file)], responses=_RESPONSES, status_code=201)
    async def put(
        request: Request,
        path: Annotated[str, Path(description="Its name in the inbox, with folders; they are made")],
        modified: Annotated[
            float | None, Query(ge=0, le=LATEST_SECONDS, description="When it was changed last: seconds")
        ] = None,
    ) -> Taken:
        """Put a file into the inbox; the body is its content.  It never takes the place of another."""
        with verdicts():
            _refuse_controls(path)
            incoming = await writing(intake.begin)
            try:
                await _receive(request, incoming, writing, max_file_bytes())
                return Taken(inbox=await writing(incoming.finish, path, modified))
            finally:
                await writing(incoming.close)

    return api


async def _receive(request: Request, incoming: Incoming, writing: Lane, most: int) -> None:
    piece = bytearray()
    async for data in request.stream():
        piece += data
        if incoming.size + len(piece) > most:
            raise HTTPException(413, f"the file is larger than {most:,} bytes", {"Connection": "close"})
        if len(piece) >= PIECE_BYTES:
            await writing(incoming.write, bytes(piece))
            piece.clear()
    await writing(incoming.write, bytes(piece))
    if not incoming.size:
        raise HTTPException(422, "the file is empty")


def _refuse_controls(path: str) -> None:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        raise HTTPException(422, "a name has no control characters")


_RESPONSES: dict[int | str, dict[str, str]] = {
    413: {"description": "It is larger than a picture may be"},
    415: {"description": "It was not sent as application/octet-stream"},
    503: {"description": "The inbox cannot be written to, or too much is being uploaded just now"},
}
