"""What things are called: delivered names, job ids, and names as a person or a sidecar may see them.

Pure, and deterministic: the same path and the same bytes give the same names, so that a repeat after a
crash meets its own traces.  Names are `str` as `os.fsdecode` makes them; bytes that are not UTF-8 stand in
them as lone surrogates, and every length is counted in bytes, as the kernel counts.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from itertools import count

LONGEST_NAME = 255  # bytes; the kernel takes no more
LONGEST_EXTENSION = 32  # bytes; what is longer is no extension but a name with a dot in it
_SURROGATES = re.compile("[\ud800-\udfff]")


def job_id(path: str, identity: str) -> str:
    """A short hexadecimal name for the work on one file; `identity` tells its content, e.g. its sha256."""
    return hashlib.sha256(os.fsencode(path) + b"\0" + identity.encode()).hexdigest()[:24]


def candidates(name: str, sha256: str, *, suffix: str, longest: int = LONGEST_NAME) -> Iterator[str]:
    """The names under which `name` may be delivered, in order of preference, without end.

    `suffix` is the longest one that will be appended to it: name and suffix fit together into `longest`
    bytes, which some file systems allow fewer of.
    """
    if _length(name + suffix) <= longest:
        yield name
    stem, extension = os.path.splitext(name)  # noqa: PTH122 - a name with surrogates, not a path
    if _length(extension) > LONGEST_EXTENSION:
        stem, extension = name, ""
    for number in count(1):
        tail = f"~{sha256[:8]}{'' if number == 1 else f'-{number}'}{extension}"
        yield _cut(stem, longest - _length(tail + suffix)) + tail


def shown(name: str) -> str:
    """`name` for people: U+FFFD for what is not UTF-8, and no lone surrogate."""
    return os.fsencode(name).decode("utf-8", "replace")


def well_formed(text: str) -> str:
    """`text` with U+FFFD for the half characters that a name or somebody's JSON brought into it."""
    return _SURROGATES.sub("\ufffd", text)


def is_utf8(name: str) -> bool:
    try:
        os.fsencode(name).decode()
    except UnicodeDecodeError:
        return False
    return True


def _length(name: str) -> int:
    return len(os.fsencode(name))


def _cut(stem: str, room: int) -> str:
    """The longest beginning of `stem` that fits into `room` bytes; a character is kept whole or left out."""
    while _length(stem) > room:
        stem = stem[:-1]
    return stem
