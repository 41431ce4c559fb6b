"""All texts out of done/ and of libraries, as a table: `captiond export`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from captiond import table
from captiond.commands import places
from captiond.errors import LibraryAway
from captiond.redo import walk

if TYPE_CHECKING:
    from captiond.settings import Settings


def lines(
    settings: Settings, format: str, under: str, cwd: Path, leave_out: Callable[[str], None]
) -> Iterator[str]:
    """The lines as csv or jsonl; `under`: a folder of done/ or of a library, or all of them.

    `leave_out`: is told why a library is left out.

    Raises: Surroundings, if done/, or a library that is named, cannot be read; Ambiguous.
    """
    yield from (table.as_csv if format == "csv" else table.as_jsonl)(_rows(settings, under, cwd, leave_out))


def _rows(settings: Settings, under: str, cwd: Path, leave_out: Callable[[str], None]) -> Iterator[table.Row]:
    named = places.folder(settings, under, cwd)
    start = "" if named is None or named.is_whole else f"{named.path}/"
    for library in places.all_of(settings, named):
        try:
            with places.opened_for_reading(settings, library) as (root, of):
                for one in walk.all_of(root, lambda path, record: path.startswith(start), of):
                    if one.state != "gone":
                        yield table.Row(one.path, one.record, of.library)
        except LibraryAway as trouble:
            if named is not None:
                raise
            leave_out(trouble.message)
