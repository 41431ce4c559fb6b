"""Who may do what with a file, as POSIX ACLs say it: read, merged and written as the bytes of the attribute.

Pure.  If a file cannot keep its owner or its group, it gets an ACL by which all users who could read or write
before can do so after, and no other user gains.  acl(5) says how the kernel decides; the bytes are those of
`system.posix_acl_access` (linux/posix_acl_xattr.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

ATTRIBUTE = "system.posix_acl_access"

_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_VERSION = 2


@dataclass(frozen=True, slots=True)
class Access:
    """Rights (4 read, 2 write, 1 execute) of the owner, the group, all others, and those named in the ACL."""

    owner: int
    group: int
    other: int
    users: tuple[tuple[int, int], ...] = ()  # (uid, rights), the mask applied as to all of a group
    groups: tuple[tuple[int, int], ...] = ()

    @property
    def is_named(self) -> bool:
        return bool(self.users or self.groups)

    @property
    def mode(self) -> int:
        """The bits for chmod.  If the ACL names anybody, the group's bits are the mask: the most any has."""
        most = self.group
        for _, rights in (*self.users, *self.groups):
            most |= rights
        return self.owner << 6 | most << 3 | self.other

    def limited(self, rights: int) -> Access:
        """The access without any right beyond these."""
        users, groups = (
            tuple((number, theirs & rights) for number, theirs in named)
            for named in (self.users, self.groups)
        )
        return Access(self.owner & rights, self.group & rights, self.other & rights, users, groups)

    def handed_over(self, owner: int | None, group: int | None) -> Access:
        """The access that the file needs if its owner or group has changed.

        `owner` and `group`: the former ones, None if the file kept it.

        The ACL names them with the rights they had.  The new group was among the others, and gets what others
        have; but no more than the former group, since a user in both groups has the rights of both.
        """
        access = self
        if owner is not None:
            access = replace(access, users=_named(access.users, owner, access.owner))
        if group is not None:
            named = _named(access.groups, group, access.group)
            access = replace(access, groups=named, group=access.other & access.group)
        return access

    def without_names(self) -> int:
        """The mode if the file can have no ACL: those named are among the others then, and must not gain."""
        other = self.other
        for _, rights in (*self.users, *self.groups):
            other &= rights
        return self.owner << 6 | self.group << 3 | other

    def encoded(self) -> bytes:
        entries = [(_USER_OBJ, self.owner, _NOBODY)]
        entries += [(_USER, rights, number) for number, rights in sorted(self.users)]
        entries += [(_GROUP_OBJ, self.group, _NOBODY)]
        entries += [(_GROUP, rights, number) for number, rights in sorted(self.groups)]
        entries += [(_MASK, self.mode >> 3 & 7, _NOBODY), (_OTHER, self.other, _NOBODY)]
        return _HEAD.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def of_mode(mode: int) -> Access:
    return Access(mode >> 6 & 7, mode >> 3 & 7, mode & 7)


def of_attribute(data: bytes) -> Access | None:
    """None if the bytes are no ACL of the version known here."""
    if len(data) < _HEAD.size or (len(data) - _HEAD.size) % _ENTRY.size:
        return None
    if _HEAD.unpack_from(data) != (_VERSION,):
        return None
    entries = list(_ENTRY.iter_unpack(data[_HEAD.size :]))
    single = {tag: rights for tag, rights, _ in entries if tag not in (_USER, _GROUP)}
    if not {_USER_OBJ, _GROUP_OBJ, _OTHER} <= single.keys():
        return None
    mask = single.get(_MASK, 7)
    users, groups = (
        tuple((number, rights & mask) for tag, rights, number in entries if tag == wanted)
        for wanted in (_USER, _GROUP)
    )
    return Access(single[_USER_OBJ], single[_GROUP_OBJ] & mask, single[_OTHER], users, groups)


def _named(named: Iterable[tuple[int, int]], number: int, rights: int) -> tuple[tuple[int, int], ...]:
    return (*(one for one in named if one[0] != number), (number, rights))
