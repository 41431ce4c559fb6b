"""Does anybody still have this file open for writing?  The kernel knows, by its leases.

A read lease is refused while a writer exists.  It is given back at once; a writer that opens the file
in the microseconds between waits for us that long, or, with O_NONBLOCK, has to try again.
"""

from __future__ import annotations

import errno
import fcntl
import signal


def is_held(descriptor: int) -> bool | None:
    """Whether a writer holds the file; None where the kernel cannot or will not say."""
    try:
        # A writer that comes while we hold the lease has the kernel signal us.  Its default is SIGIO,
        # which ends the process; SIGURG is ignored unless somebody asks for it.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        # EACCES: not our file.  EINVAL: no leases on this file system.
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
