"""What the gallery shows of pictures, and what it asks of the libraries in which some of them lie."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from captiond import sidecar
from captiond.pipeline.sources import ChangeableLibrary
from captiond.records import Written


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One picture as the page shows it; every name is safe to show."""

    id: int
    folder: str  # done | failed
    path: str  # beneath that folder
    is_there: bool | None  # False: taken away, or put back into the inbox; None: the folder cannot be read
    at: datetime
    caption: str | None
    fields: Mapping[str, str | list[str]]  # the other texts
    needs_look: bool
    awaits_approval: bool
    edited_at: datetime | None
    model_caption: str | None  # if a person changed it
    model: str | None
    written: tuple[Written, ...]  # what became of each place in the image
    format: str | None
    width: int | None
    height: int | None
    kind: str | None  # why it failed, for programs
    message: str | None
    advice: str | None
    attempts: int | None
    library: str | None = None  # the library in which it lies, if it does


class Library(ChangeableLibrary, Protocol):
    """A library whose pictures are shown; paths begin with its name."""

    def record(self, path: str) -> sidecar.Record: ...

    def opened(self, path: str) -> AbstractContextManager[int]: ...


class Libraries(Protocol):
    """The libraries by name."""

    def __contains__(self, name: object) -> bool: ...

    def __getitem__(self, name: str) -> Library: ...


NONE: dict[str, Library] = {}


@dataclass(frozen=True, slots=True)
class NotApproved:
    id: int
    why: str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    etag: str
    jpeg: bytes | None  # None: the client has it already


@dataclass(frozen=True, slots=True)
class Shot:
    """What the camera wrote into a picture."""

    taken_at: datetime | None = None  # by its clock, whose time zone nobody knows
    camera: str | None = None
