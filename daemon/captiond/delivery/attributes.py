"""What a delivered file keeps of its original beside the bytes: time, permissions, owner, attributes.

The modification time and the permissions are promised.  Owner and extended attributes (ACLs are such) are
kept where the file system and our rights allow it, one by one; security labels belong to the place, not to
the file, and are left to the kernel.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Attributes:
    modified_ns: int
    mode: int
    owner: int
    group: int
    extended: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, file: int) -> Attributes:
        status = os.fstat(file)
        # Without setuid, setgid and sticky: an image needs none, and the owner may become another.
        mode = stat.S_IMODE(status.st_mode) & 0o777
        return cls(status.st_mtime_ns, mode, status.st_uid, status.st_gid, tuple(_extended(file)))

    @classmethod
    def unknown(cls, modified_ns: int) -> Attributes:
        """Where the original is gone by now: those of any file of ours that others may read."""
        return cls(modified_ns, 0o644, os.geteuid(), os.getegid())

    def at(self, modified_ns: int) -> Attributes:
        return replace(self, modified_ns=modified_ns)

    def give(self, file: int) -> None:
        self._give_owner(file)
        os.fchmod(
            file, self.mode
        )  # after the owner, since chown clears bits; before the ACL, which refines it
        for name, value in self.extended:
            try:
                os.setxattr(file, name, value)
            except OSError:
                pass  # not supported here, not permitted to us, or no room for it
        os.utime(file, ns=(self.modified_ns, self.modified_ns))

    def give_record(self, file: int) -> None:
        """Who may read the image may read what was written about it; its time is its own."""
        self._give_owner(file)
        os.fchmod(file, self.mode & 0o666)

    def _give_owner(self, file: int) -> None:
        try:
            os.fchown(file, self.owner, self.group)
        except OSError:
            try:
                os.fchown(file, -1, self.group)
            except OSError:
                pass  # it stays ours


def _extended(file: int) -> list[tuple[str, bytes]]:
    try:
        names = os.listxattr(file)
    except OSError:
        return []  # a file system without them
    kept = []
    for name in names:
        if name.startswith("security."):
            continue
        try:
            kept.append((name, os.getxattr(file, name)))
        except OSError:
            pass  # gone meanwhile, or not for us to see
    return kept
