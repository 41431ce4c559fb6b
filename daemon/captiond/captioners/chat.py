"""What a chat-completions server is asked, and what it answered: text, complaint, how long to wait.  Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from captiond.errors import Rejected, TryLater
from captiond.names import well_formed
from captiond.records import CaptionRequest
from captiond.support.http import asked_to_wait

LONGEST_RETRY_AFTER_SECONDS = 30.0


class Reply(NamedTuple):
    """What was read from a chat completion."""

    text: str
    finish_reason: str
    usage: dict[str, Any]
    model: str | None  # which model answered, in the server's own words
    has_thoughts: bool  # whether the reply has reasoning apart from the text


def body(picture: bytes, request: CaptionRequest, model_id: str, more: Mapping[str, Any]) -> bytes:
    """The request as JSON.  The picture, a JPEG, is put in as bytes: it is long, and has nothing to escape.

    It comes before the words, so that a server with a prefix cache (vLLM, SGLang) reads it once for all
    questions about it.
    """
    content = [{"type": "image_url", "image_url": {"url": ""}}, {"type": "text", "text": request.prompt}]
    payload = {
        "model": model_id,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        **({} if request.seed is None else {"seed": request.seed}),
        **({} if request.schema is None else _held_to(request.schema)),
        **more,
    }
    # This key can be found nowhere else: a quotation mark within a text has a backslash before it.
    before, key, after = json.dumps(payload).encode().partition(b'"url": "')
    return b"".join((before, key, b"data:image/jpeg;base64,", base64.b64encode(picture), after))


def _held_to(schema: str) -> dict[str, Any]:
    form = {"name": "texts", "strict": True, "schema": json.loads(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def is_stream(content_type: str, body: bytes) -> bool:
    return content_type.startswith("text/event-stream") or body.lstrip()[:6] in (b"data: ", b"event:")


def has_error_inside(body: bytes) -> bool:
    """Whether a reply with status 200 is an error: some gateways answer 200 whatever their server said."""
    try:
        answer = json.loads(body)
        return bool(answer.get("error")) and not answer.get("choices")
    except (ValueError, AttributeError, RecursionError):
        return False


def read(body: bytes, url: str) -> Reply:
    """Raises: TryLater, if the body is no chat completion; Rejected, if the model refuses."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        message, finish_reason = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
        usage, model = answer.get("usage") or {}, answer.get("model")
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        is_sound = isinstance(content, str | None) and isinstance(usage, dict)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise TryLater(
            f"the server {url} answered with something other than a chat completion",
            after_seconds=2.0,
            advice="Look at the server's log.",
        )
    if finish_reason == "content_filter" or (refusal and not content):
        raise Rejected(
            "refused_by_server",
            well_formed(f"the model refuses: {refusal or 'its content filter stepped in'}"),
            stage="caption",
        )
    named = well_formed(model)[:200] if isinstance(model, str) and model else None
    return Reply(well_formed(content or ""), str(finish_reason), usage, named, bool(thoughts))


def complaint(body: bytes) -> tuple[str, str | None]:
    """The message and the code in an error: {"error": {...}}, {"error": "..."}, or an older vLLM's {...}."""
    text = well_formed(body.decode("utf-8", "replace"))
    try:
        answer = json.loads(text)
        error = answer.get("error", answer)
        message, code = (
            (error.get("message"), error.get("code")) if isinstance(error, dict) else (error, None)
        )
    except (ValueError, AttributeError, RecursionError):
        message, code = None, None
    shown = " ".join(str(message or text).split())[:300]
    return well_formed(shown) or "(nothing more)", str(code) if code else None


def retry_after(value: str | None) -> float | None:
    """Seconds to wait; None if the server asks for none, or for too many."""
    seconds = asked_to_wait(value)
    return seconds if seconds is not None and seconds <= LONGEST_RETRY_AFTER_SECONDS else None


def count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
