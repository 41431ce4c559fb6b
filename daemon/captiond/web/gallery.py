"""What became of the pictures, to look through and to correct: history, folders and delivery, joined.

No path ever comes from outside: a client asks for a picture by its line in the history, and it is opened
beneath done/, failed/ or its library without following links.  A line counts only while the record beside
that file names the very same original; otherwise the picture has been taken away, and only the line is left
of it.  If the two differ, the record is right and the history is corrected.  No client reaches the gate or
the model here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from captiond import sidecar
from captiond.checking.by_person import Changes, changed, differs
from captiond.delivery import Delivery, Overtaken
from captiond.delivery.deliver import by_person
from captiond.delivery.edit import Revise
from captiond.delivery.files import contents, opened_regular
from captiond.delivery.retry import failures, put_back
from captiond.errors import NotThere, Surroundings, TryLater
from captiond.history import Entry, History, Wanted
from captiond.names import shown
from captiond.records import Delivered, Event, Fingerprint, Limits, Notice, Outcome, Texts
from captiond.redo.lists import Lists
from captiond.sidecar.plain import plain
from captiond.sidecar.record import fields_of
from captiond.sidecar.rewriting import accepted, approved, undone
from captiond.status import Status
from captiond.support import openat
from captiond.web.exhibits import NONE, Exhibit, Libraries, Library, NotApproved, Shot, Thumbnail
from captiond.web.thumbnails import Thumbnails

log = structlog.get_logger(__name__)

COUNTED_EVERY = timedelta(seconds=4)
LARGEST_RECORD_BYTES = 1 << 20
LARGEST_READ_BYTES = 64 << 20  # of a picture, to find its camera's words in it


class Gallery:
    """Safe to call from many threads.  Its methods raise NotThere if the picture is not there."""

    def __init__(
        self,
        history: History,
        delivery: Delivery,
        thumbnails: Thumbnails,
        status: Callable[[], Status],
        *,
        inbox: Path,
        done: Path,
        failed: Path,
        lists: Lists | None = None,
        tell: Callable[[Outcome], None] = lambda outcome: None,
        libraries: Libraries = NONE,
        shot_of: Callable[[bytes], Shot] = lambda data: Shot(),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`lists`: the pictures to describe again; `tell`: is told of each change of texts.

        `shot_of`: what the camera wrote into a file's bytes.
        """
        self._history = history
        self._delivery = delivery
        self._thumbnails = thumbnails
        self._status = status
        self._inbox = inbox
        self._libraries = libraries
        self._folders = {"done": done, "failed": failed}
        self._lists = lists
        self._tell = tell
        self._shot_of = shot_of
        self._now = now
        self._failures = datetime.min.replace(tzinfo=UTC), 0  # when they were counted, and how many

    def status(self) -> dict[str, Any]:
        """Like `captiond status --json`, with the history's counts, and the path of the inbox."""
        try:
            totals: dict[str, int] | None = {**self._history.counts(), **self._history.to_review()}
        except Surroundings:
            totals = None
        told = {"totals": totals, "failed_now": self._failed_now(), "inbox": shown(str(self._inbox))}
        return {**asdict(self._status()), **told}

    def _failed_now(self) -> int:
        """How many pictures lie in failed/; counted seldom, since each open page asks every two seconds."""
        counted_at, count = self._failures
        if self._now() - counted_at > COUNTED_EVERY:
            count = len(failures(self._folders["failed"]))
            self._failures = self._now(), count
        return count

    def page(self, wanted: Wanted, limit: int) -> list[Exhibit]:
        """The wanted pictures, newest first."""
        return [self._exhibit(entry) for entry in self._history.find(wanted, limit)]

    def ids(self, wanted: Wanted, limit: int) -> list[int]:
        """The numbers of all that is wanted, newest first."""
        return self._history.ids(wanted, limit)

    def those(self, ids: Sequence[int]) -> list[Exhibit]:
        """The pictures with these numbers, in that order, without those that are gone."""
        return [self._exhibit(entry) for entry in self._history.those(ids)]

    def choices(self) -> dict[str, list[str]]:
        """The values that pictures can be filtered by."""
        return {name: list(map(shown, found)) for name, found in self._history.choices().items()}

    def closely(self, id: int) -> tuple[Exhibit, dict[str, Any] | None]:
        """One picture, and the record beside it as JSON; None if that cannot be read."""
        entry = self._entry(id)
        exhibit = self._exhibit(entry)
        record = self._record(entry) if exhibit.is_there else None
        told: dict[str, Any] | None = plain(record.keys()) if record is not None else None
        return exhibit, told

    def thumbnail(self, id: int, side: int, known_etag: str | None) -> Thumbnail:
        """Raises: Rejected, if the picture cannot be decoded."""
        entry = self._entry(id)
        self._must_be_in(entry.folder, entry)
        with self._file(entry) as file:
            fingerprint = Fingerprint.of(os.fstat(file))
            times = f"{fingerprint.modified_ns:x}-{fingerprint.changed_ns:x}"
            etag = f'"{fingerprint.inode:x}-{times}-{side}"'
            if etag == known_etag:
                return Thumbnail(etag, None)
            jpeg = self._thumbnails.of(fingerprint, lambda: contents(file, fingerprint.size), side)
            return Thumbnail(etag, jpeg)

    def shot(self, id: int) -> Shot:
        """When the picture was taken and by which camera, as far as it says so itself."""
        entry = self._entry(id)
        self._must_be_in(entry.folder, entry)
        with self._file(entry) as file:
            size = os.fstat(file).st_size
            return self._shot_of(contents(file, size)) if size <= LARGEST_READ_BYTES else Shot()

    def revise(self, id: int, changes: Changes, was: Changes, by: str | None = None) -> Exhibit:
        """Put a person's texts in the place of some; `was`: what they must have said before; `by`: a name.

        Raises: Unfit, if a text cannot stand.
        """
        entry = self._entry(id)
        self._must_be_in("done", entry)

        def change(texts: Texts, limits: Limits) -> Texts:
            new = changed(texts, changes, limits)
            if new != texts and differs(texts, was):
                raise Overtaken(entry.delivered, texts.caption)
            return new

        at, library = self._now(), self._library(entry)
        if library is None:
            delivered, told = self._delivery.edit(entry.delivered, change, at, by=by), None
        else:
            revise = by_person(change, library.rules_of, at, by)
            delivered, told = library.rewrite(entry.delivered, revise, at)
        log.info("texts edited", file=shown(entry.delivered), texts=sorted(changes), by=by)
        self._tell_of(delivered, "edited", told)
        return self._exhibit(entry)

    def accept(self, id: int, by: str | None = None) -> Exhibit:
        """Note that a person, named `by`, has looked at the texts: they need no look any more.

        If they waited for approval, they are written into the picture.
        """
        entry, at = self._entry(id), self._now()
        self._must_be_in("done", entry)
        waited: list[bool] = []

        def revise(record: sidecar.Record) -> sidecar.Record:
            waited.append(record.awaits_approval)
            return accepted(record, at, by)

        delivered, told = self._rewrite(entry, revise, at)
        log.info("texts approved" if any(waited) else "texts accepted", file=shown(entry.delivered), by=by)
        if any(waited):
            self._tell_of(delivered, "approved", told)
        return self._exhibit(entry)

    def approve(self, ids: Sequence[int], by: str | None = None) -> list[NotApproved]:
        """Approve the texts of these pictures; those that could not be, and why."""
        refused = []
        for id in ids:
            try:
                entry = self._entry(id)
                self._must_be_in("done", entry)
                self._approve(entry, by)
            except (NotThere, TryLater) as why:
                refused.append(NotApproved(id, why.message))
        return refused

    def _approve(self, entry: Entry, by: str | None) -> None:
        at = self._now()
        delivered, told = self._rewrite(entry, lambda record: approved(record, at, by), at)
        log.info("texts approved", file=shown(entry.delivered), by=by)
        self._tell_of(delivered, "approved", told)
        self._history.mark(entry.id, needs_look=False)

    def undo(self, id: int) -> Exhibit:
        """Put the former texts back.  Raises: TryLater, if there are none."""
        entry = self._entry(id)
        self._must_be_in("done", entry)
        delivered, told = self._rewrite(entry, undone, self._now())
        log.info("texts put back", file=shown(entry.delivered))
        self._tell_of(delivered, "undone", told)
        return self._exhibit(entry)

    def redo(self, id: int, prompt: str | None) -> str:
        """Have a picture described again, over a person's words too, behind new pictures; the list's id."""
        entry = self._entry(id)
        self._must_be_in("done", entry)
        if self._lists is None or entry.sha256 is None:
            raise NotThere
        chosen, now = [(entry.delivered, entry.sha256)], self._now().replace(microsecond=0)
        how = {"edited": True, "prompt": prompt, "library": self._library_of(entry)}
        (list_id,) = self._lists.add(self._folders["done"], chosen, now, **how)
        return list_id

    def _rewrite(self, entry: Entry, revise: Revise, at: datetime) -> tuple[Delivered, sidecar.Record]:
        library = self._library(entry)
        return (self._delivery if library is None else library).rewrite(entry.delivered, revise, at)

    def _tell_of(self, delivered: Delivered, event: Event, told: sidecar.Record | None) -> None:
        now = self._now()
        outcome = self._delivery.outcome(delivered) if told is None else told.outcome(delivered, now)
        self._tell(replace(outcome, event=event, at=now))

    def retry(self, id: int) -> str:
        """Put a failed picture back into the inbox; its path there."""
        entry = self._entry(id)
        self._must_be_in("failed", entry)
        return self._put_back(entry.delivered)

    def retry_all(self, ids: Sequence[int] | None = None) -> int:
        """Put everything in failed/ back, or the pictures with these numbers; how many were put back."""
        entries = self._history.those(ids) if ids is not None else None
        if entries is None:
            paths = failures(self._folders["failed"])
        else:
            paths = [one.delivered for one in entries if one.folder == "failed" and self._record(one)]
        returned = 0
        for path in paths:
            try:
                self._put_back(path)
                returned += 1
            except NotThere:
                continue  # it was put back meanwhile, or only its reason is left
        return returned

    def _put_back(self, path: str) -> str:
        failed = self._folders["failed"]
        returned = shown(put_back(path, inbox=self._inbox, failed=failed, tell=_warn))
        log.info("put back into the inbox", file=shown(path), lies_in=returned)
        return returned

    def _entry(self, id: int) -> Entry:
        entry = self._history.entry(id)
        if entry is None:
            raise NotThere
        return entry

    def _must_be_in(self, folder: str, entry: Entry) -> None:
        if entry.folder != folder or self._record(entry) is None:
            raise NotThere

    def _exhibit(self, entry: Entry) -> Exhibit:
        told, is_seen = None, True
        try:
            told = self._record(entry)
        except Surroundings:
            is_seen = False
        if told is not None:
            entry = self._corrected(entry, told)
            marks = {"needs_look": told.needs_look, "awaits_approval": told.awaits_approval}
            if marks != {name: getattr(entry, name) for name in marks}:
                entry = self._history.mark(entry.id, **marks) or entry
        return Exhibit(
            id=entry.id,
            folder=entry.folder,
            path=shown(entry.delivered),
            is_there=told is not None if is_seen else None,
            at=entry.at,
            caption=entry.caption,
            fields=plain(fields_of(told.texts)) if told is not None and told.texts is not None else {},
            needs_look=told is not None and told.needs_look,
            awaits_approval=told is not None and told.awaits_approval,
            edited_at=entry.edited_at,
            model_caption=entry.first_caption,
            model=entry.model,
            written=told.written if told is not None else (),
            format=entry.format,
            width=entry.width,
            height=entry.height,
            kind=entry.kind,
            message=entry.message,
            advice=entry.advice,
            attempts=entry.attempts,
            library=self._library_of(entry),
        )

    def _library_of(self, entry: Entry) -> str | None:
        """The name of the library in which the picture lies, or lay.

        Lines of an earlier version do not tell: then a picture that is not in done/ lies in the library with
        whose name its path begins.
        """
        if entry.library is not None:
            return entry.library
        first = entry.delivered.partition("/")[0]
        return first if first in self._libraries and self._delivered(entry) is None else None

    def _library(self, entry: Entry) -> Library | None:
        """The library in which the picture lies.  Raises: NotThere, if the settings name it no more."""
        name = self._library_of(entry)
        if name is not None and name not in self._libraries:
            raise NotThere
        return None if name is None else self._libraries[name]

    @contextmanager
    def _file(self, entry: Entry) -> Iterator[int]:
        library = self._library(entry)
        if library is not None:
            with library.opened(entry.delivered) as file:
                yield file
            return
        with self._root(entry.folder) as root, opened_regular(root, entry.delivered) as file:
            yield file

    def _corrected(self, entry: Entry, told: sidecar.Record) -> Entry:
        """The line of the history, corrected by the record."""
        caption, is_edited = told.caption, told.edited is not None
        if caption is None or (caption == entry.caption and is_edited == (entry.edited_at is not None)):
            return entry
        if told.edited is not None:
            return self._history.revise(entry.id, caption, told.edited.at or self._now()) or entry
        return self._history.restore(entry.id, caption, told.model) or entry

    def _record(self, entry: Entry) -> sidecar.Record | None:
        """The record beside the picture, if both are there and are those of the history's line."""
        name = self._library_of(entry)
        if name is None:
            return self._delivered(entry)
        if entry.folder != "done" or name not in self._libraries:
            return None  # a failure in a library has no record beside the picture
        try:
            told = self._libraries[name].record(entry.delivered)
        except (NotThere, TryLater):
            return None
        return told if entry.sha256 in (told.source.sha256, None) else None

    def _delivered(self, entry: Entry) -> sidecar.Record | None:
        """The record of a picture in done/ or failed/."""
        with self._root(entry.folder) as root, suppress(NotThere), opened_regular(root, entry.delivered):
            told = _beside(root, entry)
            if told is None and entry.folder == "done":  # taken away, or its texts are changed just now
                with self._delivery.at_rest():
                    told = _beside(root, entry)
            return told
        return None

    def _root(self, folder: str) -> AbstractContextManager[int]:
        return openat.opened(self._folders[folder], f"looking at folders.{folder}")


def _beside(root: int, entry: Entry) -> sidecar.Record | None:
    """The record beside a picture in done/ or failed/, if it is that of the history's line."""
    try:
        with opened_regular(root, entry.delivered + sidecar.SUFFIXES[entry.folder]) as file:
            told = sidecar.decode(contents(file, min(os.fstat(file).st_size, LARGEST_RECORD_BYTES)))
    except (NotThere, ValueError):
        return None
    return told if told.path == entry.path and entry.sha256 in (told.source.sha256, None) else None


def _warn(notice: Notice) -> None:
    log.warning(notice.message, code=notice.code)
