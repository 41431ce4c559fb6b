"""Described pictures by their sidecars, in done/ or a library, read beneath opened folders, without links."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
    """A record, and whether the picture that it tells of is there and unchanged."""

    path: str  # of the picture, beneath done/; in a library, the library's name and the path there
    record: Record
    state: State


@dataclass(frozen=True, slots=True)
class Beside:
    """Where the pictures lie whose records are walked through."""

    root: int | None = None  # the folder of the pictures; None: beside their records
    library: str | None = None  # the library's name, with which paths in it begin; None: done/


_IN_DONE = Beside()


def all_of(
    root: int, wants: Callable[[str, Record], bool] = lambda path, record: True, of: Beside = _IN_DONE
) -> Iterator[Found]:
    """Each picture that is wanted, folder by folder in their order; `root`: where the records lie.

    It passes over files that are no records of ours, and folders that may not be read.
    """
    for folder, folders, names, descriptor in os.fwalk(".", dir_fd=root, follow_symlinks=False):
        folders[:] = sorted(name for name in folders if name != OWN_FOLDER)
        beneath = os.path.normpath(folder)
        beneath = "" if beneath == "." else beneath
        parts = [part for part in (of.library, beneath) if part]
        for name in sorted(names):
            if name.endswith(CAPTION_SUFFIX):
                picture = name.removesuffix(CAPTION_SUFFIX)
                told = _told(descriptor, name)
                path = "/".join((*parts, picture))
                if told is not None and wants(path, told[0]):
                    record, seen = told
                    with _pictures(of, descriptor, beneath) as pictures:
                        yield Found(path, record, _state(pictures, picture, record, seen))


@contextmanager
def _pictures(of: Beside, records: int, folder: str) -> Iterator[int | None]:
    """The folder of the pictures whose records lie in `records`; None if it is gone."""
    if of.root is None:
        yield records
        return
    try:
        descriptor = openat.open_folder(of.root, folder)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _told(folder: int, name: str) -> tuple[Record, os.stat_result] | None:
    """The record of that name, and its file's status; None if it is none of ours."""
    try:
        data, seen = read(folder, name), status_of(folder, name)
        record = sidecar.decode(data or b"")
    except (OSError, ValueError):
        return None
    return None if seen is None or record.texts is None else (record, seen)


def _state(folder: int | None, name: str, record: Record, told: os.stat_result) -> State:
    """Reads the picture only if its time is not the dropped one, or it was touched after its record came."""
    there = status_of(folder, name) if folder is not None else None
    if folder is None or there is None or not stat.S_ISREG(there.st_mode):
        return "gone"
    is_as_dropped = sidecar.instant(there.st_mtime_ns) == record.source.modified_at
    # Two file systems, of a library and its mirror, may have two clocks.
    is_untouched = there.st_dev != told.st_dev or there.st_ctime_ns <= told.st_ctime_ns
    if is_as_dropped and is_untouched:
        return "there"
    return "there" if sha256_at(folder, name) == record.published_sha256 else "changed"


def opened(done: Path) -> AbstractContextManager[int]:
    """A descriptor of done/.  Raises: Surroundings, for any OSError, also one that comes while this lasts."""
    return openat.opened(done, f"looking at folders.done ({done})")
