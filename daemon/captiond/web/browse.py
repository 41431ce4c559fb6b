"""The page at `/` and the API that it uses: what was captioned, what failed and why, and correcting it.

The page is a few files that are the same for all clients; it fetches what it shows, with the token if one is
needed.  A request that changes something must be sent as JSON: no form of another site can do that, and a
script of another site has to ask first, which is refused (see `access`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from captiond.checking.by_person import Changes
from captiond.history import Wanted
from captiond.web.access import Known
from captiond.web.lanes import Lane
from captiond.web.shapes import (
    LARGEST_ID,
    LONGEST_LIST,
    Approved,
    Choices,
    Closely,
    Filters,
    How,
    Ids,
    Listed,
    Me,
    NewCaption,
    NewTexts,
    NotApproved,
    Page,
    Picture,
    Pictures,
    Returned,
    ReturnedAll,
    Shot,
    Side,
    Some,
    Those,
)
from captiond.web.verdicts import verdicts

LOOKING_TOGETHER = 16
SHOWING_TOGETHER = 8  # thumbnails at once; most must be decoded first
ACTING_TOGETHER = 4

Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Of a line of the history")]
Sides = Annotated[Side, Query(description="Pixels of its long side, at most")]


class Shown(Protocol):
    """A thumbnail, as the route needs it."""

    @property
    def etag(self) -> str: ...

    @property
    def jpeg(self) -> bytes | None: ...


class Gallery(Protocol):
    """What the page is about."""

    def status(self) -> Mapping[str, Any]: ...

    def page(self, wanted: Wanted, limit: int) -> Sequence[object]: ...

    def ids(self, wanted: Wanted, limit: int) -> list[int]: ...

    def those(self, ids: Sequence[int]) -> Sequence[object]: ...

    def choices(self) -> Mapping[str, Sequence[str]]: ...

    def closely(self, id: int) -> tuple[object, Mapping[str, Any] | None]: ...

    def shot(self, id: int) -> object: ...

    def thumbnail(self, id: int, side: int, known_etag: str | None) -> Shown: ...

    def revise(self, id: int, changes: Changes, was: Changes, by: str | None = None) -> object: ...

    def accept(self, id: int, by: str | None = None) -> object: ...

    def approve(self, ids: Sequence[int], by: str | None = None) -> Sequence[object]: ...

    def undo(self, id: int) -> object: ...

    def redo(self, id: int, prompt: str | None) -> str: ...

    def retry(self, id: int) -> str: ...

    def retry_all(self, ids: Sequence[int] | None = None) -> int: ...


async def is_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "send it as Content-Type: application/json")


async def _name(request: Request) -> str | None:
    known: Known = request.state.known
    return known.name


Name = Annotated[str | None, Depends(_name)]  # the client's, if it has a token of its own


def page_files() -> StaticFiles:
    return StaticFiles(directory=str(files("captiond.web") / "page"))


def routes(gallery: Gallery) -> APIRouter:
    """Everything beneath `/api`."""
    api = APIRouter(prefix="/api", tags=["pictures"])
    looking = Lane(LOOKING_TOGETHER)
    _add_lists(api, gallery, looking)
    _add_single_looks(api, gallery, looking)
    _add_changes(api, gallery)
    _add_reviews(api, gallery)
    return api


def _add_lists(api: APIRouter, gallery: Gallery, looking: Lane) -> None:

    @api.get("/me")
    async def me(request: Request) -> Me:
        """Who asks, and what they may do."""
        known: Known = request.state.known
        return Me(name=known.name, role=known.role)

    @api.get("/status")
    async def status() -> dict[str, Any]:
        """As `captiond status --json`; with the history's `totals`, `failed_now`, and `inbox`, its path."""
        with verdicts():
            return dict(await looking(gallery.status))

    @api.get("/pictures")
    async def pictures(page: Annotated[Page, Query()]) -> Pictures:
        """What became of the pictures, newest first."""
        with verdicts():
            ids = page.numbers()
            if ids is not None:
                found = await looking(gallery.those, ids)
            else:
                found = await looking(gallery.page, page.wanted(), page.limit + 1)
        length = len(found) if ids is not None else page.limit
        shown = [Picture.model_validate(picture) for picture in found[:length]]
        return Pictures(pictures=shown, older=shown[-1].id if len(found) > length else None)

    @api.get("/ids")
    async def ids(filters: Annotated[Filters, Query()]) -> Ids:
        """The numbers of all pictures that are meant."""
        with verdicts():
            found = await looking(gallery.ids, filters.wanted(), LONGEST_LIST + 1)
        return Ids(ids=found[:LONGEST_LIST], is_all=len(found) <= LONGEST_LIST)

    @api.get("/choices")
    async def choices() -> Choices:
        """The folders, models and formats that there are."""
        with verdicts():
            return Choices.model_validate(await looking(gallery.choices))


def _add_single_looks(api: APIRouter, gallery: Gallery, looking: Lane) -> None:
    showing = Lane(SHOWING_TOGETHER)

    @api.get("/pictures/{id}", responses=_GONE)
    async def closely(id: Id) -> Closely:
        """All that is known of one picture."""
        with verdicts():
            picture, record = await looking(gallery.closely, id)
        return _closely(picture, record)

    @api.get("/pictures/{id}/shot", responses=_GONE)
    async def shot(id: Id) -> Shot:
        """When it was taken and by which camera; null where the picture itself does not say it."""
        with verdicts():
            return Shot.model_validate(await looking(gallery.shot, id))

    @api.get("/pictures/{id}/thumbnail", response_class=Response, responses=_THUMBNAIL_RESPONSES)
    async def thumbnail(
        id: Id, side: Sides = Side.SMALL, if_none_match: Annotated[str | None, Header()] = None
    ) -> Response:
        """A small upright JPEG."""
        with verdicts():
            found = await showing(gallery.thumbnail, id, int(side), if_none_match)
        headers = {"ETag": found.etag, "Cache-Control": "private, no-cache"}
        if found.jpeg is None:
            return Response(status_code=304, headers=headers)
        return Response(found.jpeg, media_type="image/jpeg", headers=headers)


def _closely(picture: object, record: Mapping[str, Any] | None) -> Closely:
    told = Picture.model_validate(picture).model_dump()
    return Closely(**told, record=dict(record) if record is not None else None)


def _add_changes(api: APIRouter, gallery: Gallery) -> None:
    changing, acting = [Depends(is_json)], Lane(ACTING_TOGETHER)

    @api.put("/pictures/{id}/caption", dependencies=changing, responses=_CHANGE_RESPONSES)
    async def revise(id: Id, new: NewCaption, by: Name) -> Picture:
        """A person's caption in the place of the one there: in the sidecar and in the image."""
        with verdicts():
            was: Changes = {"caption": new.was} if new.was is not None else {}
            changes: Changes = {"caption": new.caption}
            return Picture.model_validate(await acting(gallery.revise, id, changes, was, by))

    @api.patch("/pictures/{id}", dependencies=changing, responses=_CHANGE_RESPONSES)
    async def change(id: Id, new: NewTexts, by: Name) -> Closely:
        """A person's texts in the place of those there: in the sidecar, in the image, and beside it."""
        with verdicts():
            was = new.was.named() if new.was is not None else {}
            await acting(gallery.revise, id, new.named(), was, by)
            picture, record = await acting(gallery.closely, id)
        return _closely(picture, record)

    @api.post("/pictures/{id}/undo", dependencies=changing, responses=_CHANGE_RESPONSES)
    async def undo(id: Id) -> Closely:
        """The texts as they were before the last edit, import or redo."""
        with verdicts():
            await acting(gallery.undo, id)
            picture, record = await acting(gallery.closely, id)
        return _closely(picture, record)

    @api.post("/pictures/{id}/redo", dependencies=changing, status_code=202, responses=_CHANGE_RESPONSES)
    async def redo(id: Id, how: How | None = None) -> Listed:
        """Have the picture described again, whoever wrote its texts; behind new pictures."""
        with verdicts():
            return Listed(list=await acting(gallery.redo, id, how.prompt if how else None))

    @api.post("/pictures/{id}/retry", dependencies=changing, responses=_CHANGE_RESPONSES)
    async def retry(id: Id) -> Returned:
        """Put a failed picture back into the inbox."""
        with verdicts():
            return Returned(inbox=await acting(gallery.retry, id))

    @api.post("/retry", dependencies=changing)
    async def retry_all(some: Some | None = None) -> ReturnedAll:
        """Put everything that failed back into the inbox, or those of it that are named."""
        with verdicts():
            return ReturnedAll(returned=await acting(gallery.retry_all, some.ids if some else None))


def _add_reviews(api: APIRouter, gallery: Gallery) -> None:
    changing, acting = [Depends(is_json)], Lane(ACTING_TOGETHER)

    @api.post("/pictures/{id}/accept", dependencies=changing, responses=_CHANGE_RESPONSES)
    async def accept(id: Id, by: Name) -> Closely:
        """Its texts need no look any more, and stay; if they wait for approval, this is it."""
        with verdicts():
            await acting(gallery.accept, id, by)
            picture, record = await acting(gallery.closely, id)
        return _closely(picture, record)

    @api.post("/approve", dependencies=changing)
    async def approve(those: Those, by: Name) -> Approved:
        """Write the texts that wait for approval into these pictures."""
        ids = list(dict.fromkeys(those.ids))
        with verdicts():
            refused = await acting(gallery.approve, ids, by)
        told = [NotApproved.model_validate(one) for one in refused]
        return Approved(approved=len(ids) - len(told), refused=told)


async def page() -> HTMLResponse:
    return HTMLResponse((files("captiond.web") / "page" / "index.html").read_text(encoding="utf-8"))


async def worker() -> Response:
    """At the root, since it stands between the browser and what lies beneath its own place alone."""
    code = (files("captiond.web") / "page" / "worker.js").read_text(encoding="utf-8")
    return Response(code, media_type="text/javascript")


_GONE: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such picture any more"}}
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
