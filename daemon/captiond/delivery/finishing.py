"""What all deliveries share: one thread works on each, traces are rolled forward, originals taken away.

`deliver`, `failing` and `duplicates` say what is to be done; this room says whose turn it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from captiond import sidecar
from captiond.delivery.attempts import Attempts
from captiond.delivery.claims import Claim, DeliveryTrace
from captiond.delivery.companions import Takers
from captiond.delivery.folders import Folders
from captiond.delivery.journal import jobs
from captiond.delivery.leftovers import Leftovers
from captiond.delivery.moves import Move
from captiond.delivery.recovery import Recovery
from captiond.delivery.steps import Steps
from captiond.delivery.troubles import ours
from captiond.errors import TryLater
from captiond.names import job_id, shown
from captiond.records import Delivered, Notice


class Finishing:
    """Safe to call from several threads."""

    def __init__(
        self,
        folders: Folders,
        attempts: Attempts,
        takers: Takers,
        recovery: Recovery,
        move: Move,
        clock: Callable[[], float],
    ) -> None:
        self._folders = folders
        self._attempts = attempts
        self._takers = takers
        self._recovery = recovery
        self._move = move
        self._freed = threading.Condition()
        self._in_work: set[tuple[str, str]] = set()
        self.leftovers = Leftovers(self.steps, self.working, clock)

    def steps(self, target: str, job: str) -> Steps:
        inbox, folder = self._folders["inbox"], self._folders[target]
        return Steps(inbox, folder, DeliveryTrace(folder.work, job), self._move)

    def roll_forward(self, steps: Steps) -> Claim | None:
        """Only for a delivery that the caller holds by `working`; see `Recovery.roll_forward`."""
        return self._recovery.roll_forward(steps)

    def earlier(self, path: str, identities: Mapping[str, str]) -> Delivered | None:
        """Finish what a pause interrupted for this very file, so that it is not made a second time.

        `identities`: for each folder, what its job was named by.
        """
        for target, identity in identities.items():
            job = job_id(path, identity)
            with ours(f"looking for what was begun of {shown(path)}"):
                if DeliveryTrace(self._folders[target].work, job).is_empty():
                    continue
            steps = self.steps(target, job)
            with self.working(steps), ours(f"finishing {shown(path)}"):
                claim = self.roll_forward(steps)
                if claim is not None:
                    return self.delivered(steps, claim)
        return None

    def delivered(self, steps: Steps, claim: Claim, *, is_seen: bool = False) -> Delivered:
        """Step 5.  The image stays delivered, whatever goes wrong here.

        `is_seen`: this process has read the original, so that its fingerprint is enough to know it again.
        """
        self.leftovers.take_away(steps, claim, is_seen=is_seen)
        self._attempts.clear(claim.path)
        return Delivered(
            path=claim.name,
            record=claim.name + steps.suffix,
            sha256=claim.published_sha256,
            folder=steps.target.name,
            dropped=claim.path,
            dropped_sha256=claim.original.sha256,
            is_duplicate=claim.is_duplicate,
        )

    def recover(self) -> tuple[list[Delivered], list[Notice]]:
        """Recover what lies in done/ and failed/: what was finished, and notices of what cannot be."""
        delivered: list[Delivered] = []
        unresolved: list[Notice] = []
        for name in sidecar.SUFFIXES:
            with ours(f"recovering in folders.{name}"):
                for job in jobs(self._folders[name].work):
                    steps = self.steps(name, job)
                    with self.working(steps, wait=False) as is_ours, suppress(TryLater):
                        if is_ours:
                            self._recover(steps, delivered, unresolved)
        return delivered, unresolved

    def _recover(self, steps: Steps, delivered: list[Delivered], unresolved: list[Notice]) -> None:
        claim = self.roll_forward(steps)
        if claim is not None:
            is_told = claim.path in self.leftovers or claim.is_duplicate
            finished = self.delivered(steps, claim)
            delivered += [] if is_told else [finished]
        elif steps.trace.is_empty():
            self._recovery.drop_pieces(steps.target, steps.trace)
        else:
            unresolved.append(_unresolved(steps))

    @contextmanager
    def working(self, steps: Steps, *, wait: bool = True) -> Iterator[bool]:
        """Keep recovery away from a delivery that is being made, and the other way round."""
        key = (steps.target.name, steps.trace.job)
        with self._freed:
            is_ours = wait or key not in self._in_work
            if is_ours:
                self._freed.wait_for(lambda: key not in self._in_work)
                self._in_work.add(key)
        try:
            yield is_ours
        finally:
            if is_ours:
                self._let_go_of_companions(steps.trace)
                with self._freed:
                    self._in_work.discard(key)
                    self._freed.notify_all()

    def _let_go_of_companions(self, trace: DeliveryTrace) -> None:
        """Release this delivery's companions, unless they are staged: it keeps those."""
        if self._takers.have(trace.job):
            with suppress(OSError):
                if trace.is_unclaimed():
                    self._takers.release(trace.job)


def _unresolved(steps: Steps) -> Notice:
    return Notice(
        "unresolved_delivery",
        f"{steps.target.path}/.captiond/{steps.trace.job}.* tells of a delivery that cannot be finished: "
        "neither the image nor its original is there.  Nothing was removed; remove these files to forget it.",
    )
