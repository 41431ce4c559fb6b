"""The HTTP door: a page to look at what was captioned, pictures asked about over HTTP, the daemon's health.

Off unless `http.listen` is set; only then are FastAPI and uvicorn imported.  It asks the captioner that the
inbox is served by, so that pictures from both share its batches.  It opens no file of the four folders
itself, closes no gate and ends no process: what it meets it tells its caller.

Inside: `access` (who is let in: pure), `guard` (that, and the size of uploads, before the application sees a
request), `api` (the routes for programs), `browse` (the page and what it lives on), `metrics` (what
Prometheus reads), `server` (the socket and its thread).  `captiond.pipeline.ondemand` makes the captions,
`captiond.web.gallery` knows the pictures.

Accepted risks.  Traffic is not encrypted: put a proxy with TLS before any door that is not loopback's.
Anybody on this machine may ask a door on loopback that has no token.  Guessing a token is slowed down and not
counted; at its least length that is hopeless.
"""

from captiond.web.server import Door

__all__ = ["Door"]
