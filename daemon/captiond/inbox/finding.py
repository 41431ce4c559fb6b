"""What a look into a quiet file found; `settle` decides what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from captiond.records import Fault, Fingerprint


class Kind(Enum):
    """What a look into a quiet file found."""

    WHOLE = auto()
    PARTIAL = auto()
    FAULTY = auto()  # wrong for good: waiting does not mend it
    UNFINISHED = auto()
    HELD = auto()
    CHANGED = auto()
    UNREADABLE = auto()
    TRAVELS = auto()  # with the picture that `reason` names
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    reason: str = ""
    certain: bool = True  # PARTIAL only: whether a file that stays like this is certainly not whole
    briefly: bool = False  # PARTIAL only: whether a short wait for the rest is enough
    untold: bool = False  # whether the file system cannot tell if a writer has it open
    fault: Fault | None = None  # FAULTY only
    fingerprint: Fingerprint | None = None  # CHANGED only
