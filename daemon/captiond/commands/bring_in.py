"""Corrections from an exported table back to where they came from: `captiond import`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captiond import table
from captiond.checking import by_person
from captiond.checking.by_person import Unfit
from captiond.commands import places
from captiond.commands.places import Ambiguous, Named
from captiond.commands.undo import Changing, Telling, changing, now
from captiond.delivery.not_understood import Tell
from captiond.errors import LibraryAway, NotThere, Surroundings, TryLater
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
    with text, changing(settings, warn) as (texts, tell):
        for line in table.read(text):
            try:
                named = _named(settings, line)
            except (Ambiguous, NotThere) as unknown:
                told = Brought(line, refused=str(unknown))
            else:
                told = _one(line, named, texts, tell, is_dry=is_dry)
            if told.fields or told.refused:
                yield told


def _named(settings: Settings, line: Line) -> Named:
    """The picture of the line.

    Raises: NotThere, if the line is at fault, or there is no such library; Ambiguous.
    """
    if line.fault is not None:
        raise NotThere(line.fault)
    if line.library is None:
        return places.of_table(settings, line.path)
    if not line.library:
        return Named(line.path)
    library = next((one for one in settings.libraries if one.name == line.library), None)
    if library is None or not line.path.startswith(f"{library.name}/"):
        raise NotThere(f"the settings name no library {line.library!r} in which it lies")
    return Named(line.path, library)


def _one(line: Line, named: Named, texts: Changing, tell: Telling, *, is_dry: bool) -> Brought:
    fields: list[str] = []
    at = now()

    def revise(record: Record) -> Record:
        assert record.texts is not None
        changes = table.changes(line, record)
        new = by_person.changed(record.texts, changes, texts.limits_of(named, record))
        if new == record.texts:
            return record
        if record.published_sha256 != line.published_sha256:
            raise TryLater("the picture or its texts were changed meanwhile")
        fields.extend(changes)
        return record if is_dry else edited(record, new, at)

    try:
        delivered, record = texts.rewrite(named, revise, at)
    except NotThere:
        return Brought(line, refused="there is no such captioned picture")
    except (TryLater, LibraryAway, Unfit) as refused:
        return Brought(line, refused=refused.message)
    if fields and not is_dry:
        tell(delivered, record, "edited")
    return Brought(line, tuple(fields))
