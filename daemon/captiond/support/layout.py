"""Folders by date: `{taken:%Y/%m}` and a moment to `2024/05`.

Pure.  A pattern is checked when it is read, so that all that it makes later are paths beneath a folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from captiond.names import checked_path

AS_DROPPED = "as_dropped"
LONGEST_PATTERN = 200  # characters
_FIELD = re.compile(r"\{taken:([^{}]*)\}|\{(folder)\}")
# Only numbers: names of months differ by the locale that the daemon runs in.
_DIRECTIVES = re.compile(r"%[YymdjHMSGVu]")
_A_MOMENT = datetime(2024, 12, 31, 23, 59, 59)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which folder beneath done/ a picture goes to."""

    pattern: str

    @classmethod
    def of(cls, pattern: str) -> Layout:
        """Raises: ValueError, if the pattern has no date, or unknown fields, or leads elsewhere."""
        formats = [found[1] for found in _FIELD.finditer(pattern) if found[1] is not None]
        literal = _FIELD.sub("", pattern)
        if len(pattern) > LONGEST_PATTERN:
            raise ValueError(f"must not be longer than {LONGEST_PATTERN} characters")
        if "{" in literal or "}" in literal or not formats:
            raise ValueError(
                "must be as_dropped, or hold {taken:%Y/%m} and the like; {folder} is the other field"
            )
        if any("%" in _DIRECTIVES.sub("", form) or not _DIRECTIVES.search(form) for form in formats):
            raise ValueError("must have no other directives of dates than %Y %y %m %d %j %H %M %S %G %V %u")
        if any("{folder}" in part and part != "{folder}" for part in pattern.split("/")):
            raise ValueError("must have {folder} between slashes, and nothing beside it")
        layout = cls(pattern)
        try:
            for dropped in ("", "folder"):
                checked_path(layout.folder(_A_MOMENT, dropped))
        except ValueError as error:
            raise ValueError(f"must lead to a folder beneath done/: {error}") from error
        return layout

    def folder(self, taken: datetime, dropped: str) -> str:
        """For a picture that was taken then, dropped into that folder of the inbox ("": into none)."""

        def put(found: re.Match[str]) -> str:
            return dropped if found[1] is None else _shown(taken, found[1])

        path = _FIELD.sub(put, self.pattern)
        # If the picture was dropped into no folder, the part with {folder} is left out.
        return "/".join(part for part in path.split("/") if part) if not dropped else path


def _shown(moment: datetime, form: str) -> str:
    """The date by that form, with a year of four digits: not every system's strftime pads the year 800."""
    year = f"{moment.year:04}"
    return _DIRECTIVES.sub(lambda one: year if one[0] == "%Y" else moment.strftime(one[0]), form)
