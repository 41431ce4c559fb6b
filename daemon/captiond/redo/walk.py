"""The pictures of done/ by the sidecars beside them, read beneath one descriptor, without following links."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captiond import sidecar
from captiond.delivery.files import read, sha256_at, status_of
from captiond.names import OWN_FOLDER
from captiond.sidecar import CAPTION_SUFFIX, Record
from captiond.support import openat

State = Literal["there", "changed", "gone"]


@dataclass(frozen=True, slots=True)
class Found:
    """A record in done/, and whether the picture that it tells of is there and unchanged."""

    path: str  # of the picture, beneath done/
    record: Record
    state: State


def all_of(root: int, wants: Callable[[str, Record], bool] = lambda path, record: True) -> Iterator[Found]:
    """Each picture that is wanted, folder by folder in their order.

    It passes over files that are no records of ours, and folders that may not be read.
    """
    for folder, folders, names, descriptor in os.fwalk(".", dir_fd=root, follow_symlinks=False):
        folders[:] = sorted(name for name in folders if name != OWN_FOLDER)
        beneath = os.path.normpath(folder)
        for name in sorted(names):
            if name.endswith(CAPTION_SUFFIX):
                picture = name.removesuffix(CAPTION_SUFFIX)
                path = picture if beneath == "." else f"{beneath}/{picture}"
                found = _found(descriptor, path, picture, wants)
                if found is not None:
                    yield found


def _found(folder: int, path: str, name: str, wants: Callable[[str, Record], bool]) -> Found | None:
    try:
        data = read(folder, name + CAPTION_SUFFIX)
        told = status_of(folder, name + CAPTION_SUFFIX)
        record = sidecar.decode(data or b"")
    except (OSError, ValueError):
        return None
    if told is None or record.texts is None or not wants(path, record):
        return None
    state = _state(folder, name, record, told)
    return Found(path, record, state)


def _state(folder: int, name: str, record: Record, told: os.stat_result) -> State:
    """Reads the picture only if its time is not the dropped one, or it was touched after its record came."""
    there = status_of(folder, name)
    if there is None or not stat.S_ISREG(there.st_mode):
        return "gone"
    is_as_dropped = sidecar.instant(there.st_mtime_ns) == record.source.modified_at
    if is_as_dropped and there.st_ctime_ns <= told.st_ctime_ns:
        return "there"
    return "there" if sha256_at(folder, name) == record.published_sha256 else "changed"


def opened(done: Path) -> AbstractContextManager[int]:
    """A descriptor of done/.  Raises: Surroundings, for any OSError, also one that comes while this lasts."""
    return openat.opened(done, f"looking at folders.done ({done})")
