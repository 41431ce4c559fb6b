"""Where pictures come from and where their results go: the inbox with delivery, or a library."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from captiond.delivery import Delivery, Look
from captiond.delivery.edit import Revise
from captiond.errors import Rejected
from captiond.inbox import Inbox
from captiond.records import Delivered, Described, Fingerprint, Job, Outcome, RulesOf, SettledFile, Stamp
from captiond.sidecar import Record


class Source(Protocol):
    """What the main path asks of a source; `Inbox` and `Delivery` document each method."""

    def done(self, path: str) -> None: ...

    def release(self, path: str, *, after_seconds: float = ..., reason: str = ...) -> None: ...

    def claim(self, settled: SettledFile) -> Job | Delivered: ...

    def publish(self, job: Job, described: Described, record: Record) -> Delivered: ...

    def set_aside(
        self, path: str, fingerprint: Fingerprint, rejected: Rejected, attempt: int, stamp: Stamp
    ) -> tuple[Delivered, Record | None]: ...

    def forgive(self, work: Job | SettledFile) -> None: ...

    def outcome(self, delivered: Delivered) -> Outcome: ...


class Changeable(Protocol):
    """Described pictures whose texts can change: done/, or a library."""

    def look(self, path: str) -> Look: ...

    def rewrite(self, path: str, revise: Revise, at: datetime) -> tuple[Delivered, Record]: ...


class ChangeableLibrary(Changeable, Protocol):
    @property
    def rules_of(self) -> RulesOf: ...

    def must_be_there(self) -> None: ...


class ChangeableLibraries(Protocol):
    """The libraries by name."""

    def __contains__(self, name: object) -> bool: ...

    def __getitem__(self, name: str) -> ChangeableLibrary: ...


class Elsewhere(Protocol):
    """The libraries by name, which are served when nothing of the inbox waits."""

    @property
    def are_at_rest(self) -> bool: ...

    def take(self) -> SettledFile | None: ...

    def __getitem__(self, name: str) -> Source: ...


class Nowhere:
    """No libraries."""

    are_at_rest = True

    def take(self) -> SettledFile | None:
        return None

    def __getitem__(self, name: str) -> Source:
        raise KeyError(name)


class FromInbox:
    """The inbox and delivery as one."""

    def __init__(self, inbox: Inbox, delivery: Delivery) -> None:
        self.done = inbox.done
        self.release = inbox.release
        self.claim = delivery.claim
        self.publish = delivery.publish
        self.set_aside = delivery.set_aside
        self.forgive = delivery.forgive
        self.outcome = delivery.outcome


def key_of(work: SettledFile | Job) -> str:
    """The key under which attempts are counted: no path of the inbox begins with a slash."""
    return work.path if work.library is None else f"/{work.path}"
