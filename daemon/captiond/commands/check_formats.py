"""Which pictures of the inbox are not served, and what would serve them."""

from __future__ import annotations

from captiond.commands.check_result import CheckResult
from captiond.commands.status import unserved as told
from captiond.errors import Surroundings
from captiond.inbox import root, unserved
from captiond.service.rules import ignore_of
from captiond.settings import Settings


def unserved_in(settings: Settings) -> CheckResult | None:
    """None if there is none.  Never False: a picture that is not served stays where it is, and is no harm."""
    try:
        with root.opened(settings.folders.inbox) as descriptor:
            takes_text = bool(settings.output.text_sidecar)
            lying = unserved.beneath(descriptor, ignore_of(settings), lambda _: takes_text)
    except (Surroundings, OSError):
        return None  # the checks of the folders tell it
    if not lying:
        return None
    files = sum(one.files for one in lying)
    message = f"{files:,} pictures of the inbox are not served: {', '.join(map(told, lying))}"
    return CheckResult("formats", None, message, "; ".join(dict.fromkeys(one.advice for one in lying)))
