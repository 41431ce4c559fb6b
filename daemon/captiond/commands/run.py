"""A daemon in the foreground: what `run` and `demo` do with settings.

The first log line is written before anything slow is imported, so that the log is never empty for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import structlog

from captiond import __version__
from captiond.commands import progress
from captiond.commands.folders import refuse_missing
from captiond.errors import ExitCode
from captiond.service import systemd

if TYPE_CHECKING:
    from captiond.settings import Settings

PATIENCE_SECONDS = 10.0  # how long --once waits for files that settled and are not whole

log = structlog.get_logger(__name__)


def begin(settings: Settings) -> None:
    """Tell the log and `systemctl status` which version begins, by which settings, for which inbox.

    Raises: Surroundings, if there is neither a settings file nor the folders of the defaults (a newcomer).
    """
    if settings.source is None:
        refuse_missing(settings, "inbox")
    source = str(settings.source) if settings.source is not None else "none: the defaults"
    inbox = str(settings.folders.inbox)
    log.info("captiond begins", version=__version__, settings=source, inbox=inbox)
    systemd.notify(f"STATUS=starting captiond {__version__} for {' '.join(inbox.split())}")


def serve(
    settings: Settings,
    screen: TextIO,
    *,
    once: bool,
    patience_seconds: float | None = None,
    reread: Callable[[], Settings] | None = None,
) -> ExitCode:
    """Serve until a signal, or with `once` until the inbox is empty; with a progress bar on `screen` then.

    A file that `once` leaves in the inbox since it is not whole counts as failed.
    """
    from captiond.service.daemon import Daemon

    if once:
        _heed_pause(settings)
    daemon = Daemon(settings, reread=reread)
    with progress.shown(daemon, screen, wanted=once):
        daemon.run(once=once, patience_seconds=patience_seconds)
    if not once:
        return ExitCode.OK
    left = daemon.rooms.inbox.counts().incomplete
    if left:
        log.warning("left in the inbox, since they are not whole", files=left)
    return ExitCode.SOME_FAILED if left or daemon.rooms.tally.failed else ExitCode.OK


def _heed_pause(settings: Settings) -> None:
    """Raises: Surroundings, in a wanted pause; closed hours are only logged: the operator asks for it now."""
    from captiond.commands import pause
    from captiond.service.resting import resting_of

    pause.refuse_while_on(settings)
    closed = resting_of(settings).look()
    if closed is not None:
        log.info("the hours are closed, and --once works all the same", reason=closed.reason)
