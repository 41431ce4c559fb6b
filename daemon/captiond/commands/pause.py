"""A wanted pause from the command line: it works whether a daemon runs or not, and outlives both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captiond.commands.folders import refuse_missing
from captiond.commands.status import moment
from captiond.delivery.pausing import worded
from captiond.errors import Surroundings
from captiond.service import client
from captiond.service.resting import resting_of
from captiond.status import Rest

if TYPE_CHECKING:
    from captiond.settings import Settings


def begin(settings: Settings, seconds: float | None, why: str | None) -> str:
    """Begin a pause; a sentence that says what holds now.

    Raises: Surroundings, if it cannot be written down; ValueError, if the reason is too long.
    """
    refuse_missing(settings, "state")
    rest = resting_of(settings).pause(seconds, worded(why))
    until = "until `captiond resume`" if rest is None or rest.until is None else f"until {moment(rest.until)}"
    return f"Paused {until}. {_who(settings, 'What is in work ends, and nothing new begins.')}"


def end(settings: Settings) -> str:
    """End a pause; a sentence that says what holds now.  Raises: Surroundings."""
    refuse_missing(settings, "state")
    resting = resting_of(settings)
    was_paused = is_on(resting.look())
    rest = resting.resume()
    told = "The pause is over." if was_paused else "It was not paused."
    if rest is not None and rest.until is not None:
        return f"{told} Pictures are taken again from {moment(rest.until)} on: {rest.reason}."
    return f"{told} {_who(settings, 'Pictures are taken again.')}" if was_paused else told


def is_on(rest: Rest | None) -> bool:
    """Whether it is a wanted pause, which `resume` ends, and not closed hours."""
    return rest is not None and rest.advice is not None


def refuse_while_on(settings: Settings) -> None:
    """For commands that do all their work at once.  Raises: Surroundings, if a pause is wanted."""
    rest = resting_of(settings).look()
    if is_on(rest) and rest is not None:
        until = f" until {moment(rest.until)}" if rest.until is not None else ""
        raise Surroundings(f"the work is paused{until}, since {rest.reason}", advice=rest.advice)


def _who(settings: Settings, what_it_does: str) -> str:
    folders = settings.folders
    try:
        client.ask(folders.state, folders.inbox, {"ask": "status"})
    except client.NotRunning:
        return "No daemon runs; the next one heeds it."
    except Surroundings:
        pass  # the daemon reads the pause from the state folder even if it does not answer
    return what_it_does
