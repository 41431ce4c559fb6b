"""Writing approved texts into their pictures: `captiond approve`; the daemon may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from captiond.commands.folders import refuse_missing
from captiond.commands.places import Named
from captiond.commands.retry import beneath
from captiond.commands.undo import Changing, Telling, changing, now
from captiond.delivery.not_understood import Tell
from captiond.errors import NotThere, TryLater
from captiond.exiftool import Exiftool
from captiond.names import shown
from captiond.redo import walk
from captiond.redo.filters import WHY, Filters, are_meant
from captiond.service.rules import RuleBook
from captiond.sidecar import CAPTION_SUFFIX
from captiond.sidecar.rewriting import approved

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.sidecar import Record


@dataclass(frozen=True, slots=True)
class Told:
    """What becomes of one picture; `why`: it is refused."""

    path: str
    state: Literal["waiting", "approved", "refused"]
    caption: str | None = None
    why: str | None = None

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.why or self.caption}"

    def as_json(self) -> dict[str, Any]:
        told = asdict(self) | {"path": shown(self.path)}
        return {key: value for key, value in told.items() if value is not None}


def waiting(settings: Settings, filters: Filters) -> Iterator[Told]:
    """The pictures in done/ whose texts wait for approval, and that meet the filters.

    Raises: Surroundings, if done/ cannot be read.
    """
    refuse_missing(settings, "done")
    rules, at = RuleBook(settings, Exiftool()), now()

    def is_meant(path: str, record: Record) -> bool:
        return record.awaits_approval and are_meant(filters, path, record, rules.of(record.path), at)

    with walk.opened(settings.folders.done) as root:
        for found in walk.all_of(root, is_meant):
            caption = found.record.caption
            if found.state == "there":
                yield Told(found.path, "waiting", caption)
            else:
                yield Told(found.path, "refused", caption, WHY[found.state])


def named(settings: Settings, paths: Iterable[str], cwd: Path) -> list[Told]:
    """Those that are named, each once, by their paths beneath done/."""
    inside = (beneath(path, settings.folders.done, cwd).removesuffix(CAPTION_SUFFIX) for path in paths)
    return [Told(path, "waiting") for path in dict.fromkeys(inside)]


def written(settings: Settings, chosen: Iterable[Told], by: str | None, warn: Tell) -> Iterator[Told]:
    """What becomes of each that waits; `by`: the name of the person who approves.

    Raises: Surroundings.
    """
    with changing(settings, warn) as (texts, tell):
        for one in chosen:
            yield _one(one, texts, tell, by) if one.state == "waiting" else one


def _one(one: Told, texts: Changing, tell: Telling, by: str | None) -> Told:
    at = now()
    try:
        delivered, record = texts.rewrite(Named(one.path), lambda record: approved(record, at, by), at)
    except NotThere:
        return Told(one.path, "refused", why="no such captioned picture")
    except TryLater as later:
        return Told(one.path, "refused", one.caption, later.message)
    tell(delivered, record, "approved")
    return Told(one.path, "approved", record.caption)
