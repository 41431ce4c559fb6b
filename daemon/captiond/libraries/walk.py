"""A walk through a library by names alone: its pictures, records that lost theirs, and traces of a crash.

Opens folders and no file, and never follows a link.  100,000 names take a tenth of a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from captiond.delivery.files import NO_FILE
from captiond.formats import raw
from captiond.inbox.ignore import Ignore
from captiond.inbox.scan import list_folder
from captiond.libraries.placing import trace_of
from captiond.sidecar import CAPTION_SUFFIX
from captiond.sidecar.companions import pictures_of
from captiond.support.openat import open_folder


@dataclass(slots=True)
class Walked:
    pictures: set[str] = field(default_factory=set)  # their paths
    travelling: set[str] = field(
        default_factory=set
    )  # of those, the RAW files beside a picture of their shot
    left_behind: list[str] = field(default_factory=list)  # paths of pictures that are gone, but have a record
    records: int = 0
    traces: set[tuple[str, str]] = field(default_factory=set)  # folders, and jobs of ours in them


def walked(library: int, target: int, ignore: Ignore) -> Walked:
    """What lies beneath the opened library, and beneath `target`, where its sidecars go.  Raises: OSError."""
    found = Walked()
    is_beside = library == target
    for folder, images, others in _folders(library, ignore):
        found.pictures.update(_joined(folder, name) for name in images)
        found.travelling.update(_joined(folder, name) for name in _travelling(images))
        if is_beside:
            _note(found, folder, others, {*images, *others})
    if not is_beside:
        for folder, images, others in _folders(target, ignore):
            _note(found, folder, [*images, *others], _names(library, folder))
    return found


def count(library: int, ignore: Ignore) -> tuple[int, int]:
    """How many pictures lie beneath the opened library, and how many bytes they have."""
    pictures = size = 0
    for folder, images, _ in _folders(library, ignore):
        descriptor = open_folder(library, folder)
        try:
            for name in images:
                with suppress(FileNotFoundError):
                    size += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
                    pictures += 1
        finally:
            os.close(descriptor)
    return pictures, size


def _folders(root: int, ignore: Ignore) -> Iterator[tuple[str, list[str], set[str]]]:
    """Each folder with the names of its pictures, and all others."""
    pending = [""]
    while pending:
        listing = list_folder(root, pending.pop(), ignore)
        if listing is not None:
            pending += listing.folders
            yield listing.folder, listing.images, listing.ignored


def _travelling(images: list[str]) -> Iterator[str]:
    there = set(images)
    for name in filter(raw.has_ending, images):
        if any(one in there for one in pictures_of(name, text=False)):
            yield name


def _note(found: Walked, folder: str, names: Iterable[str], pictures: set[str]) -> None:
    for name in names:
        if name.endswith(CAPTION_SUFFIX):
            found.records += 1
            picture = name.removesuffix(CAPTION_SUFFIX)
            if picture and picture not in pictures:
                found.left_behind.append(_joined(folder, picture))
        elif (job := trace_of(name)) is not None:
            found.traces.add((folder, job))


def _names(root: int, folder: str) -> set[str]:
    """All names in a folder; none if there is no such folder."""
    try:
        descriptor = open_folder(root, folder)
    except OSError as error:
        if error.errno in NO_FILE:
            return set()
        raise
    try:
        return set(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
