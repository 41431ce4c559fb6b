"""A camera's RAW that arrives after the other picture of its shot was delivered: that is found by name."""

from __future__ import annotations

import os

from captiond import formats, sidecar
from captiond.delivery.files import NO_FILE
from captiond.delivery.folders import Folder
from captiond.formats import raw
from captiond.names import shown
from captiond.records import Notice
from captiond.support.openat import split


def notices_of(done: Folder, path: str) -> tuple[Notice, ...]:
    """The notice for the picture `path`, if it is such a RAW.  Raises: OSError."""
    folder_name, name = split(path)
    if not raw.has_ending(name):
        return ()
    stem = name.rpartition(".")[0]
    others = (f"{stem}.{case}" for end in formats.endings_that_take(name) for case in (end, end.upper()))
    try:
        with done.folder(folder_name) as folder:
            found = next((one for one in others if _is_delivered(folder, one)), None)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return ()
    if found is None:
        return ()
    lies = f"{folder_name}/{found}" if folder_name else found
    return (Notice("late_raw", f"the picture of its shot was delivered before it, as {shown(lies)}"),)


def _is_delivered(folder: int, name: str) -> bool:
    return os.access(name + sidecar.CAPTION_SUFFIX, os.F_OK, dir_fd=folder, follow_symlinks=False)
