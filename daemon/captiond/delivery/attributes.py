"""What a delivered file keeps of its original beside the bytes: time, permissions, owner, attributes.

The modification time and who may read and write are promised.  If the owner or the group cannot be kept,
an ACL names them, so that they can do with the file what they could do before; if the file system has no
ACLs either, nobody gains and the former owner may lose (`support.own.notices` says so at the start).  Other
extended attributes are kept where the file system and our rights allow it, one by one; security labels belong
to the place, not to the file, and are left to the kernel.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, replace

from captiond.delivery import access
from captiond.delivery.access import ATTRIBUTE, Access

_READ_AND_WRITE = 6


@dataclass(frozen=True, slots=True)
class Attributes:
    modified_ns: int
    access: Access
    owner: int
    group: int
    extended: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, file: int) -> Attributes:
        status = os.fstat(file)
        kept = dict(_extended(file))
        acl = kept.pop(ATTRIBUTE, None)
        # Without setuid, setgid and sticky: an image needs none, and the owner may become another.
        theirs = access.of_attribute(acl) if acl is not None else None
        theirs = theirs or access.of_mode(stat.S_IMODE(status.st_mode))
        return cls(status.st_mtime_ns, theirs, status.st_uid, status.st_gid, tuple(kept.items()))

    @classmethod
    def unknown(cls, modified_ns: int) -> Attributes:
        """For an original that is gone by now: a file of the daemon's that others may read."""
        return cls(modified_ns, access.of_mode(0o644), os.geteuid(), os.getegid())

    def at(self, modified_ns: int) -> Attributes:
        return replace(self, modified_ns=modified_ns)

    def without_execution(self) -> Attributes:
        """For what is put back where others drop pictures."""
        return replace(self, access=self.access.limited(_READ_AND_WRITE))

    def give(self, file: int) -> None:
        self._give_access(file, self.access)
        for name, value in self.extended:
            try:
                os.setxattr(file, name, value)
            except OSError:
                pass  # the file system does not support it, we may not set it, or there is no room
        os.utime(file, ns=(self.modified_ns, self.modified_ns))

    def give_record(self, file: int) -> None:
        """Let those who may read the image read its record; the record keeps its own time."""
        self._give_access(file, self.access.limited(_READ_AND_WRITE))

    def _give_access(self, file: int, theirs: Access) -> None:
        self._give_owner(file)
        status = os.fstat(file)
        theirs = theirs.handed_over(
            self.owner if status.st_uid != self.owner else None,
            self.group if status.st_gid != self.group else None,
        )
        if theirs.is_named:
            # An ACL decides whether chmod sets the group's rights or the mask, so it comes first.
            os.fchmod(file, theirs.owner << 6)
            try:
                os.setxattr(file, ATTRIBUTE, theirs.encoded())
                return
            except OSError:
                pass  # no ACLs on this file system: the mode alone then, by which nobody gains rights
        os.fchmod(file, theirs.without_names())

    def _give_owner(self, file: int) -> None:
        try:
            os.fchown(file, self.owner, self.group)
        except OSError:
            with suppress(OSError):
                os.fchown(file, -1, self.group)


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
