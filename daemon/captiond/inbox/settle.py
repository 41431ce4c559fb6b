"""From sightings and the time to what is quiet, waiting, or in work.

Pure: it is told what was seen and when, opens nothing and owns no clock.  A file is quiet when it had the
same fingerprint in two observations at least `settle_seconds` apart; the time is the monotonic clock's, so
modification times are compared for equality only and may lie in the past or the future.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from captiond.inbox.fair import Line
from captiond.inbox.finding import Finding, Kind
from captiond.records import Fault, Fingerprint, Notice, SettledFile
from captiond.status import Standing

__all__ = ["SETTLE_UNTOLD_SECONDS", "UNREADABLE_RETRY_SECONDS", "Book", "Finding", "Kind", "Phase"]

UNREADABLE_RETRY_SECONDS = 30.0
SETTLE_UNTOLD_SECONDS = 10.0


class Phase(Enum):
    SETTLING = auto()  # seen, not yet quiet
    WAITING = auto()  # quiet; looked into when its turn comes
    UNTOLD = auto()  # quiet, but the file system cannot tell whether a writer has it open
    HELD = auto()  # quiet, but a writer has it open
    UNFINISHED = auto()  # quiet, but a name beside it says that it is unfinished
    FORSAKEN = auto()  # UNFINISHED, and unchanged for long
    PARTIAL = auto()  # quiet, but its container is not whole
    UNREADABLE = auto()  # quiet, but it may not be read
    TRAVELLING = auto()  # quiet; it goes with another picture, as long as that picture is here
    DEFERRED = auto()  # given back, not to be offered before a time
    IN_WORK = auto()  # handed out


# In which order they are listed; all others come first.
_LISTED = {Phase.IN_WORK: 1, Phase.SETTLING: 2, Phase.WAITING: 3, Phase.TRAVELLING: 4}


@dataclass(slots=True)
class _Entry:
    fingerprint: Fingerprint
    noticed_at: float
    since: float  # when it was first observed with this fingerprint
    seen: float  # when it was last observed with it
    phase: Phase
    due_at: float  # when to look at it again without a hint
    sweep: int
    finding: Finding | None = None
    reason: str = ""  # why it was given back
    is_told: bool = False  # whether `newly_not_whole` has given it


class Book:
    """Every known file, and where it stands."""

    def __init__(
        self,
        *,
        settle_seconds: float,
        incomplete_after_seconds: float,
        settle_untold_seconds: float = SETTLE_UNTOLD_SECONDS,
    ) -> None:
        self._settle_seconds = settle_seconds
        self._untold_seconds = max(settle_untold_seconds, settle_seconds)
        self._patience_seconds = max(incomplete_after_seconds, settle_seconds)
        self._entries: dict[str, _Entry] = {}
        self._phases: Counter[Phase] = Counter()
        self._queue = Line()
        self._due: list[tuple[float, str]] = []
        self._unwhole: set[str] = set()  # the paths that are in one of the phases _NOT_WHOLE
        self._travelling: dict[str, str] = {}  # the paths that are in this phase, and their pictures
        self._sweep = 0

    def prefer(self, is_urgent: Callable[[str], bool]) -> None:
        """Which files go before all others."""
        self._queue.prefer(is_urgent)

    # What was seen

    def observe(
        self, path: str, fingerprint: Fingerprint, earliest: float, latest: float, *, hinted: bool = False
    ) -> bool:
        """Takes note of an observation made between the two times; True if the file was not known.

        Two times, since a slow scan looks at its first and its last file far apart: one time would claim
        more quiet than was seen.  `hinted` says that something happened to it: a writer may have let go.
        """
        entry = self._entries.get(path)
        if entry is None:
            entry = _Entry(fingerprint, latest, latest, earliest, Phase.SETTLING, math.inf, self._sweep)
            self._entries[path] = entry
            self._phases[Phase.SETTLING] += 1
            self._settle(path, entry)
            return True
        entry.sweep = self._sweep
        if entry.fingerprint == fingerprint:
            entry.seen = earliest
        else:
            entry.fingerprint, entry.since, entry.seen = fingerprint, latest, earliest
            if entry.phase not in (Phase.IN_WORK, Phase.DEFERRED):
                self._enter(path, entry, Phase.SETTLING)
        if entry.phase is Phase.SETTLING:
            self._settle(path, entry)
        elif hinted and entry.phase in _LOOKED_INTO_WHEN_HINTED:
            self._wait(path, entry)
        return False

    def forget(self, path: str) -> None:
        """The file is not there; a file in work stays in the book until it is given back."""
        entry = self._entries.get(path)
        if entry is not None and entry.phase is not Phase.IN_WORK:
            self._remove(path)

    def begin_sweep(self) -> None:
        """Begin a look at every file; `end_sweep` forgets those that were not observed since."""
        self._sweep += 1

    def end_sweep(self) -> None:
        stale = [path for path, entry in self._entries.items() if entry.sweep != self._sweep]
        for path in stale:
            self.forget(path)

    # What is to be done

    def due(self, now: float, at_most: int | None = None) -> list[str]:
        """The files to be looked at again now, those that have been due for longest first."""
        again: list[str] = []
        while self._due and self._due[0][0] <= now and len(again) != at_most:
            due_at, path = heapq.heappop(self._due)
            if not self._is_due_then(due_at, path):
                continue
            entry = self._entries[path]
            entry.due_at = math.inf
            if entry.phase is Phase.DEFERRED:
                self._enter(path, entry, Phase.SETTLING)
            if entry.phase is Phase.SETTLING:
                again.append(path)
            elif entry.phase is not Phase.IN_WORK:
                self._wait(path, entry)
        return again

    def next_due(self) -> float:
        """When `due` will have a file to give; infinity for never."""
        while self._due and not self._is_due_then(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else math.inf

    def best(self) -> tuple[str, Fingerprint] | None:
        """The file whose turn it is, to be looked into; `judge` says what comes of it."""
        path = self._queue.pop(self._is_waiting)
        return None if path is None else (path, self._entries[path].fingerprint)

    def put_back(self, path: str) -> None:
        """The look into the file that `best` gave failed: the file goes back into the queue."""
        if self._is_waiting(path):
            self._queue.push(path, self._entries[path].fingerprint.modified_ns)

    def judge(self, path: str, finding: Finding, now: float) -> SettledFile | None:
        """Decide by a look into the file that `best` gave: hand it out, or None and let it wait."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        entry.finding = finding
        quiet = now - entry.since
        # The longer it has been quiet, the less often we ask again; a hint asks at once.
        soon = now + min(max(quiet / 10, 0.25), 5.0)
        if finding.kind is Kind.GONE:
            self.forget(path)
        elif finding.kind is Kind.CHANGED and finding.fingerprint is not None:
            self.observe(path, finding.fingerprint, now, now)
        elif finding.kind is Kind.HELD:
            self._enter(path, entry, Phase.HELD, soon)
        elif finding.kind is Kind.UNFINISHED:
            is_forsaken = quiet >= self._patience_seconds
            self._enter(path, entry, Phase.FORSAKEN if is_forsaken else Phase.UNFINISHED, soon)
        elif finding.kind is Kind.TRAVELS:
            self._enter(path, entry, Phase.TRAVELLING, soon)
            self._travelling[path] = finding.reason
        elif finding.kind is Kind.UNREADABLE:
            self._enter(path, entry, Phase.UNREADABLE, now + UNREADABLE_RETRY_SECONDS)
        elif now < (served_at := entry.since + self._wait_seconds(finding)):
            self._enter(path, entry, _WAITS[finding.kind], served_at)
        else:
            self._enter(path, entry, Phase.IN_WORK)
            return SettledFile(
                path, entry.fingerprint, entry.noticed_at, _fault_of(finding), _notices_of(finding)
            )
        return None

    def _wait_seconds(self, finding: Finding) -> float:
        """How long a file with this finding must have been quiet before it is handed out."""
        untold = self._untold_seconds if finding.untold else 0.0
        if finding.kind is not Kind.PARTIAL:
            return untold
        return max(untold, self._untold_seconds if finding.briefly else self._patience_seconds)

    def done(self, path: str) -> None:
        """The file left the inbox; a file that has its name there now is a new one."""
        if path in self._entries:
            self._remove(path)
        for other in [one for one, picture in self._travelling.items() if picture == path]:
            self._wait(other, self._entries[other])

    def release(self, path: str, not_before: float, reason: str = "") -> None:
        """The file stays, and is offered again, not before that time; if it changed, it settles anew."""
        entry = self._entries.get(path)
        if entry is not None and entry.phase is Phase.IN_WORK:
            entry.reason = reason
            self._enter(path, entry, Phase.DEFERRED, not_before)

    # What to say

    @property
    def begun_or_next(self) -> int:
        """How many are in work, or will be when those before them in the queue are served."""
        return self._phases[Phase.WAITING] + self._phases[Phase.IN_WORK]

    @property
    def waiting(self) -> int:
        return self._phases[Phase.WAITING] + self._phases[Phase.DEFERRED]

    @property
    def settling(self) -> int:
        return sum(self._phases[phase] for phase in _SETTLING)

    @property
    def incomplete(self) -> int:
        """How many of the settling wait for a writer or their missing part, and not for time to pass."""
        return sum(self._phases[phase] for phase in _WAITING_FOR_OTHERS)

    @property
    def forsaken(self) -> int:
        """How many of the incomplete are called unfinished by a name beside them, and unchanged for long."""
        return self._phases[Phase.FORSAKEN]

    @property
    def held(self) -> int:
        """How many of the incomplete are held by a writer."""
        return self._phases[Phase.HELD]

    def newly_not_whole(self) -> list[str]:
        """The files that wait for their missing part, except those that an earlier call gave."""
        news = [path for path in sorted(self._unwhole) if not self._entries[path].is_told]
        for path in news:
            self._entries[path].is_told = True
        return news

    def gives_up_at(self) -> float | None:
        """When the first of those that are not whole is handed out to be set aside, if any is."""
        entries = [self._entries[path] for path in self._unwhole]
        certain = (entry for entry in entries if entry.finding is not None and entry.finding.certain)
        return min((entry.due_at for entry in certain if entry.phase is Phase.PARTIAL), default=None)

    def is_at_rest(self, now: float, patience_seconds: float | None) -> bool:
        """Whether only files that are not whole are left, and they have had time enough.

        `patience_seconds`: how long a settled file may wait for its missing part; None: until it is given up.
        """
        moving = self.waiting + self.in_work + self.settling - len(self._unwhole)
        if moving or patience_seconds is None:
            return not moving and len(self._unwhole) == self.forsaken
        lasts = self._settle_seconds + patience_seconds
        return all(now >= self._entries[path].since + lasts for path in self._unwhole)

    @property
    def in_work(self) -> int:
        return self._phases[Phase.IN_WORK]

    @property
    def unreadable(self) -> int:
        return self._phases[Phase.UNREADABLE]

    def standing(self, path: str, now: float) -> Standing | None:
        """Where the file stands; None if it is not known."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        finding = entry.finding or Finding(Kind.WHOLE)
        left = round(max(entry.due_at - now, 0.0), 1) if entry.due_at != math.inf else None
        match entry.phase:
            case Phase.SETTLING:
                until = entry.since + self._settle_seconds
                return Standing("settling", wait_seconds=round(max(until - now, 0.0), 1))
            case Phase.WAITING:
                return Standing("waiting", behind=self._queue.ahead_of(path, self._is_waiting))
            case Phase.UNTOLD:
                return Standing("untold", finding.reason or None, wait_seconds=left)
            case Phase.HELD:
                return Standing("held")
            case Phase.UNFINISHED:
                return Standing("unfinished", finding.reason)
            case Phase.FORSAKEN:
                return Standing("forsaken", finding.reason)
            case Phase.PARTIAL:
                return Standing("partial", finding.reason, wait_seconds=left, is_given_up=finding.certain)
            case Phase.TRAVELLING:
                picture = self.standing(finding.reason, now) or Standing("unlooked")
                return Standing("companion", companion_of=finding.reason, picture=picture)
            case Phase.UNREADABLE:
                return Standing("unreadable", finding.reason)
            case Phase.DEFERRED:
                return Standing("deferred", entry.reason or None, wait_seconds=left)
            case Phase.IN_WORK:
                return Standing("in_work")

    def listing(self, now: float, most: int) -> list[tuple[str, Standing]]:
        """Some of the files: first those that wait for something, then those in work, settling, waiting."""

        def rank(item: tuple[str, _Entry]) -> tuple[int, str]:
            return _LISTED.get(item[1].phase, 0), item[0]

        chosen = heapq.nsmallest(most, self._entries.items(), key=rank)
        told = []
        for path, entry in chosen:
            # `behind` is left out: counting it goes through the whole queue for each file.
            is_waiting = entry.phase is Phase.WAITING
            standing = Standing("waiting", behind=None) if is_waiting else self.standing(path, now)
            told.append((path, standing))
        return [(path, standing) for path, standing in told if standing is not None]

    # How the book is kept

    def _settle(self, path: str, entry: _Entry) -> None:
        if entry.seen >= entry.since + self._settle_seconds:
            self._wait(path, entry)
        elif entry.due_at != entry.since + self._settle_seconds:
            self._wake(path, entry, entry.since + self._settle_seconds)

    def _wait(self, path: str, entry: _Entry) -> None:
        self._enter(path, entry, Phase.WAITING)
        self._queue.push(path, entry.fingerprint.modified_ns)

    def _enter(self, path: str, entry: _Entry, phase: Phase, due_at: float = math.inf) -> None:
        self._phases[entry.phase] -= 1
        self._phases[phase] += 1
        entry.phase = phase
        (self._unwhole.add if phase in _NOT_WHOLE else self._unwhole.discard)(path)
        self._travelling.pop(path, None)
        self._wake(path, entry, due_at)

    def _wake(self, path: str, entry: _Entry, due_at: float) -> None:
        entry.due_at = due_at
        if due_at != math.inf:
            heapq.heappush(self._due, (due_at, path))

    def _is_due_then(self, due_at: float, path: str) -> bool:
        """Whether an item of the heap still counts: it stays in it when the file gets another due time."""
        entry = self._entries.get(path)
        return entry is not None and entry.due_at == due_at

    def _remove(self, path: str) -> None:
        self._phases[self._entries.pop(path).phase] -= 1
        self._unwhole.discard(path)
        self._travelling.pop(path, None)

    def _is_waiting(self, path: str) -> bool:
        entry = self._entries.get(path)
        return entry is not None and entry.phase is Phase.WAITING


_WAITS = {Kind.WHOLE: Phase.UNTOLD, Kind.FAULTY: Phase.UNTOLD, Kind.PARTIAL: Phase.PARTIAL}
_NOT_WHOLE = frozenset({Phase.UNFINISHED, Phase.FORSAKEN, Phase.PARTIAL})
_WAITING_FOR_OTHERS = (Phase.HELD, *_NOT_WHOLE)
_SETTLING = (Phase.SETTLING, Phase.UNTOLD, *_WAITING_FOR_OTHERS)
_LOOKED_INTO_WHEN_HINTED = frozenset({Phase.HELD, Phase.UNFINISHED, Phase.FORSAKEN, Phase.UNREADABLE})


def _fault_of(finding: Finding) -> Fault | None:
    if finding.kind is Kind.PARTIAL and finding.certain:
        return Fault(
            "truncated",
            f"the file never became whole: {finding.reason}",
            advice="Copy it again; what lies in failed/ is all that ever arrived.",
        )
    return finding.fault


def _notices_of(finding: Finding) -> tuple[Notice, ...]:
    if finding.kind is Kind.PARTIAL and not finding.certain:
        return (Notice("perhaps_not_whole", f"something may be missing: {finding.reason}"),)
    return ()
