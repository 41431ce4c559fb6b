"""A look into one quiet file: is it still the same, held by a writer, whole?

Opens it beneath the root, reads a few blocks, changes nothing.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat

from captiond.errors import as_surroundings
from captiond.inbox.hold import is_held
from captiond.inbox.settle import Finding, Kind
from captiond.inbox.whole import find_lack
from captiond.records import Fingerprint
from captiond.support import openat

_GONE = Finding(Kind.GONE)
_HELD = Finding(Kind.HELD)

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN})


def look_into(root: int, path: str, expected: Fingerprint, *, trust_leases: bool) -> Finding:
    """What a look into the quiet file `path`, last seen as `expected`, finds."""
    try:
        descriptor = openat.open_file(root, path)
    except OSError as error:
        return _could_not_open(error)
    try:
        return _look(descriptor, expected, trust_leases=trust_leases)
    except OSError as error:
        if error.errno in _OURS:
            raise as_surroundings(error, f"Reading {path!r}") from error
        # One bad block must not stop the other files.
        return Finding(Kind.UNREADABLE, f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def _look(descriptor: int, expected: Fingerprint, *, trust_leases: bool) -> Finding:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return _GONE
    if Fingerprint.of(found) != expected:
        return Finding(Kind.CHANGED, fingerprint=Fingerprint.of(found))
    if trust_leases and is_held(descriptor):
        return _HELD
    lack = find_lack(descriptor, found.st_size)
    after = Fingerprint.of(os.fstat(descriptor))
    if after != expected:
        return Finding(Kind.CHANGED, fingerprint=after)
    if lack is None:
        return Finding(Kind.WHOLE)
    return Finding(Kind.PARTIAL, lack.reason, certain=lack.certain)


def _could_not_open(error: OSError) -> Finding:
    if error.errno in _OURS:
        raise as_surroundings(error, "Opening a file of the inbox") from error
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV):
        return _GONE
    if error.errno in (errno.EAGAIN, errno.ETXTBSY):
        # Somebody holds a lease of their own (Samba's oplocks do): with O_NONBLOCK we do not wait.
        return _HELD
    if error.errno in (errno.EACCES, errno.EPERM):
        return Finding(Kind.UNREADABLE, f"may not be read by user {_user()}")
    return Finding(Kind.UNREADABLE, f"cannot be opened: {error.strerror}")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
