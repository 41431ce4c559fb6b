"""A pause that a person asked for, kept so that it outlives the daemon: one small file in the state folder.

The command or the daemon writes it whole, by a rename, whether a daemon runs or not; a daemon looks at it
again and again.  What the file says is checked before it is obeyed; a file that captiond cannot have written
pauses nothing, and the log says so.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from captiond.characters import line
from captiond.delivery import files
from captiond.errors import Surroundings
from captiond.names import utc_text
from captiond.support import wire
from captiond.support.openat import opened, sync_folder

log = structlog.get_logger(__name__)

LONGEST_WHY = 500  # characters
LONGEST_SECONDS = 10 * 365 * 86_400.0

_Seen = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Pause:
    """The pause that a person asked for."""

    asked_at: datetime
    until: datetime | None  # aware; None: until `resume`
    why: str | None = None

    def is_on(self, now: datetime) -> bool:
        return self.until is None or now < self.until


class Pausing:
    """Safe to use from many threads and processes: the last write counts."""

    def __init__(self, state: Path, inbox_key: str) -> None:
        """`inbox_key`: which of the inboxes that share this state folder is meant."""
        self._state = state
        self._name = f"pause-{inbox_key}.json"
        self._seen: _Seen | None = None  # the file as it was read last
        self._pause: Pause | None = None

    def pause(self, pause: Pause) -> None:
        """Durable when this returns; replaces a former pause.

        Raises: Surroundings, if the state folder cannot be written.
        """
        told = {
            "paused_at": utc_text(pause.asked_at),
            "until": utc_text(pause.until, "microseconds") if pause.until is not None else None,
            "why": pause.why,
        }
        data = json.dumps(told, indent=2).encode() + b"\n"
        with self._opened("Writing down the pause") as folder:
            files.write(folder, self._name, [data], lambda file: files.give_to_owner_of(folder, file))
            sync_folder(folder)

    def resume(self) -> bool:
        """End the pause; whether there was one.  Durable when this returns.

        Raises: Surroundings, if the state folder cannot be written.
        """
        with self._opened("Ending the pause") as folder:
            was_there = files.exists(folder, self._name)
            files.remove(folder, self._name)
            sync_folder(folder)
        return was_there

    def look(self) -> Pause | None:
        """The pause asked for last, over or not; if the state folder cannot be seen, the one known before."""
        try:
            found = (self._state / self._name).lstat()
            seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if seen != self._seen:
                self._pause = self._read()
                self._seen = seen
        except FileNotFoundError:
            self._pause = self._seen = None
        except (OSError, Surroundings) as error:
            log.debug("the state folder cannot be looked at", reason=str(error))
        return self._pause

    def _read(self) -> Pause | None:
        try:
            with self._opened("Looking for a pause") as folder:
                data = files.read(folder, self._name)
            return _decoded(data) if data is not None else None
        except ValueError as error:
            log.warning(
                "a pause that cannot be understood pauses nothing; `captiond resume` removes it",
                file=str(self._state / self._name),
                reason=str(error),
            )
            return None

    def _opened(self, doing: str) -> AbstractContextManager[int]:
        return opened(self._state, f"{doing} in {self._state}")


def worded(why: str | None) -> str | None:
    """A person's reason as it is kept: one printable line.  Raises: ValueError, if it is too long."""
    said = line(why) if why is not None else ""
    if len(said) > LONGEST_WHY:
        raise ValueError(f"a reason has at most {LONGEST_WHY} characters")
    return said or None


def _decoded(data: bytes) -> Pause:
    """Raises: ValueError, if `pause` cannot have written this."""
    told = wire.parsed(data)
    until, why = told.get("until"), told.get("why")
    if not isinstance(why, str | None):
        raise ValueError("`why` is no text")
    return Pause(
        asked_at=_moment(told.get("paused_at")),
        until=_moment(until) if until is not None else None,
        why=worded(why),
    )


def _moment(text: object) -> datetime:
    if not isinstance(text, str):
        raise ValueError("a time is missing")
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError(f"a time without a zone: {text[:40]}")
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"no time: {text[:40]}") from error
