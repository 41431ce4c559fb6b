"""How the four folders may lie to each other: side by side, never one inside another.

It looks at folders and never creates, changes or removes anything.  The comparison is by what the
kernel says a folder is, not only by its name, so that links, bind mounts and file systems that do not
tell upper from lower case cannot hide that `done` is the inbox under a second name.
"""

from __future__ import annotations

import os
from itertools import permutations
from pathlib import Path

from captiond.errors import CannotStart, ExitCode


def refuse_nested(inbox: Path, done: Path, failed: Path, state: Path, **others: Path) -> None:
    """Raise CannotStart if two of the folders are the same or one lies inside another.

    A daemon whose `done` lies in its inbox would caption its own results for ever.  `others`: libraries and
    where their sidecars go, by what a person calls them.
    """
    ours = {"inbox": inbox, "done": done, "failed": failed, "state": state}
    folders = {f"folders.{name}": path for name, path in ours.items()} | others
    chains = {name: _chain(path) for name, path in folders.items()}
    for inner, outer in permutations(folders, 2):
        if not chains[inner] & _itself(folders[outer]):
            continue
        if chains[outer] & _itself(folders[inner]):
            what = f"{inner} and {outer} are the same folder ({folders[inner]})"
        else:
            what = f"{inner} ({folders[inner]}) lies inside {outer} ({folders[outer]})"
        advice = "Give inbox, done, failed and state a folder each, side by side."
        if {inner, outer} & others.keys():
            advice = "Libraries, their sidecars and the four folders lie side by side."
        raise CannotStart(what, exit_code=ExitCode.WRONG_SETTINGS, advice=advice)


def _itself(path: Path) -> set[object]:
    """The names a folder is known by: its resolved path and, if it exists, its device and inode."""
    names: set[object] = {_resolved(path)}
    try:
        stat = path.stat()
    except OSError:
        return names  # not there, or not for us to see: its name has to do
    return names | {(stat.st_dev, stat.st_ino)}


def _chain(path: Path) -> set[object]:
    """The names of a folder and of everything it lies in."""
    resolved = _resolved(path)
    names: set[object] = set()
    for folder in (path, resolved, *resolved.parents):
        names |= _itself(folder)
    return names


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links; RuntimeError before Python 3.13
        return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() is what just failed
