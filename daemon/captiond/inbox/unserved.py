"""Finds pictures in the inbox that are ignored by their names or for want of an extra, to report them.

It goes by content.  If a file is ignored only because its name is no image's, and travels with no picture, it
is opened once and its first bytes are looked at.  Changes nothing, follows no link.
"""

from __future__ import annotations

import math
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from captiond import formats
from captiond.formats import extras, raw
from captiond.inbox.ignore import NOT_AN_IMAGE, Ignore
from captiond.inbox.scan import list_folder
from captiond.sidecar.companions import pictures_of
from captiond.status import Unserved
from captiond.support import openat

_LOOKED_AT_ONCE = 200  # a look costs a quarter of a millisecond on a slow disk
_FRESH_SECONDS = 3.0  # a file changed less than this ago may still be being written
_ROUND_SECONDS = 10.0  # with nothing new: a round of 10,000 files takes 10 ms
_AGAIN_SECONDS = 600.0  # then it is looked at again, since it may have changed
_TRAVELS_SECONDS = 30.0  # a file that travels with a picture stays here if that cannot be delivered
_MOST_BENEATH = 50_000  # ignored files that one call of `beneath` looks at
# Endings of files that lie in inboxes by the thousand and are no pictures: not opened.
_NO_PICTURES = frozenset({
    "aae", "avi", "csv", "db", "doc", "docx", "gz", "htm", "html", "json", "m4v", "md", "mov", "mp3", "mp4",
    "mpg", "pdf", "txt", "wav", "xml", "xmp", "zip",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lying:
    """A picture that is ignored."""

    format: formats.Format
    detail: str | None = None  # which RAW it is

    @property
    def advice(self) -> str:
        """What to do so that it is served."""
        one = self.format
        if not formats.is_served(one):
            return _by_extra(one)
        return f"give it an ending of a {one.shown}: .{one.endings[0]}"

    @property
    def sentence(self) -> str:
        """What stands behind "It is" in a sentence about the file."""
        one = self.format
        exactly = f" ({self.detail})" if self.detail not in (None, one.shown) else ""
        if not formats.is_served(one):
            why = extras.why_not(one.extra or "")
            return f"a picture that is not served here: {one.shown}{exactly}; {why} ({self.advice})"
        return f"a {one.shown}{exactly} by its content, and no picture by its name: {self.advice}"


def _by_extra(one: formats.Format) -> str:
    assert one.extra is not None
    return extras.advice(one.extra)


def look(root: int, path: str) -> Lying | None:
    """What the file `path` is, if it is a picture by its content.  Raises: OSError, if it cannot be read."""
    if not _may_be(path):
        return None
    descriptor = openat.open_file(root, path)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return of_content(path, lambda at, count: os.pread(descriptor, count, at))
    finally:
        os.close(descriptor)


def of_content(path: str, read: Callable[[int, int], bytes]) -> Lying | None:
    """What an opened file is, if it is a picture by its content; `read` gives its bytes."""
    found = formats.kind_of(read)
    if found is formats.RAW:
        return Lying(found, raw.kind_of(read))
    if raw.has_ending(path) and found is not None and found.name == "TIFF":
        return Lying(formats.RAW)  # this camera's RAW begins like any TIFF
    return Lying(found) if found is not None else None


class Strangers:
    """The unserved pictures found so far.  One thread calls `round`; any may call `counts` and `paths`."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now`: seconds as files tell them."""
        self._now = now
        self._looked: dict[str, tuple[float, Lying | None]] = {}  # by path: until when to believe what
        self._last = (-math.inf, 0)  # the last round: when, and of how many files
        self._is_done = False  # whether it left nothing to be looked at

    def is_due(self, files: int) -> bool:
        """Whether a round of so many ignored files may find something that the last one did not."""
        at, of = self._last
        return not self._is_done or files != of or abs(self._now() - at) >= _ROUND_SECONDS

    def round(
        self,
        root: int,
        paths: Iterable[str],
        ignore: Ignore,
        takes_text: Callable[[str], bool],
        *,
        is_last: bool = False,
    ) -> None:
        """Look at some of the ignored files `paths` that were not looked at yet, and forget what has gone.

        The last round looks at all of them, however new they are.
        """
        now, looked = self._now(), dict[str, tuple[float, Lying | None]]()
        left = math.inf if is_last else _LOOKED_AT_ONCE
        files, waiting = 0, 0
        for path in paths:
            files += 1
            known = self._looked.get(path)
            if known is not None and now < known[0]:
                looked[path] = known
            elif _may_be(path):
                waiting += 1
                if left > 0:
                    left -= 1
                    at = -math.inf if is_last else now
                    if (found := _found(root, path, ignore, at, text=takes_text(path))) is not None:
                        waiting -= 1
                        looked[path] = now + found[0], found[1]
        self._looked, self._last, self._is_done = looked, (now, files), not waiting

    def paths(self) -> list[str]:
        return sorted(path for path, (_, lying) in self._looked.items() if lying is not None)

    def counts(self) -> tuple[Unserved, ...]:
        """By kind, the most numerous first."""
        return counted(lying for _, lying in self._looked.values() if lying is not None)


def _may_be(path: str) -> bool:
    """Whether its ending allows that the file is a picture."""
    return path.rpartition("/")[2].rpartition(".")[2].lower() not in _NO_PICTURES


def _found(
    root: int, path: str, ignore: Ignore, now: float, *, text: bool
) -> tuple[float, Lying | None] | None:
    """For how many seconds to believe it, and what the file is; None if it is to be looked at again soon."""
    if ignore.rule(path) != NOT_AN_IMAGE or ignore.is_asked_for(path):
        return _AGAIN_SECONDS, None
    try:
        with openat.folder_of(root, path) as (folder, name):
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(there.st_mode):
                return _AGAIN_SECONDS, None
            if 0 <= now - there.st_mtime < _FRESH_SECONDS:
                return None
            if not there.st_size:  # something may come yet; it may also stay empty for ever
                return _ROUND_SECONDS, None
            if travels(folder, path, ignore, text=text):
                return _TRAVELS_SECONDS, None
        return _AGAIN_SECONDS, look(root, path)
    except OSError:
        return _AGAIN_SECONDS, None  # gone, or not to be read: `status` counts those elsewhere


def travels(folder: int, path: str, ignore: Ignore, *, text: bool) -> str | None:
    """The picture in its opened folder that takes the file along, if one does."""
    return next(
        (
            picture
            for picture in pictures_of(path, text=text)
            if os.access(picture.rpartition("/")[2], os.F_OK, dir_fd=folder) and ignore.rule(picture) is None
        ),
        None,
    )


def counted(found: Iterable[Lying]) -> tuple[Unserved, ...]:
    """How many there are of each kind, the most numerous first."""
    numbers = Counter(one.format for one in found)
    return tuple(Unserved(_kind(one), number, _advice(one)) for one, number in numbers.most_common())


def _kind(one: formats.Format) -> str:
    return one.shown if not formats.is_served(one) else f"{one.shown} under another name"


def _advice(one: formats.Format) -> str:
    return _by_extra(one) if not formats.is_served(one) else "give them the ending of their format"


def beneath(root: int, ignore: Ignore, takes_text: Callable[[str], bool]) -> tuple[Unserved, ...]:
    """The unserved pictures of an inbox without a running daemon, by kind."""
    pending, ignored = [""], list[str]()
    while pending and len(ignored) < _MOST_BENEATH:
        listing = list_folder(root, pending.pop(), ignore)
        if listing is not None:
            pending += listing.folders
            folder = f"{listing.folder}/" if listing.folder else ""
            ignored += [folder + name for name in listing.ignored]
    strangers = Strangers()
    strangers.round(root, ignored, ignore, takes_text, is_last=True)
    return strangers.counts()
