"""Does a process still have this file open for writing?  The kernel knows, by its leases.

A read lease is refused while a writer exists.  It is given back at once; a writer that opens the file
in the microseconds between waits for us that long, or, with O_NONBLOCK, has to try again.
"""

from __future__ import annotations

import errno
import fcntl
import signal
from enum import Enum, auto


class Writer(Enum):
    NOBODY = auto()
    SOMEBODY = auto()
    UNTOLD = auto()  # the kernel cannot or will not say, so there may be a writer


def writer_of(descriptor: int) -> Writer:
    """Whether a process has the open file open for writing, as the local kernel sees it.

    On a network file system the answer says nothing about writers on other machines.
    """
    try:
        # If a writer comes while we hold the lease, the kernel signals us.  Its default is SIGIO,
        # which ends the process; SIGURG is ignored unless a program asks for it.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        # EACCES: not our file, and no CAP_LEASE.  EINVAL: no leases on this file system.
        return Writer.SOMEBODY if error.errno == errno.EAGAIN else Writer.UNTOLD
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writer.NOBODY


def is_held_by_writer(descriptor: int) -> bool:
    """Whether a process is known to have the file open for writing."""
    return writer_of(descriptor) is Writer.SOMEBODY
