"""How many cores this process may use: what it is pinned to, and what its container is granted.

`os.cpu_count()` counts the whole machine's, so that a container of two cores on a host of sixty-four started
sixty-four decoders and threads, which took turns on two.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cores(cgroups: Path = CGROUPS) -> int:
    """At least 1; read anew each time, since both can be changed while a process runs."""
    pinned = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = _granted(cgroups)
    return pinned if granted is None else max(1, min(pinned, math.ceil(granted)))


def _granted(cgroups: Path) -> float | None:
    """Cores that the container may use at a time; None if it has no limit or the system does not tell."""
    try:
        quota, period = (cgroups / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroups / "cpu" / "cpu.cfs_quota_us").read_text("ascii").strip()
            period = (cgroups / "cpu" / "cpu.cfs_period_us").read_text("ascii").strip()
        except (OSError, ValueError):
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:  # "max", or -1
        return None
    return int(quota) / int(period)
