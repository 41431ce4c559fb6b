"""Trouble, sorted by what to do next.

Every error that one room raises for another is one of the verdicts below.  A room says what is wrong
and never what becomes of the file or of the process: the pipeline decides about the file, `cli` about the
process.

    Rejected       this image never      -> failed/, with the reason beside it
    TryLater       this image later      -> stays in the inbox, is looked at again
    NotThere       this image no more    -> the caller that named it is told
    Surroundings   no image for now      -> everything pauses, no image is charged, resumes by itself
    LibraryAway    no image of a library -> that library alone pauses, none is charged, resumes by itself
    CannotStart    this process no more  -> an exit code
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Literal, get_args

# Every word that a program may meet as the `kind` of a failure, and what it means to a person.
Kind = Literal[
    "decoder_died",
    "empty_caption",
    "gave_up",
    "refused_by_server",
    "too_complex",
    "too_large",
    "too_many_attempts",
    "too_many_pixels",
    "too_much_memory",
    "too_slow",
    "truncated",
    "unforeseen",
    "unreadable",
    "unsure",
    "unsupported",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Stage = Literal["settle", "claim", "decode", "caption", "publish"]


class ExitCode(IntEnum):
    """What the process tells its caller; the README has the table."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    TRY_AGAIN = 75  # EX_TEMPFAIL
    WRONG_SETTINGS = 78  # EX_CONFIG


class Verdict(Exception):
    """The base of all verdicts: what is wrong, and what a person can do about it."""

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class Rejected(Verdict):
    """This image will never be captioned.

    `kind` is a stable word for programs; docs/reliability.md says what each means.
    """

    def __init__(self, kind: Kind, message: str, *, stage: Stage, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.kind: Kind = kind
        self.stage: Stage = stage


class TryLater(Verdict):
    """This image cannot be served just now: it changed, vanished, or a program still holds it."""

    def __init__(self, message: str, *, after_seconds: float = 0.0, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.after_seconds = after_seconds


class NotThere(Verdict):
    """What a caller asks for by its name or number is not there, or no longer."""

    def __init__(self, message: str = "there is no such picture any more") -> None:
        super().__init__(message)


class Surroundings(Verdict):
    """Nothing is wrong with the image; the disk, a folder, the GPU or a server does not let us work."""


class LibraryAway(Surroundings):
    """One library cannot be seen or written: it waits alone, and all other work goes on."""


class CannotStart(Verdict):
    """The process cannot do its work: the settings are wrong, or the surroundings do not let it begin."""

    def __init__(self, message: str, *, exit_code: ExitCode, advice: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.exit_code = exit_code


def as_surroundings(error: OSError, doing: str) -> Surroundings:
    """What an OSError met while `doing` something with our own folders means to a person."""
    where = f" ({error.filename})" if error.filename is not None else ""
    return Surroundings(f"{doing}: {error.strerror or error}{where}", advice=_ADVICE.get(error.errno or 0))


_ADVICE = {
    errno.ENOSPC: "Free some space; work goes on by itself.",
    errno.EDQUOT: "The quota is used up: free some space or raise it; work goes on by itself.",
    errno.EROFS: "The file system is mounted read-only; mount it writable.",
    errno.EACCES: "Give the user that runs captiond write permission on this folder.",
    errno.EPERM: "Give the user that runs captiond write permission on this folder.",
    errno.EIO: "The disk or the network share reports an input/output error; look at the kernel log.",
    errno.ENOENT: "The folder is gone; is its volume mounted?",
    errno.ESTALE: "The network share went away; work goes on when it is back.",
}
