"""Corrections from an exported table back into done/: `captiond import`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captiond import table
from captiond.checking import by_person
from captiond.checking.by_person import Unfit
from captiond.commands.undo import Telling, changing, now
from captiond.delivery.beside import Beside
from captiond.delivery.not_understood import Tell
from captiond.errors import NotThere, Surroundings, TryLater
from captiond.names import shown
from captiond.sidecar import Record
from captiond.sidecar.rewriting import edited
from captiond.table import Line

if TYPE_CHECKING:
    from captiond.settings import Settings


@dataclass(frozen=True, slots=True)
class Brought:
    """What becomes of one line: which texts change, or why it is refused."""

    line: Line
    fields: tuple[str, ...] = ()
    refused: str | None = None

    def __str__(self) -> str:
        where = f"line {self.line.number}" + (f" ({shown(self.line.path)})" if self.line.path else "")
        return f"{where}: {self.refused or ', '.join(self.fields)}"


def brought(settings: Settings, file: Path, *, is_dry: bool, warn: Tell) -> Iterator[Brought]:
    """What becomes of each line; lines that change nothing are left out.

    Raises: Unreadable, if the file is no table of ours; Surroundings.
    """
    try:
        text = file.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise Surroundings(f"{file}: {error.strerror}") from error
    with text, changing(settings, warn) as (folder, tell):
        for line in table.read(text):
            told = (
                Brought(line, refused=line.fault) if line.fault else _one(line, folder, tell, is_dry=is_dry)
            )
            if told.fields or told.refused:
                yield told


def _one(line: Line, folder: Beside, tell: Telling, *, is_dry: bool) -> Brought:
    fields: list[str] = []
    at = now()

    def revise(record: Record) -> Record:
        assert record.texts is not None
        changes = table.changes(line, record)
        new = by_person.changed(record.texts, changes, folder.limits_of(record))
        if new == record.texts:
            return record
        if record.published_sha256 != line.published_sha256:
            raise TryLater("the picture or its texts were changed meanwhile")
        fields.extend(changes)
        return record if is_dry else edited(record, new, at)

    try:
        delivered, record = folder.rewrite(line.path, revise, at)
    except NotThere:
        return Brought(line, refused="there is no such captioned picture")
    except (TryLater, Unfit) as refused:
        return Brought(line, refused=refused.message)
    if fields and not is_dry:
        tell(delivered, record, "edited")
    return Brought(line, tuple(fields))
