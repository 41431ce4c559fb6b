"""A daemon in the foreground: what `run` and `demo` do with settings.

The first words are said before anything slow is imported, so that nobody looks at an empty log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import structlog

from captiond import __version__
from captiond.commands import progress
from captiond.errors import ExitCode
from captiond.service import systemd

if TYPE_CHECKING:
    from captiond.settings import Settings

log = structlog.get_logger(__name__)


def announce(settings: Settings) -> None:
    """Who begins, by which settings, for which inbox: to the log, and to systemd's `status`."""
    source = str(settings.source) if settings.source is not None else "none: the defaults"
    inbox = str(settings.folders.inbox)
    log.info("captiond begins", version=__version__, settings=source, inbox=inbox)
    systemd.notify(f"STATUS=starting captiond {__version__} for {' '.join(inbox.split())}")


def serve(
    settings: Settings, screen: TextIO, *, once: bool, reread: Callable[[], Settings] | None = None
) -> ExitCode:
    """Serve until a signal, or with `once` until the inbox is empty; with a progress bar on `screen` then."""
    from captiond.service.daemon import Daemon

    daemon = Daemon(settings, reread=reread)
    with progress.shown(daemon, screen, wanted=once):
        daemon.run(once=once)
    return ExitCode.SOME_FAILED if once and daemon.rooms.tally.failed else ExitCode.OK
