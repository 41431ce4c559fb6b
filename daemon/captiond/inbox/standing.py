"""Where one file stands, by a look at it: for `explain`, and for lists of what lies in the inbox."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from captiond.inbox import unserved
from captiond.inbox.finding import Kind
from captiond.inbox.ignore import NOT_AN_IMAGE, Ignore
from captiond.inbox.look import look_into
from captiond.inbox.neighbours import calls_of
from captiond.inbox.shots import seen_with_its_shot
from captiond.records import Fingerprint
from captiond.status import Standing, Where
from captiond.support import openat


def found_by_looking(
    root: int,
    path: str,
    known: Standing | None,
    ignore: Ignore,
    companion: Callable[[], Standing | None],
    *,
    trust_leases: bool,
) -> Standing:
    """Where `path` beneath the opened `root` stands.

    Raises: OSError or ValueError, if it cannot be opened.

    `known`: what the book says of it.  `companion`: whether it travels with a picture, and where that stands.
    """
    with openat.folder_of(root, path) as (folder, name):
        if name in ("", ".", ".."):
            return Standing("not_there")  # no name of a file
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return Standing("ignored", _kind(found.st_mode))
        if rule := ignore.rule(path):
            may_travel = rule == NOT_AN_IMAGE and not ignore.is_asked_for(path)
            of_picture = companion() if may_travel else None
            is_alone = of_picture is None or of_picture.companion_of is None
            if may_travel and is_alone and (lying := unserved.look(root, path)):
                return Standing("unserved", lying.sentence)
            return of_picture or Standing("ignored", rule)
        if known is not None:
            return known
        beside = calls_of(folder, name)
    finding = look_into(root, path, Fingerprint.of(found), trust_leases=trust_leases, beside=beside)
    if seen_with_its_shot(root, path, finding, ignore).kind is Kind.TRAVELS:
        return companion() or Standing("companion")
    is_given_up = finding.kind is Kind.PARTIAL and finding.certain
    return Standing(_UNKNOWN[finding.kind], finding.reason or None, is_given_up=is_given_up)


# Where a file stands that is in no book, by what a look into it finds.
_UNKNOWN: dict[Kind, Where] = {
    Kind.WHOLE: "unlooked",
    Kind.PARTIAL: "partial",
    Kind.FAULTY: "faulty",
    Kind.UNFINISHED: "unfinished",
    Kind.HELD: "held",
    Kind.CHANGED: "changing",
    Kind.UNREADABLE: "unreadable",
    Kind.GONE: "not_there",
}


def _kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "not a regular file")


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a link, and links are never followed"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
