"""What a decoder's process may not do: reach files, the network, other programs or other processes.

Landlock takes the files away, seccomp the system calls, and each is used if the kernel has it (in a container
or a unit that refuses one of them, the other still holds).  No picture needs this to be decoded, so nothing
here fails: `confine` tells what holds.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

from captiond.pictures import seccomp

_libc = ctypes.CDLL(None, use_errno=True)
_NOTHING = ctypes.c_ulong(0)

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL = 9


def die_with(parent: int) -> None:
    """End this process as soon as its `parent` ends."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # it had ended before
        raise SystemExit(1)


def confine() -> list[str]:
    """From now on this process can only decode.  Returns what holds: landlock, seccomp."""
    if not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        return []
    return [name for name, holds in (("landlock", _landlock()), ("seccomp", _seccomp())) if holds]


def _prctl(option: int, value: int, pointer: object = _NOTHING) -> bool:
    return not _libc.prctl(option, ctypes.c_ulong(value), pointer, _NOTHING, _NOTHING)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _seccomp() -> bool:
    """Forbid the system calls that the module `seccomp` names."""
    compiled = seccomp.compiled(platform.machine(), os.getpid())
    if compiled is None:
        return False
    program = _Program(len(compiled) // seccomp.INSTRUCTION_BYTES, compiled)
    return _prctl(_PR_SET_SECCOMP, seccomp.FILTER_MODE, ctypes.byref(program))


# Numbers that are the same on every processor.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
# How many of the rights on files each version of Landlock knows; what a later one adds is left alone.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS_OF_LATER = 16
_NETWORK_FROM, _SCOPES_FROM = 4, 6


def _landlock() -> bool:
    """Forbid all files but Python's own modules, some of which are read only when they are needed."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < 1:
        return False
    rights = (1 << _RIGHTS.get(version, _RIGHTS_OF_LATER)) - 1
    handled = [rights]
    if version >= _NETWORK_FROM:
        handled.append(0b11)  # TCP: bind, connect
    if version >= _SCOPES_FROM:
        handled.append(0b11)  # other processes' abstract sockets, signals
    attributes = struct.pack(f"={len(handled)}Q", *handled)
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for folder in {*sys.path, "/usr/lib", "/usr/lib64", "/lib", "/lib64"}:
            _may_read_beneath(ruleset, folder)
        return not _libc.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _may_read_beneath(ruleset: int, folder: str) -> None:
    try:
        opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # not every entry of Python's path exists
        return
    rule = struct.pack("=Qi", _READ_FILE | _READ_FOLDER, opened)
    _libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    os.close(opened)
