"""A look into one quiet file: is it still the same, unfinished by a name beside it, held by a writer, whole?

Opens it beneath the root, reads a few blocks, changes nothing.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat

from captiond.errors import as_surroundings
from captiond.inbox.finding import Finding, Kind
from captiond.inbox.neighbours import says_unfinished
from captiond.inbox.whole import find_fault, find_lack
from captiond.records import Fingerprint
from captiond.support import openat
from captiond.support.lease import Writer, writer_of

_GONE = Finding(Kind.GONE)
_HELD = Finding(Kind.HELD)

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN})


def look_into(
    root: int, path: str, expected: Fingerprint, *, trust_leases: bool, beside: frozenset[str] = frozenset()
) -> Finding:
    """What a look into the quiet file `path`, last seen as `expected`, finds.

    `trust_leases`: whether its file system tells of all writers.  `beside`: names seen beside it that say
    that it is unfinished.
    """
    try:
        descriptor = openat.open_file(root, path)
    except OSError as error:
        return _could_not_open(error)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return _GONE
        if Fingerprint.of(found) != expected:
            return Finding(Kind.CHANGED, fingerprint=Fingerprint.of(found))
        with openat.folder_of(root, path) as (folder, name):
            if unfinished := says_unfinished(folder, name, beside):
                return Finding(Kind.UNFINISHED, unfinished)
        return _look(descriptor, expected, trust_leases=trust_leases)
    except OSError as error:
        if error.errno in _OURS:
            raise as_surroundings(error, f"Reading {path!r}") from error
        # One bad block must not stop the other files.
        return Finding(Kind.UNREADABLE, f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def _look(descriptor: int, expected: Fingerprint, *, trust_leases: bool) -> Finding:
    writer = writer_of(descriptor) if trust_leases else Writer.UNTOLD
    if writer is Writer.SOMEBODY:
        return _HELD
    fault = find_fault(descriptor, expected.size)
    lack = find_lack(descriptor, expected.size) if fault is None else None
    after = Fingerprint.of(os.fstat(descriptor))
    if after != expected:
        return Finding(Kind.CHANGED, fingerprint=after)
    untold = writer is Writer.UNTOLD
    if lack is not None and lack.fault is None:
        return Finding(Kind.PARTIAL, lack.reason, certain=lack.certain, briefly=lack.briefly, untold=untold)
    fault = fault or (lack and lack.fault)
    if fault is not None:
        return Finding(Kind.FAULTY, fault.message, fault=fault, untold=untold)
    return Finding(Kind.WHOLE, untold=untold)


def _could_not_open(error: OSError) -> Finding:
    if error.errno in _OURS:
        raise as_surroundings(error, "Opening a file of the inbox") from error
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV):
        return _GONE
    if error.errno in (errno.EAGAIN, errno.ETXTBSY):
        # Another program holds a lease on it (Samba's oplocks do): with O_NONBLOCK we do not wait.
        return _HELD
    if error.errno in (errno.EACCES, errno.EPERM):
        return Finding(Kind.UNREADABLE, f"may not be read by user {_user()}")
    return Finding(Kind.UNREADABLE, f"cannot be opened: {error.strerror}")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
