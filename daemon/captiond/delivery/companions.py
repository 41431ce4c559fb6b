"""What lies beside a picture in the inbox and travels with it; looked for by name, for a folder may be large.

Opens nothing but regular files beneath the inbox, and changes nothing.  A file that is still being written
makes its picture wait.  A file that belongs to two pictures goes with the first that asks for it.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from threading import Lock

from captiond import formats
from captiond.delivery.files import NO_FILE, allocated, contents
from captiond.delivery.folders import Beneath
from captiond.errors import TryLater
from captiond.formats.raw import RawNote
from captiond.names import shown
from captiond.records import NO_NOTES, Fingerprint, Notes, Rules
from captiond.sidecar.companions import (
    C2PA,
    EDITED,
    JSON,
    TEXT,
    XMP,
    Names,
    Tail,
    is_raw,
    names_of,
    notes_of,
    original_of,
    tails_in,
    tails_of,
)
from captiond.support.lease import is_held_by_writer
from captiond.support.openat import open_file, split

MOST_NOTE_BYTES = 16 * 1024 * 1024
_MOST_JSON_BYTES = 1024 * 1024  # what Takeout writes beside a picture has a few hundred
MOST_HOLLOW_BYTES = 8 * 1024**3
CHANGING_RETRY_SECONDS = 1.0
FORBIDDEN_RETRY_SECONDS = 60.0

# A folder with more names than this is not listed for each of its pictures, but once in a while; between the
# listings each name that may belong to a picture is looked up by itself.
_FEW_NAMES = 400
_FEW_NAMES_BYTES = 16 * 1024
_LISTED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Companion:
    path: str  # in the inbox
    tail: Tail
    fingerprint: Fingerprint
    is_lent: bool = False  # it travels with another picture, and is only read for this one

    @property
    def kind(self) -> str:
        """Its ending in lower case; empty for `X.jpg.txt`: the text that captiond merges is `X.txt`."""
        is_named_like_it = self.tail.suffix.lower() == TEXT and not self.tail.on_stem
        return "" if is_named_like_it else self.tail.suffix.lower()

    @contextmanager
    def opened(self, inbox: Beneath) -> Iterator[int]:
        """The file, open for reading.

        Raises: TryLater, if it cannot be opened, or is not what was seen before or after the reading.
        """
        try:
            file = open_file(inbox.root, self.path)
        except OSError as error:
            if error.errno in NO_FILE:
                raise self._later("is gone") from error
            if error.errno in (errno.EAGAIN, errno.ETXTBSY):  # a program holds a lease, as Samba does
                raise self._later("is held by a program") from error
            if error.errno in (errno.EACCES, errno.EPERM):
                raise self._later(
                    "may not be read",
                    FORBIDDEN_RETRY_SECONDS,
                    "Give the user that runs captiond read permission on that file.",
                ) from error
            raise
        try:
            self._must_be_unchanged(file)
            yield file
            self._must_be_unchanged(file)
        finally:
            os.close(file)

    def must_be_quiet(self, file: int, settle_seconds: float, now: float) -> None:
        """A time far in the future does not count as a change.

        Raises: TryLater, if a program writes into it, or did a moment ago.
        """
        changes = self.fingerprint.modified_ns, self.fingerprint.changed_ns
        quiet_seconds = min(abs(now - at_ns / 1e9) for at_ns in changes)
        if quiet_seconds < settle_seconds:
            raise self._later("was changed a moment ago", settle_seconds - quiet_seconds)
        if is_held_by_writer(file):
            raise self._later("is still open for writing")
        if self.fingerprint.size > MOST_HOLLOW_BYTES and allocated(file) < self.fingerprint.size // 8:
            # Reading it takes hours, and a program that reserved the length of a film first is not done yet.
            raise self._later("is nearly all holes, as if still to be written", FORBIDDEN_RETRY_SECONDS)

    def _must_be_unchanged(self, file: int) -> None:
        if Fingerprint.of(os.fstat(file)) != self.fingerprint:
            raise self._later("is being changed")

    def _later(
        self, why: str, after_seconds: float = CHANGING_RETRY_SECONDS, advice: str | None = None
    ) -> TryLater:
        message = f"{shown(self.path)}, which travels with it, {why}"
        return TryLater(message, after_seconds=after_seconds, advice=advice)


@dataclass(frozen=True, slots=True)
class Company:
    """All that travels with one picture, and the words in it."""

    companions: tuple[Companion, ...] = ()
    notes: Notes = NO_NOTES

    def first(self, kind: str) -> Companion | None:
        return next((companion for companion in self.companions if companion.kind == kind), None)

    @property
    def xmp_of_raw(self) -> Companion | None:
        """The .xmp of the RAW that travels along: under its whole name, or under the stem."""
        if self.notes.raw is None:
            return None
        return _xmp_of_raw(self.companions, self.notes.raw.suffix)


class Takers:
    """Which delivery each companion goes with, from the first that asks until that one is over."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now`: seconds as files tell them."""
        self._now = now
        self._lock = Lock()
        self._jobs: dict[str, str] = {}
        self._listed: tuple[float, str, Names] = (0.0, "", Names(()))

    def look(self, inbox: Beneath, path: str, rules: Rules) -> Company:
        """What would travel with the picture now.

        Raises: TryLater, if some of it is being written.
        """
        return self._look(inbox, path, rules, self._are_without)

    def take(self, inbox: Beneath, path: str, rules: Rules, job: str) -> Company:
        """What travels with the picture, kept for this job from now on.

        Raises: TryLater, if some of it is being written.
        """
        return self._look(inbox, path, rules, lambda beside: self.keep(beside, job))

    def _look(self, inbox: Beneath, path: str, rules: Rules, may_take: Callable[[str], bool]) -> Company:
        return look(
            inbox,
            path,
            text=rules.takes_text,
            settle_seconds=rules.settle_seconds,
            now=self._now(),
            may_take=lambda beside: not rules.stays(beside) and may_take(beside),
            names_of_many=self._names_of_many,
        )

    def _names_of_many(self, folder: int, path: str) -> Names:
        """What was in a large folder a moment ago."""
        with self._lock:
            at, listed, names = self._listed
        if listed != path or not 0 <= self._now() - at < _LISTED_SECONDS:
            names = Names(os.listdir(folder))
            with self._lock:
                self._listed = self._now(), path, names
        return names

    def keep(self, path: str, job: str) -> bool:
        """Keep the companion for this job; whether it is this job's now, and not another's."""
        with self._lock:
            return self._jobs.setdefault(path, job) == job

    def _are_without(self, path: str) -> bool:
        with self._lock:
            return path not in self._jobs

    def have(self, job: str) -> bool:
        with self._lock:
            return job in self._jobs.values()

    def release(self, job: str) -> None:
        with self._lock:
            self._jobs = {path: taker for path, taker in self._jobs.items() if taker != job}


def look(
    inbox: Beneath,
    path: str,
    *,
    text: bool,
    settle_seconds: float,
    now: float,
    may_take: Callable[[str], bool],
    names_of_many: Callable[[int, str], Names] = lambda folder, _: Names(os.listdir(folder)),
) -> Company:
    """What travels with the picture `path`.

    Raises: TryLater, if some of it is being written, or was a moment ago.
    """
    companions: list[Companion] = []
    xmps: dict[str, bytes] = {}  # by path
    noted: dict[str, bytes | None] = {}  # by kind; None: too large
    jsons: list[bytes] = []
    is_signed = False
    raws_left: list[str] = []
    for companion in _found(inbox, path, names_of_many, text=text):
        is_signed = is_signed or companion.kind == C2PA  # also if it travels with another picture
        if any(f"{ending}." in companion.tail.suffix for ending in raws_left):
            continue  # it tells of the RAW
        if not companion.is_lent and not may_take(companion.path):
            raws_left += [companion.tail.suffix] if is_raw(companion.tail) else []
            continue
        with companion.opened(inbox) as file:
            companion.must_be_quiet(file, settle_seconds, now)
            if companion.kind.endswith(XMP) and companion.fingerprint.size <= MOST_NOTE_BYTES:
                xmps[companion.path] = contents(file, companion.fingerprint.size)
            if companion.kind in (XMP, TEXT) and companion.kind not in noted:
                size = companion.fingerprint.size
                there = xmps.get(companion.path)
                noted[companion.kind] = there or (contents(file, size) if size <= MOST_NOTE_BYTES else None)
            if companion.kind.endswith(JSON) and companion.fingerprint.size <= _MOST_JSON_BYTES:
                jsons.append(contents(file, companion.fingerprint.size))
        if not companion.is_lent:
            companions.append(companion)
    unread = frozenset(kind[1:] for kind, content in noted.items() if content is None)
    raw = _raw_note(companions, xmps)
    notes = Notes(noted.get(XMP), noted.get(TEXT), unread, tuple(jsons), path, is_signed, raw)
    return Company(tuple(companions), notes)


def _raw_note(companions: Sequence[Companion], xmps: Mapping[str, bytes]) -> RawNote | None:
    """What the RAW that travels along says, if RAW files are pictures here."""
    raw = next((one for one in companions if is_raw(one.tail)), None)
    if raw is None or not formats.is_served(formats.RAW):
        return None
    own = _xmp_of_raw(companions, raw.tail.suffix)
    if own is None:
        return RawNote(raw.tail.suffix)
    first = next(one for one in companions if one.kind == XMP) if own.kind == XMP else None
    return RawNote(raw.tail.suffix, xmps.get(own.path), shares=own is first)


def _xmp_of_raw(companions: Sequence[Companion], suffix: str) -> Companion | None:
    on_stem = {one.tail.suffix: one for one in reversed(companions) if one.tail.on_stem}
    return on_stem.get(suffix + XMP) or on_stem.get(XMP) or on_stem.get(XMP.upper())


def _found(
    inbox: Beneath, path: str, names_of_many: Callable[[int, str], Names], *, text: bool
) -> list[Companion]:
    """The regular files that may travel with it.  Of two names that differ in case only, the first."""
    folder_name, name = split(path)
    found: dict[str, Companion] = {}
    try:
        with inbox.folder(folder_name) as folder:
            original = original_of(name)
            is_twin = original is not None and _regular(folder, original) is not None
            there = _there(folder, folder_name, name, names_of_many, text=text)
            there += [tail for tail in map(notes_of, there) if tail is not None]
            for tail in there:
                status = _regular(folder, tail.of(name))
                if status is not None:
                    is_lent = is_twin and tail.form == EDITED
                    companion = Companion(tail.of(path), tail, Fingerprint.of(status), is_lent)
                    found.setdefault(tail.of(name).casefold(), companion)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
    return list(found.values())


def _there(
    folder: int, path: str, name: str, names_of_many: Callable[[int, str], Names], *, text: bool
) -> list[Tail]:
    """The names in the folder that belong to the picture, as tails."""
    if os.fstat(folder).st_size <= _FEW_NAMES_BYTES:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, _FEW_NAMES)]
        if len(names) < _FEW_NAMES:
            return tails_in(Names(names), name, text=text)
    found = {tail.of(name): tail for tail in tails_in(names_of_many(folder, path), name, text=text)}
    possible = tails_of(name, text=text)
    for tail, beside in zip(possible, names_of(name, possible), strict=True):
        # `access` costs half of a `stat`, which raises for each name that is not there.
        if beside != name and beside not in found and os.access(beside, os.F_OK, dir_fd=folder):
            found[beside] = tail
    return list(found.values())


def _regular(folder: int, name: str) -> os.stat_result | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in NO_FILE | {errno.ENAMETOOLONG}:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None
