"""Where a file stands, as a sentence: the one place for it, used by `explain`, the page and all others."""

from __future__ import annotations

from collections.abc import Callable

from captiond.commands.status import duration
from captiond.names import shown
from captiond.status import Standing, Where


def sentence(standing: Standing) -> str:
    """The words behind "It is" in a sentence about the file."""
    return _SENTENCES[standing.state](standing)


def _partial(standing: Standing) -> str:
    said = f"not whole yet ({standing.reason})"
    if standing.wait_seconds is None:
        return said
    fate = "given up" if standing.is_given_up else "tried as it is"
    return f"{said}; {fate} in {duration(standing.wait_seconds)} if it does not change"


def _waiting(standing: Standing) -> str:
    if standing.behind is None:
        return "waiting"
    return f"waiting behind {standing.behind}" if standing.behind else "waiting, next in line"


def _deferred(standing: Standing) -> str:
    why = f": {standing.reason}" if standing.reason else ""
    return f"tried again in {standing.wait_seconds or 0:.0f} s{why}"


def _companion(standing: Standing) -> str:
    if standing.companion_of is None or standing.picture is None:
        return "a companion, and no picture that it may travel with is here"
    of_picture = f"a companion of {shown(standing.companion_of)} and travels with it"
    return f"{of_picture}; that one is {sentence(standing.picture)}"


_SENTENCES: dict[Where, Callable[[Standing], str]] = {
    "not_there": lambda standing: "not there",
    "ignored": lambda standing: f"ignored: {standing.reason}",
    "unserved": lambda standing: str(standing.reason),
    "companion": _companion,
    "unlooked": lambda standing: "complete, and not looked at yet",
    "changing": lambda standing: "being written just now",
    "settling": lambda standing: f"settling for {standing.wait_seconds or 0:.1f} s more",
    "untold": lambda standing: (
        f"settling for {standing.wait_seconds or 0:.1f} s more: "
        f"{standing.reason or 'nobody can tell whether a program still writes it'}"
    ),
    "waiting": _waiting,
    "held": lambda standing: "held by a writer: a program still has it open for writing",
    "unfinished": lambda standing: f"unfinished: {standing.reason}",
    "forsaken": lambda standing: f"unfinished: {standing.reason}; remove that name if it is left over",
    "partial": _partial,
    "faulty": lambda standing: f"to be set aside: {standing.reason}",
    "unreadable": lambda standing: f"unreadable: it {standing.reason}",
    "deferred": _deferred,
    "in_work": lambda standing: "in work",
    "unseen": lambda standing: f"out of sight: {standing.reason}",
    "described": lambda standing: "described",
    "failed": lambda standing: f"failed: {standing.reason}",
    "existing": lambda standing: (
        "left as it is: it lay there when the library was added, and only what comes later is described"
    ),
}
