"""The pictures of a library that are to be described, and since when each has been quiet.

Pure but for the question whether a picture is known.  A picture that has not changed for a day by its own
times is not watched: in a library nearly all have lain there for years, and if the file system cannot tell
who writes, each would have to be watched for ten seconds first.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from captiond.inbox.settle import Book
from captiond.records import Fingerprint

OLD_SECONDS = 86_400.0  # more than clocks of two machines are apart, as a rule


class Candidates(Book):
    def __init__(
        self,
        is_known: Callable[[str, Fingerprint], bool],
        *,
        settle_seconds: float,
        incomplete_after_seconds: float,
        settle_untold_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`is_known`: whether nothing is to be done about a picture; `now`: seconds since the epoch."""
        super().__init__(
            settle_seconds=settle_seconds,
            incomplete_after_seconds=incomplete_after_seconds,
            settle_untold_seconds=settle_untold_seconds,
        )
        self._is_known = is_known
        self._now = now

    def observe(
        self, path: str, fingerprint: Fingerprint, earliest: float, latest: float, *, hinted: bool = False
    ) -> bool:
        """See `Book.observe`; passes over known pictures, and takes old ones as watched since yesterday."""
        if path not in self._entries:
            if self._is_known(path, fingerprint):
                return False
            last_change = max(fingerprint.modified_ns, fingerprint.changed_ns) / 1e9
            if self._now() - last_change >= OLD_SECONDS:
                super().observe(path, fingerprint, earliest - OLD_SECONDS, latest - OLD_SECONDS)
        return super().observe(path, fingerprint, earliest, latest, hinted=hinted)
