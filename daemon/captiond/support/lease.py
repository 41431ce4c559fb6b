"""Does anybody still have this file open for writing?  The kernel knows, by its leases.

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
    UNTOLD = auto()  # the kernel cannot or will not say, which does not mean that there is nobody


def writer_of(descriptor: int) -> Writer:
    """Who holds the open file for writing, as the local kernel sees it.

    On a network file system the answer says nothing about writers on other machines.
    """
    try:
        # A writer that comes while we hold the lease has the kernel signal us.  Its default is SIGIO,
        # which ends the process; SIGURG is ignored unless somebody asks for it.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        # EACCES: not our file, and no CAP_LEASE.  EINVAL: no leases on this file system.
        return Writer.SOMEBODY if error.errno == errno.EAGAIN else Writer.UNTOLD
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writer.NOBODY


def is_held_by_writer(descriptor: int) -> bool:
    """Whether somebody is known to hold the file for writing."""
    return writer_of(descriptor) is Writer.SOMEBODY
