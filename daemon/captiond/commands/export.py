"""All texts out of done/, as a table: `captiond export`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from captiond import table
from captiond.commands.folders import refuse_missing
from captiond.redo import walk

if TYPE_CHECKING:
    from captiond.settings import Settings


def lines(settings: Settings, format: str, under: str) -> Iterator[str]:
    """The lines as csv or jsonl; `under`: a folder beneath done/, or all of it.

    Raises: Surroundings, if done/ cannot be read.
    """
    refuse_missing(settings, "done")
    with walk.opened(settings.folders.done) as root:
        found = walk.all_of(root, lambda path, record: not under or path.startswith(f"{under}/"))
        pictures = ((one.path, one.record) for one in found if one.state != "gone")
        yield from (table.as_csv if format == "csv" else table.as_jsonl)(pictures)
