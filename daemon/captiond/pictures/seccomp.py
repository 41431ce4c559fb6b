"""The system calls that no decoder needs, as a filter for the kernel.  Pure: numbers to bytes.

Calls that are not named here are allowed, since C libraries differ in what they use to get memory or to start
a thread.  A named one fails with EPERM.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

FILTER_MODE = 2
_INSTRUCTION = "=HBBI"  # operation, jump if true, jump if false, constant
INSTRUCTION_BYTES = struct.calcsize(_INSTRUCTION)

_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW = 0x7FFF0000
_EPERM, _ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT, _ARGUMENT_BYTES = 0, 4, 16, 8

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_A_THREAD = 0x10000  # CLONE_THREAD: a thread of this process, not a new process
_X32 = 0x40000000  # the bit of a second set of numbers on x86-64


@dataclass(frozen=True, slots=True)
class _Calls:
    """The system calls' numbers on one kind of processor."""

    architecture: int
    refused: tuple[int, ...]
    opening: dict[int, int]  # a call -> which of its arguments has the flags
    cloning: int
    unknown: int  # clone3, whose flags no filter can see: refused, libraries fall back to clone
    signalling: int  # tgkill, by which a process aborts itself


_X86_64 = _Calls(
    0xC000003E,
    (
        # creat openat2 rename* link* symlink* unlink* rmdir mkdir* mknod* truncate
        85, 437, 82, 264, 316, 86, 265, 88, 266, 87, 263, 84, 83, 258, 133, 259, 76,
        # chmod* chown* utime* *xattr mount umount2 open_by_handle_at pivot_root chroot, watches, new mounts
        90, 268, 452, 92, 94, 260, 132, 235, 261, 280, 188, 189, 197, 198, 165, 166, 304, 155, 161, 254, 300,
        428, 429, 430, 432, 442,
        # socket socketpair connect accept* bind listen sendto
        41, 53, 42, 43, 288, 49, 50, 44,
        # fork vfork execve* ptrace kill tkill rt_*sigqueueinfo pidfd_* process_* unshare setns kcmp
        57, 58, 59, 322, 101, 62, 200, 129, 297, 434, 424, 438, 310, 311, 440, 272, 308, 312,
        # bpf perf_event_open keyrings userfaultfd io_uring, shared memory and queues by name
        321, 298, 248, 249, 250, 323, 425, 426, 427, 29, 30, 68, 64, 240,
    ),
    {2: 1, 257: 2}, cloning=56, unknown=435, signalling=234,
)  # fmt: skip
_AARCH64 = _Calls(
    0xC00000B7,
    (
        437, 38, 276, 37, 36, 35, 34, 33, 45,
        53, 452, 54, 88, 5, 6, 14, 15, 40, 39, 265, 41, 51, 27, 262, 428, 429, 430, 432, 442,
        198, 199, 203, 202, 242, 200, 201, 206,
        221, 281, 117, 129, 130, 138, 240, 434, 424, 438, 270, 271, 440, 97, 268, 272,
        280, 241, 217, 218, 219, 282, 425, 426, 427, 194, 196, 186, 190, 180,
    ),
    {56: 2}, cloning=220, unknown=435, signalling=131,
)  # fmt: skip
_CALLS = {"x86_64": _X86_64, "aarch64": _AARCH64}


def compiled(machine: str, process: int) -> bytes | None:
    """The filter for a process on such a machine; None if its numbers are not known here."""
    calls = _CALLS.get(machine)
    return None if calls is None else b"".join(_instructions(calls, process))


def _instructions(calls: _Calls, process: int) -> Iterable[bytes]:
    yield _step(_LOAD, _ARCHITECTURE_AT)
    yield from _unless_equal(calls.architecture, _EPERM)
    yield _step(_LOAD, _NUMBER_AT)
    yield from _if(_IF_ANY_BIT, _X32, _EPERM)
    for number in calls.refused:
        yield from _if(_IF_EQUAL, number, _EPERM)
    yield from _if(_IF_EQUAL, calls.unknown, _ENOSYS)
    for number, flags in calls.opening.items():
        yield from _judged(number, flags, _if(_IF_ANY_BIT, _WRITING, _EPERM))
    yield from _judged(calls.cloning, 0, [*_if(_IF_ANY_BIT, _A_THREAD, _ALLOW), _step(_RETURN, _EPERM)])
    yield from _judged(calls.signalling, 0, _unless_equal(process, _EPERM))
    yield _step(_RETURN, _ALLOW)


def _judged(number: int, argument: int, judgement: Iterable[bytes]) -> list[bytes]:
    """The instructions for one call: load one of its arguments, judge it, and allow what is left."""
    steps = [
        _step(_LOAD, _ARGUMENTS_AT + argument * _ARGUMENT_BYTES),
        *judgement,
        _step(_RETURN, _ALLOW),
    ]
    return [_step(_IF_EQUAL, number, otherwise=len(steps)), *steps]


def _if(condition: int, constant: int, answer: int) -> list[bytes]:
    return [_step(condition, constant, otherwise=1), _step(_RETURN, answer)]


def _unless_equal(constant: int, answer: int) -> list[bytes]:
    return [_step(_IF_EQUAL, constant, so=1), _step(_RETURN, answer)]


def _step(what: int, constant: int, *, so: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack(_INSTRUCTION, what, so, otherwise, constant)
