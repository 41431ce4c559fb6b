"""The HTTP door: a page to look at what was captioned, pictures asked about over HTTP, the daemon's health.

Off unless `http.listen` is set; only then are FastAPI and uvicorn imported.  It asks the captioner that
serves the inbox, so that pictures from both share its batches.  It closes no gate and ends no process: it
reports trouble to its caller.  It writes into the inbox by `delivery.intake` alone.

Inside: `access` (who is let in: pure), `arrival` (how much may come in and how long it may take),
`connection` (each connection's time), `guard` (all that, before the application sees a request), `lanes`
(threads for each kind of question), `api` (the routes for programs), `browse` and `inbox` (the routes for the
page) with `shapes` and `verdicts`, `metrics` (what Prometheus reads), `server` (the socket and its thread).
`captiond.pipeline.ondemand` makes the captions, `captiond.web.gallery` knows the pictures.

Accepted risks.  Traffic is not encrypted: put a proxy with TLS before any door that is not on loopback.  If a
door on loopback has no token, any user of this machine may ask it.  Guessing a token is slowed down and not
counted; even at the least length it is hopeless.
"""

from captiond.web.server import Door

__all__ = ["Door"]
