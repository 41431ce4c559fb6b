"""Makes names and checks them: delivered names, job ids, and names for people and sidecars.

Pure, and deterministic: the same path and the same bytes give the same names, so that a repeat after a
crash meets its own traces.  Names are `str` as `os.fsdecode` makes them; bytes that are not UTF-8 stand in
them as lone surrogates, and every length is counted in bytes, as the kernel counts.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

OWN_FOLDER = ".captiond"  # what the daemon keeps beside users' files, in each of its folders

LONGEST_NAME = 255  # bytes; the kernel takes no more
LONGEST_PATH = 32 * 1024  # bytes; more than the kernel takes at once, since paths are opened part by part
DEEPEST_PATH = 1024  # parts
LONGEST_EXTENSION = 32  # bytes; anything longer is a name with a dot in it
_SURROGATES = re.compile("[\ud800-\udfff]")
_REFUSED_SOMEWHERE = re.compile('[<>:"\\\\|?*\x00-\x1f\x7f\ud800-\udfff]')
_NOT_PLAIN = re.compile("[^A-Za-z0-9 ._~-]")
LONGEST_PLAIN_NAME = 64  # bytes


def job_id(path: str, identity: str) -> str:
    """A short hexadecimal name for the work on one file; `identity` tells its content, e.g. its sha256."""
    return hashlib.sha256(os.fsencode(path) + b"\0" + identity.encode()).hexdigest()[:24]


def candidates(name: str, sha256: str, *, suffix: str, longest: int = LONGEST_NAME) -> Iterator[str]:
    """The names under which `name` may be delivered, in order of preference, without end.

    `suffix` is the longest one that will be appended to it: name and suffix together fit into `longest`
    bytes; some file systems allow fewer than others.
    """
    if _length(name + suffix) <= longest:
        yield name
    stem, extension = _parted(name)
    for number in count(1):
        tail = f"~{sha256[:8]}{'' if number == 1 else f'-{number}'}{extension}"
        yield _cut(stem, longest - _length(tail + suffix)) + tail


def fitting(name: str, *, is_folder: bool = False) -> Iterator[str]:
    """Names for a file or a folder whose `name` may be refused: first `name`, last one that any system holds.

    The first digits of the name's checksum stand for the replaced characters, so that two names stay two.
    """
    yield name
    stem, extension = (name, "") if is_folder else _parted(name)
    mark = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    for refused, longest in ((_REFUSED_SOMEWHERE, LONGEST_NAME), (_NOT_PLAIN, LONGEST_PLAIN_NAME)):
        end = mark + refused.sub("_", extension).rstrip(". ")
        yield _cut(refused.sub("_", stem), longest - _length(end)).rstrip(". ") + end


def is_refused_somewhere(name: str) -> bool:
    """Whether NTFS, exFAT, a share of Windows, or a file system that requires UTF-8, refuses the name."""
    return _REFUSED_SOMEWHERE.search(name) is not None or name.endswith((".", " "))


def shown(name: str) -> str:
    """`name` for people: U+FFFD for what is not UTF-8, and no lone surrogate."""
    return os.fsencode(name).decode("utf-8", "replace")


def well_formed(text: str) -> str:
    """`text` with U+FFFD for lone surrogates, which come from file names or from other programs' JSON."""
    return _SURROGATES.sub("\ufffd", text)


def is_utf8(name: str) -> bool:
    try:
        os.fsencode(name).decode()
    except UnicodeDecodeError:
        return False
    return True


def name_keys(key: str, name: str) -> dict[str, str]:
    """A name in JSON, and its bytes beside it if it is not UTF-8."""
    if is_utf8(name):
        return {key: name}
    return {key: shown(name), f"{key}_hex": os.fsencode(name).hex()}


def checked_path(path: object) -> str:
    """A path that came out of a file or a socket, if it can only lead beneath the folder that it is for.

    Raises: ValueError, if it is absolute, empty, too long or too deep, has `..` or a NUL, or leads into our
    own folder.
    This and `checked_name` are the only checks of paths, names and suffixes from outside.  Their users:
    `sidecar.decode` (records beside pictures), `delivery.claims` (claims), `delivery.edit_steps` (those of
    edits), `delivery.edit` and `delivery.retry` (paths that the history or a command names, and claims of
    retries), `delivery.intake` (uploads), `delivery.folders` (whatever becomes a folder), `redo.lists` (which
    pictures are described again), `table` (which are corrected), `libraries.revising` (whose texts change).
    """
    if not isinstance(path, str):
        raise ValueError("not a path")
    parts = path.split("/")
    if _length(path) > LONGEST_PATH or len(parts) > DEEPEST_PATH:
        raise ValueError("a path that is too long")
    for part in parts:
        checked_name(part)
    return path


def checked_name(name: object) -> str:
    """The name of one file or folder, checked in the same way; a name with its suffix is checked whole.

    Raises: ValueError.
    """
    if not isinstance(name, str):
        raise ValueError("not a name")
    # On a file system that does not tell upper from lower case, `.Captiond` is our own folder too.
    is_kept = name in ("", ".", "..") or name.casefold() == OWN_FOLDER
    if is_kept or "/" in name or "\0" in name or _length(name) > LONGEST_NAME:
        raise ValueError(f"not a name of a file: {shown(name)[:100]!r}")
    return name


def utc_text(moment: datetime, exact_to: str = "seconds") -> str:
    """A time for JSON and people: 2026-11-23T10:00:00Z."""
    return moment.astimezone(UTC).isoformat(timespec=exact_to).replace("+00:00", "Z")


def _length(name: str) -> int:
    """In bytes.  Raises: UnicodeEncodeError, a ValueError, if it has a surrogate that no file name holds."""
    return len(os.fsencode(name))


def _parted(name: str) -> tuple[str, str]:
    stem, extension = os.path.splitext(name)  # noqa: PTH122 - a name with surrogates, not a path
    return (stem, extension) if _length(extension) <= LONGEST_EXTENSION else (name, "")


def _cut(stem: str, room: int) -> str:
    """The longest beginning of `stem` that fits into `room` bytes; a character is kept whole or left out."""
    while _length(stem) > room:
        stem = stem[:-1]
    return stem
