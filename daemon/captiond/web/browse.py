"""The page at `/` and the API that it lives on: what was captioned, what failed and why, and correcting it.

The page is three files that are the same for everybody; what it shows it fetches, with the token where one is
asked for.  Whatever changes something must be sent as JSON: no form of another site can do that, and a script
of another site has to ask first, which is refused (see `access`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from captiond.errors import NotThere, Rejected, Surroundings, TryLater
from captiond.web.gallery import NoCaption
from captiond.web.lanes import Lane

PAGE_LENGTH = 24
LONGEST_PAGE = 100
LOOKING_TOGETHER = 16
SHOWING_TOGETHER = 8  # thumbnails; most are decoded just now
ACTING_TOGETHER = 4
LARGEST_ID = (1 << 63) - 1

Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Of a line of the history")]


class Shown(Protocol):
    """A thumbnail."""

    @property
    def etag(self) -> str: ...

    @property
    def jpeg(self) -> bytes | None: ...


class Gallery(Protocol):
    """What the page is about."""

    def status(self) -> Mapping[str, Any]: ...

    def page(
        self, *, folder: str | None, search: str, before: int | None, limit: int
    ) -> Sequence[object]: ...

    def thumbnail(self, id: int, known_etag: str | None) -> Shown: ...

    def revise(self, id: int, caption: str, was: str | None) -> object: ...

    def retry(self, id: int) -> str: ...

    def retry_all(self) -> int: ...


class _FromRecord(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Place(_FromRecord):
    """What became of one place in the image that a caption could have been written to."""

    target: str
    action: str
    reason: str | None


class Picture(_FromRecord):
    """What became of one picture."""

    id: int
    folder: Literal["done", "failed"]
    path: str = Field(description="Beneath that folder")
    is_there: bool | None = Field(
        description="False where somebody has taken it away since; null where nobody can look just now"
    )
    at: datetime
    caption: str | None
    edited_at: datetime | None = Field(description="When a person changed the caption")
    model_caption: str | None = Field(description="What the model had said, where a person changed it")
    model: str | None
    written: list[Place]
    format: str | None
    width: int | None
    height: int | None
    kind: str | None = Field(description="Why it failed: a stable word")
    message: str | None
    advice: str | None
    attempts: int | None


class Pictures(BaseModel):
    pictures: list[Picture]
    older: int | None = Field(description="The `before` of the next page; null where nothing is older")


class NewCaption(BaseModel):
    caption: str
    was: str | None = Field(None, description="Refused with 409 where the caption is not this any more")


class Returned(BaseModel):
    inbox: str = Field(description="Its path in the inbox")


class ReturnedAll(BaseModel):
    returned: int = Field(description="How many pictures went back into the inbox")


async def _is_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "send it as Content-Type: application/json")


def page_files() -> StaticFiles:
    return StaticFiles(directory=str(files("captiond.web") / "page"))


def routes(gallery: Gallery) -> APIRouter:
    """Everything beneath `/api`."""
    api = APIRouter(prefix="/api", tags=["pictures"])
    changing = [Depends(_is_json)]
    looking, showing, acting = Lane(LOOKING_TOGETHER), Lane(SHOWING_TOGETHER), Lane(ACTING_TOGETHER)

    @api.get("/status")
    async def status() -> dict[str, Any]:
        """As `captiond status --json`; with `totals`, of the history, and `inbox`, where pictures go."""
        with _verdicts():
            return dict(await looking(gallery.status))

    @api.get("/pictures")
    async def pictures(
        folder: Literal["done", "failed"] | None = None,
        search: Annotated[str, Query(max_length=200, description="Words of caption or path")] = "",
        before: Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="Older than this id")] = None,
        limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = PAGE_LENGTH,
    ) -> Pictures:
        """What became of the pictures, newest first."""
        with _verdicts():
            found = await looking(gallery.page, folder=folder, search=search, before=before, limit=limit + 1)
        shown = [Picture.model_validate(picture) for picture in found[:limit]]
        return Pictures(pictures=shown, older=shown[-1].id if len(found) > limit else None)

    @api.get("/pictures/{id}/thumbnail", response_class=Response, responses=_THUMBNAIL_RESPONSES)
    async def thumbnail(id: Id, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """A small upright JPEG."""
        with _verdicts():
            found = await showing(gallery.thumbnail, id, if_none_match)
        headers = {"ETag": found.etag, "Cache-Control": "private, no-cache"}
        if found.jpeg is None:
            return Response(status_code=304, headers=headers)
        return Response(found.jpeg, media_type="image/jpeg", headers=headers)

    @api.put("/pictures/{id}/caption", dependencies=changing, responses=_CHANGE_RESPONSES)
    async def revise(id: Id, new: NewCaption) -> Picture:
        """A person's caption in the place of the one there: in the sidecar and in the image."""
        with _verdicts():
            return Picture.model_validate(await acting(gallery.revise, id, new.caption, new.was))

    @api.post("/pictures/{id}/retry", dependencies=changing, responses=_CHANGE_RESPONSES)
    async def retry(id: Id) -> Returned:
        """Put a failed picture back into the inbox."""
        with _verdicts():
            return Returned(inbox=await acting(gallery.retry, id))

    @api.post("/retry", dependencies=changing)
    async def retry_all() -> ReturnedAll:
        """Put everything that failed back into the inbox."""
        with _verdicts():
            return ReturnedAll(returned=await acting(gallery.retry_all))

    return api


async def page() -> HTMLResponse:
    return HTMLResponse((files("captiond.web") / "page" / "index.html").read_text(encoding="utf-8"))


@contextmanager
def _verdicts() -> Iterator[None]:
    """What each verdict is in HTTP."""
    try:
        yield
    except NotThere as gone:
        raise HTTPException(404, gone.message) from gone
    except NoCaption as words:
        raise HTTPException(422, words.message) from words
    except Rejected as rejected:
        raise HTTPException(415, rejected.message) from rejected
    except TryLater as later:
        raise HTTPException(409, f"{later.message}.  {later.advice or ''}".rstrip(". ") + ".") from later
    except Surroundings as trouble:
        raise HTTPException(503, trouble.message, {"Retry-After": "10"}) from trouble
    except MemoryError as error:
        raise HTTPException(503, "there is not enough memory for it", {"Retry-After": "10"}) from error


_THUMBNAIL_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}},
    304: {"description": "It is the one that If-None-Match names"},
    404: {"description": "The picture has been taken away"},
    415: {"description": "It cannot be decoded, and why"},
}
_CHANGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"description": "The picture has been taken away"},
    409: {"description": "Somebody has changed the picture or its caption, or works on it just now"},
    415: {"description": "It was not sent as JSON"},
    503: {"description": "The folders cannot be written to just now, and why"},
}
