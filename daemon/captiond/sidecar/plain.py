"""Values that JSON can hold, and their one way to bytes.  Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def as_json(answer: Mapping[str, Any]) -> bytes:
    """UTF-8, indented, a newline at the end."""
    return (json.dumps(plain(answer), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def plain(value: Any) -> Any:
    """`value` without what JSON cannot hold: lone surrogates become U+FFFD, NaN and infinities null."""
    if isinstance(value, str):
        if value.isascii():
            return value
        # UTF-16 joins the two halves of a character again that a server sent apart.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value
