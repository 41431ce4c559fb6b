"""With which picture a file goes: a camera's RAW with the other picture of its shot, others by their names.

Looks at names beside a file, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from captiond.formats import raw
from captiond.inbox.finding import Finding, Kind
from captiond.inbox.ignore import Ignore
from captiond.inbox.unserved import travels
from captiond.sidecar.companions import JSON, Names, pictures_among
from captiond.support import openat

_MAY_COME = "a JPEG of the same shot may still come"
_LOOKED_INTO = {Kind.WHOLE, Kind.PARTIAL, Kind.FAULTY}


def seen_with_its_shot(root: int, path: str, finding: Finding, ignore: Ignore) -> Finding:
    """What a look found, corrected by what lies beside the file.

    A RAW that no picture takes along settles a little longer, since cameras' cards are copied name by name.
    """
    if not raw.has_ending(path) or finding.kind not in _LOOKED_INTO:
        return finding
    with openat.folder_of(root, path) as (folder, _):
        picture = travels(folder, path, ignore, text=False)
    if picture is not None:
        return Finding(Kind.TRAVELS, picture)
    return replace(finding, untold=True, reason=_MAY_COME) if finding.kind is Kind.WHOLE else finding


def pictures_beside(root: int, path: str, ignore: Ignore) -> Iterator[str]:
    """The pictures that take the file along although its own name does not give theirs."""
    with openat.folder_of(root, path) as (folder, name):
        beside = list(pictures_among(name, Names(os.listdir(folder)))) if name.endswith(JSON) else []
    above = path[: len(path) - len(name)]
    return (above + one for one in beside if ignore.rule(above + one) is None)
