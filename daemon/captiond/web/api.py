"""The routes for programs, and the HTTP status of each verdict.

Swagger UI comes from the files of fastapi-offline: FastAPI's own page would fetch it from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import BinaryIO

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from captiond import __version__
from captiond.errors import CannotStart, Rejected, Surroundings, TryLater
from captiond.pipeline.ondemand import Answering
from captiond.sidecar.record import fields_of
from captiond.web import browse
from captiond.web.arrival import RETRY_AFTER_SECONDS
from captiond.web.browse import Gallery
from captiond.web.lanes import Lane
from captiond.web.metrics import Metrics

ASKING_TOGETHER = 40
HEALTH_TOGETHER = 2
MOST_FAULTS = 5  # that are told of one request

_DOCS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>captiond API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/files/swagger-ui.css">
<link rel="icon" href="docs/files/favicon.png"></head>
<body><div id="swagger-ui"></div>
<script src="docs/files/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""
# A file of its own, so that the content security policy need not allow scripts inside a page.
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", validatorUrl: null});\n'


class Answer(BaseModel):
    """What the model says about the picture."""

    caption: str
    fields: dict[str, str | list[str]] = {}  # the other texts that the settings want, as in the sidecar
    needs_look: bool = False


def application(
    answering: Answering,
    unwell: Callable[[], str | None],
    metrics: Metrics,
    gallery: Gallery,
    *more: APIRouter,
    max_upload_bytes: int,
    wants_token: bool,
    root_path: str = "",
) -> FastAPI:
    servers = [{"url": root_path}] if root_path else None
    app = FastAPI(title="captiond", version=__version__, docs_url=None, redoc_url=None, servers=servers)
    asking, health = Lane(ASKING_TOGETHER), Lane(HEALTH_TOGETHER)
    # The guard has already checked the token; this tells Swagger's page to ask for one.
    token = [Depends(HTTPBearer(auto_error=False))] if wants_token else []

    @app.post("/infer", dependencies=token, responses=_INFER_RESPONSES, response_model_exclude_defaults=True)
    async def infer(file: UploadFile) -> Answer:
        """Caption a picture, sent as the form field `file`.  Nothing of it is kept."""
        if (file.size or 0) > max_upload_bytes:
            raise HTTPException(413, f"the picture is larger than {max_upload_bytes:,} bytes")
        return await asking(_captioned, answering, file.file)

    @app.get("/healthz", dependencies=token, responses={503: {"description": "It does not work, and why"}})
    async def healthz(request: Request, response: Response) -> dict[str, str]:
        """200 where `captiond health` would say so, else 503; the reason for whoever bears the token."""
        reason = await health(unwell)
        if reason is None:
            return {"status": "ok"}
        response.status_code = 503
        return {"status": "unwell"} | ({"reason": reason} if request.state.known is not None else {})

    app.add_exception_handler(RequestValidationError, _what_is_wrong)
    app.add_exception_handler(Exception, _our_fault)
    metrics.add_to(app, token)
    app.include_router(browse.routes(gallery), dependencies=token)
    for router in more:
        app.include_router(router, dependencies=token)
    app.get("/", include_in_schema=False)(browse.page)
    app.get("/worker.js", include_in_schema=False)(browse.worker)
    app.mount("/page", browse.page_files())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_DOCS)

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    swagger = files("fastapi_offline") / "static"
    app.mount("/docs/files", StaticFiles(directory=str(swagger)))
    return app


async def _what_is_wrong(_: Request, error: Exception) -> JSONResponse:
    """The faults in words, without the input: FastAPI repeats it, and fails on NaN or half a surrogate."""
    assert isinstance(error, RequestValidationError)
    told = [f"{'.'.join(map(str, one['loc'][1:])) or one['loc'][0]}: {one['msg']}" for one in error.errors()]
    detail = "; ".join(told[:MOST_FAULTS]).encode(errors="replace").decode()
    return JSONResponse({"detail": detail}, 422)


async def _our_fault(_: Request, error: Exception) -> JSONResponse:
    """The answer to a bug of ours; the server logs the error when this has been sent."""
    return JSONResponse({"detail": "this is a fault of captiond itself; its log says more"}, 500)


def _captioned(answering: Answering, file: BinaryIO) -> Answer:
    try:
        said = answering.said(file.read())
        return Answer(caption=said.texts.caption, fields=fields_of(said.texts), needs_look=said.needs_look)
    except Rejected as rejected:
        # No picture at all, or a picture that cannot be described.
        status = 415 if rejected.kind == "unreadable" else 413 if rejected.kind == "too_many_pixels" else 422
        raise HTTPException(status, rejected.message) from rejected
    except (TryLater, Surroundings, CannotStart) as trouble:
        raise _not_now(trouble.message) from trouble
    except MemoryError as error:
        raise _not_now("there is not enough memory to decode it") from error


def _not_now(reason: str) -> HTTPException:
    return HTTPException(503, reason, {"Retry-After": str(RETRY_AFTER_SECONDS)})


_INFER_RESPONSES: dict[int | str, dict[str, str]] = {
    401: {"description": "The token is missing or wrong"},
    413: {"description": "The upload is too large"},
    415: {"description": "It is no picture, and why"},
    503: {"description": "The model is loading, or the work pauses; try again after Retry-After seconds"},
}
