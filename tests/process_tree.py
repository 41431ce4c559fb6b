"""A process and all that it started, as the kernel tells of them."""

from __future__ import annotations

import os
from pathlib import Path


def own_share_bytes(process: int) -> int:
    """The memory of the tree: what is each one's alone, and its share of what it has in common (PSS)."""
    return sum(map(_share_bytes, tree(process)))


def descriptors(process: int) -> int:
    """How many files, sockets and the like the process itself has open."""
    return len(os.listdir(f"/proc/{process}/fd"))


def tree(process: int) -> list[int]:
    """The process and its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [process]
    for one in found:
        found += parents.get(one, [])
    return found


def _share_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
