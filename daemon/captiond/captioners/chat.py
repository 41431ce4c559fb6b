"""What a chat-completions server answered: the text, why it ended, a complaint, how long to wait.  Pure."""

from __future__ import annotations

import json
from typing import Any

from captiond.errors import Rejected, TryLater
from captiond.names import well_formed
from captiond.support.http import asked_to_wait

LONGEST_RETRY_AFTER_SECONDS = 30.0


def read(body: bytes, url: str) -> tuple[str, str, dict[str, Any]]:
    """Text, finish reason and token counts out of a chat completion."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        message, finish_reason = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
        usage = answer.get("usage") or {}
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
    return well_formed(content or ""), str(finish_reason), usage


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
    """Seconds to wait; None where the server asks for none, or for too many."""
    seconds = asked_to_wait(value)
    return seconds if seconds is not None and seconds <= LONGEST_RETRY_AFTER_SECONDS else None


def count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
