"""What Google Takeout's JSON says about a picture: its `description`.  Read only.

The file travels along unchanged.  If it is no sound JSON but mentions a description, that counts as words of
a person that cannot be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from .policy import Said

_LONGEST = 1 << 20  # bytes; such a file has a few hundred
_MENTIONED = re.compile(rb"\"description\"\s*:\s*(?!\"\s*\"|null)")


def in_takeout(content: bytes) -> Iterator[Said]:
    """Never raises."""
    try:
        told = json.loads(content) if len(content) <= _LONGEST else content
    except (ValueError, RecursionError):
        told = content
    if isinstance(told, bytes):
        if _MENTIONED.search(content.replace(b"\0", b"")):
            yield Said("takeout", None)
    elif isinstance(told, dict):
        description = told.get("description")
        if isinstance(description, str):
            yield Said("takeout", description)
        elif description:
            yield Said("takeout", None)
