"""The truth about the inbox: what lies in it now.

Reads names and lstat beneath an opened root, one folder or some names at a time, and never follows a link.
Opens no file.  Folders and files may vanish or change their kind while they are looked at.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from captiond.inbox.ignore import Ignore
from captiond.names import OWN_FOLDER
from captiond.support import openat

# The errors for a folder that went away, or was replaced by a file or a link.
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(slots=True)
class Listing:
    """What one folder holds, by name; `folders` are paths beneath the root, all else names in the folder."""

    folder: str
    folders: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)  # by their names; `look_at` tells what they are
    ignored: set[str] = field(default_factory=set)
    is_closed: bool = False  # whether we may not look into it


def list_folder(root: int, folder: str, ignore: Ignore) -> Listing | None:
    """What `folder` holds, or None if there is no such folder."""
    listing = Listing(folder)
    try:
        descriptor = _open(root, folder)
    except PermissionError:
        if not folder:
            raise
        listing.is_closed = True
        return listing
    if descriptor is None:
        return None
    prefix = f"{folder}/" if folder else ""
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                name = entry.name
                path = prefix + name
                if entry.is_dir(follow_symlinks=False):
                    if ignore.folder(name, path) is None:
                        listing.folders.append(path)
                    elif name != OWN_FOLDER:
                        listing.ignored.add(name)
                elif not entry.is_file(follow_symlinks=False) or ignore.skips_file(name, path):
                    listing.ignored.add(name)
                else:
                    listing.images.append(name)
    except OSError as error:
        if error.errno not in _VANISHED:
            raise
    finally:
        os.close(descriptor)
    return listing


def look_at(root: int, folder: str, names: Iterable[str]) -> list[tuple[str, os.stat_result | None]]:
    """lstat of some names in one folder; None for what is not there."""
    descriptor = _open(root, folder)
    if descriptor is None:
        return [(name, None) for name in names]
    try:
        return [(name, _lstat(descriptor, name)) for name in names]
    finally:
        os.close(descriptor)


def _open(root: int, folder: str) -> int | None:
    try:
        return openat.open_folder(root, folder)
    except OSError as error:
        # The root itself was opened a moment ago; trouble with it must not look like an empty inbox.
        if folder and error.errno in _VANISHED:
            return None
        raise


def _lstat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in _VANISHED:
            return None
        raise


def count(root: int, ignore: Ignore) -> tuple[int, int]:
    """How many images lie beneath the root, and how many names are ignored."""
    pending, images, ignored = [""], 0, 0
    while pending:
        listing = list_folder(root, pending.pop(), ignore)
        if listing is not None:
            pending += listing.folders
            images += len(listing.images)
            ignored += len(listing.ignored)
    return images, ignored
