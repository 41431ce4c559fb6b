"""What the system says about the mount that a folder lies on.  Reads /proc and /etc/fstab, nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

# File systems on which other machines, or the program behind them, change files without an event for us, and
# a lease says nothing about writers elsewhere.
_SILENT = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse", "fuseblk", "gfs2", "glusterfs", "gpfs", "lustre",
        "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
    }
)  # fmt: skip

_MOUNTINFO = Path("/proc/self/mountinfo")
_FSTAB = Path("/etc/fstab")


def is_silent(filesystem: str | None) -> bool:
    """Whether changes on such a file system can happen without an event reaching us."""
    return filesystem is not None and (filesystem in _SILENT or filesystem.startswith("fuse."))


def filesystem_of(folder: Path, mountinfo: Path = _MOUNTINFO) -> str | None:
    """The type of the file system that `folder` lies on; None if the system does not tell."""
    mounts = _mounted(mountinfo)
    real = os.path.realpath(folder)
    return next((mounts[parent] for parent in _upwards(real) if parent in mounts), None)


def is_waiting_for_its_mount(folder: Path, fstab: Path = _FSTAB, mountinfo: Path = _MOUNTINFO) -> bool:
    """Whether `folder` is, or lies in, a mount point of fstab that nothing is mounted on."""
    expected = _expected(fstab) - {"/"}
    if not expected:
        return False
    mounts = _mounted(mountinfo)
    real = os.path.realpath(folder)
    return bool(mounts) and any(parent in expected and parent not in mounts for parent in _upwards(real))


def _mounted(mountinfo: Path) -> dict[str, str]:
    mounts = {}
    for line in _lines(mountinfo):
        left, _, right = line.partition(" - ")
        # Later lines lie on top of earlier ones.
        mounts[_unescape(left.split(" ")[4])] = right.split(" ")[0]
    return mounts


def _expected(fstab: Path) -> set[str]:
    fields = (line.split() for line in _lines(fstab) if not line.lstrip().startswith("#"))
    return {_unescape(field[1]).rstrip("/") or "/" for field in fields if len(field) >= 4}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _upwards(path: str) -> list[str]:
    return [path, *(str(parent) for parent in Path(path).parents)]


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
