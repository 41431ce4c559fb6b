"""What goes wrong with a chat-completions server, as a sentence and what to do about it.  Pure."""

from __future__ import annotations

import re

import httpx

from captiond.captioners.chat import complaint
from captiond.errors import Rejected, Surroundings, TryLater, Verdict

ABOUT_THE_PICTURE = frozenset({400, 413, 415, 422})
# How vLLM, SGLang, llama.cpp, Ollama and OpenAI say that a prompt does not fit.
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|maximum (context|model) length|max_model_len|n_ctx|exceed_context"
    r"|exceed\w* .{0,40}(context|token)|too (long|many tokens)|longer than the (maximum|model)",
    re.IGNORECASE,
)


class ModelNotThere(Surroundings):
    """The server does not know the model, or has no chat completions at this address."""


class Fails(Surroundings):
    """The server reports a fault of its own."""


class TooLong(Rejected):
    """The picture and the words together are more than the server's model takes."""


def is_too_long(said: str) -> bool:
    return _TOO_LONG.search(said) is not None


def of_status(
    status: int, headers: httpx.Headers, body: bytes, *, server: str, model_id: str, secret: str | None
) -> Verdict:
    """What a status other than 200 means: something about the picture, or about everything."""
    said, code = complaint(body)
    if secret:  # some servers quote the key that they refuse
        said = said.replace(secret, "***")
    told = f"the server {server} answers {status}: {said}"
    if status in ABOUT_THE_PICTURE and code != "model_not_found":
        if is_too_long(said):
            return TooLong("refused_by_server", told, stage="caption", advice=TOO_LONG_ADVICE)
        return Rejected("refused_by_server", told, stage="caption", advice="Read what the server says.")
    if status in (400, 404):
        return ModelNotThere(
            told, advice=f"Does the server have {model_id} (model.id), and is model.base_url right?"
        )
    if 300 <= status < 400:
        return _redirected(status, headers.get("location"), told)
    kind = Fails if status in _FAULTS else Surroundings
    return kind(told, advice=_ADVICE.get(status, _LOG))


_FAULTS = frozenset({500, 501})
_LOG = "Look at the server's log; work goes on by itself."
TOO_LONG_ADVICE = (
    "Start the server with a larger context (vLLM: --max-model-len, llama.cpp: -c, Ollama: num_ctx), or "
    "lower model.max_side."
)
_KEY = "Set model.api_key_file or CAPTIOND_MODEL__API_KEY to a key that the server accepts."
_ADVICE = {
    401: _KEY,
    403: _KEY,
    407: "Put the proxy's name and password into model.proxy: http://name:password@proxy:3128.",
    429: "Lower model.max_concurrency; work goes on by itself.",
}


def _redirected(status: int, location: str | None, told: str) -> Verdict:
    if not location:
        return Surroundings(told, advice="Set model.base_url to the address that it redirects to.")
    target = location.removesuffix("/chat/completions")
    return Surroundings(
        f"{told}, and redirects to {location[:200]}",
        advice=f"Set model.base_url to {target[:200]}: a picture is sent nowhere else by itself.",
    )


def of_transport(error: httpx.TransportError, *, server: str, proxy: str | None) -> Surroundings:
    """Why no answer came at all."""
    said = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return Surroundings(
            f"the certificate of the server {server} is not trusted: {_reason(said)}",
            advice="Set model.ca_file to the certificate (PEM) of the authority that signed it; a "
            "self-signed one is its own authority.",
        )
    if "WRONG_VERSION_NUMBER" in said or "RECORD_LAYER_FAILURE" in said or "record layer" in said:
        return Surroundings(
            f"the server {server} does not speak TLS: {said}", advice="Begin model.base_url with http://."
        )
    if proxy and isinstance(error, httpx.ProxyError | httpx.ConnectError | httpx.ConnectTimeout):
        return Surroundings(
            f"the proxy {proxy}, through which the server {server} is asked, does not serve: {said}",
            advice="Look at the proxy, or correct model.proxy (else HTTP_PROXY, HTTPS_PROXY, ALL_PROXY); a "
            "server named in NO_PROXY is asked directly.",
        )
    return Surroundings(
        f"the server {server} cannot be reached: {said}",
        advice="Start the server, or correct model.base_url; work goes on by itself.",
    )


def _reason(said: str) -> str:
    """The reason in OpenSSL's [SSL: ...] certificate verify failed: self-signed certificate (_ssl.c:1006)"""
    return said.partition("verify failed: ")[2].partition(" (_ssl")[0] or said


def of_stream(server: str) -> Surroundings:
    return Surroundings(
        f"the server {server} answers in pieces (a stream of events), though asked for one answer",
        advice="Turn its streaming off, or put a server before it that heeds `stream: false`.",
    )


def of_error_inside(body: bytes, server: str) -> Verdict:
    said, _ = complaint(body)
    told = f"the server {server} answers 200 with an error inside: {said}"
    if is_too_long(said):
        return TooLong("refused_by_server", told, stage="caption", advice=TOO_LONG_ADVICE)
    return Fails(told, advice=_LOG)


def of_every_picture(verdict: Rejected | TryLater) -> Surroundings:
    """The verdict on the server if a plain picture met the same as this one."""
    if isinstance(verdict, Rejected):
        return Surroundings(
            f"the server takes no pictures any more: {verdict.message}",
            advice="Look at how the server was started; work goes on by itself.",
        )
    return Surroundings(
        f"{verdict.message}, and so it does to a plain test picture",
        advice="Does model.base_url lead to the server itself, and is there no proxy between that answers in "
        "its place?  Work goes on by itself.",
    )
