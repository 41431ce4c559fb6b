"""Other texts for a picture of a library: a person's, a model's later ones, or former ones.

    lock    the library's lock, alone: no picture of it is described, and no other text replaced, meanwhile
    finish  what a crash left in the picture's folder
    write   .captiond-<job>.xmp and .json, with the new texts, and which record they replace; fsync
    finish  the same steps as after a crash (see `placing`): forward if the picture, its record and the .xmp
            are those that were read, else back

The picture is read and never touched.  It must be the very file that its record tells of.  An .xmp changes if
it says the former texts; none is made.  What a person wrote there stays, with the proof that nothing else
changed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import get_args

from captiond import sidecar
from captiond.delivery import Changed, Held, Look
from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import Takers
from captiond.delivery.edit import Revise
from captiond.delivery.files import contents, is_regular, known, names_in, opened_regular, sha256_of
from captiond.delivery.laying import ours
from captiond.errors import NotThere
from captiond.libraries import placing
from captiond.libraries.around import Around, NotOurs, Old, Role, Tree, Xmp, around, old_record
from captiond.libraries.index import Row, Seen
from captiond.libraries.marker import Place
from captiond.libraries.placing import Overtaken, Placing
from captiond.libraries.trees import Trees, locked, of_one_picture, opened
from captiond.names import checked_path, job_id
from captiond.records import Delivered, Fingerprint, Outcome, RulesOf, Texts
from captiond.sidecar import Record, checked
from captiond.support.lease import is_held_by_writer
from captiond.support.openat import open_file, split

_TRIES = 3  # to lay words into an .xmp that another program changes meanwhile


class ChangedHere(Changed):
    """The picture is not, or no longer, the one that its record tells of."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.advice = "Another program has changed it, or writes to it; the library describes it anew."


def _unkept(_: Row) -> None:
    """For a command: the daemon finds out at its next look."""


Lay = Callable[[Trees, str, bytes, Old, Record], tuple[Record, tuple[Xmp, ...]]]


@dataclass(frozen=True, slots=True)
class Revising:
    """Safe to call from several threads, and from several processes."""

    place: Place
    rules_of: RulesOf  # by paths in the library
    state: Path
    takers: Takers = field(default_factory=Takers)
    keep: Callable[[Row], None] = _unkept  # what the index is to know

    def look(self, path: str) -> Look:
        """The picture `path`, read through one descriptor, and its record.

        Raises: NotThere, if no captioned picture has that path; Changed; Held; TryLater; LibraryAway.
        """
        with opened(self.place) as trees, of_one_picture(path):
            old = _old(trees.target, path)
            with opened_regular(trees.library.root, path) as file:
                told = Fingerprint.of(os.fstat(file))
                data = contents(file, told.size)
                if is_held_by_writer(file):
                    raise Held(self._full(path))
            if not old.tells_of(hashlib.sha256(data).hexdigest()):
                raise ChangedHere(self._full(path))
        return Look(old.record, _texts(old), data, told)

    def record(self, path: str) -> Record:
        """The record of the picture `path`, if both are there.  Raises: NotThere; TryLater; LibraryAway."""
        with opened(self.place) as trees, of_one_picture(path):
            old = _old(trees.target, path)
            with opened_regular(trees.library.root, path):
                return old.record

    def seen(self, path: str) -> Outcome:
        """What the record of the picture `path` says now.  Raises: as `record`."""
        record = self.record(path)
        return record.outcome(self._delivered(path, record), datetime.now(UTC))

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """The picture, open for reading.  Raises: NotThere; TryLater; LibraryAway."""
        with (
            opened(self.place) as trees,
            of_one_picture(path),
            opened_regular(trees.library.root, path) as file,
        ):
            yield file

    def rewrite(self, path: str, revise: Revise, at: datetime) -> tuple[Delivered, Record]:
        """Replace the texts of the picture `path`; it and its record as they stand then.

        Raises: NotThere, if no captioned picture has that path; TryLater, if nothing was changed, since the
        picture is not what was described, or something beside it is being changed; LibraryAway.
        """
        lock = locked(self.state, self.place.name, alone=True)
        with lock, opened(self.place) as trees, of_one_picture(path):
            self._finish_earlier(trees, path)
            for _ in range(_TRIES):
                old = _old(trees.target, path)
                new = revise(old.record)
                if new == old.record:
                    return self._delivered(path, new), new
                record = self._replaced(trees, path, old, new)
                if record is not None:
                    return self._delivered(path, record), record
        raise Overtaken(self._full(path))

    def lay_beside_raw(self, path: str) -> bool:
        """Write the texts of the picture `path` into the .xmp of the RAW of its shot, which came later.

        Whether that is over: it was done, or nothing is to be done.

        Raises: NotThere; TryLater, if the RAW, or what lies beside it, is being written; LibraryAway.
        """
        lock = locked(self.state, self.place.name, alone=True)
        with lock, opened(self.place) as trees, of_one_picture(path):
            self._finish_earlier(trees, path)
            old = _old(trees.target, path)
            if "raw_xmp" in old.told:
                return True
            return self._replaced(trees, path, old, old.record, lay=self._laid_beside_raw) is not None

    def _laid_beside_raw(
        self, trees: Trees, path: str, data: bytes, old: Old, record: Record
    ) -> tuple[Record, tuple[Xmp, ...]]:
        rules = self.rules_of(path)
        beside = around(trees.library, trees.target, self.takers, path, rules, old, is_revised=True)
        notes = replace(beside.notes, xmp=None)  # that one holds our own words
        described = rules.describe(data, record.source.format or "", _texts(old), notes=notes)
        xmps = tuple(one for one in beside.written(described) if one.role == "raw_xmp")
        of_raw = tuple(one for one in described.written if one.target.startswith("raw-sidecar:"))
        told = _still_true(old.told, beside)
        record = replace(record, written=(*record.written, *of_raw) if xmps else record.written)
        return placing.record_of(record, path, told, xmps, old.sha256), xmps

    def _finish_earlier(self, trees: Trees, path: str) -> None:
        """Finish what a crash left in the picture's folder: what was said there last is what is replaced."""
        folder_name, _ = split(path)
        with known(path), trees.target.folder(folder_name) as folder:
            jobs = {job for name in names_in(folder) if (job := placing.trace_of(name)) is not None}
        for job in sorted(jobs):
            placing.finish(trees.target, folder_name, job, partial(sha256_at, trees.library))

    def _replaced(
        self, trees: Trees, path: str, old: Old, new: Record, lay: Lay | None = None
    ) -> Record | None:
        """Let the new record and its texts stand; None if something beside the picture changed meanwhile.

        `lay`: makes the record and each .xmp that changes; without any, and without a new text, nothing is
        written.
        """
        with opened_regular(trees.library.root, path) as file:
            picture = Fingerprint.of(os.fstat(file))
            data = contents(file, picture.size)
            give = Attributes.of(file).give_record
        if not old.tells_of(hashlib.sha256(data).hexdigest()):
            raise ChangedHere(self._full(path))
        record, xmps = (lay or self._laid)(trees, path, data, old, new)
        if new == old.record and not xmps:
            return new
        job = job_id(path, hashlib.sha256(record.encoded()).hexdigest())
        with placing.staged(trees.target, Placing(path, record, xmps, old.sha256), job, give):
            pass
        stands = self._settled(trees, split(path)[0], job)
        if not stands:
            return None
        self.keep(self._row(trees.target, path, picture, record))
        return record

    def _laid(
        self, trees: Trees, path: str, data: bytes, old: Old, new: Record
    ) -> tuple[Record, tuple[Xmp, ...]]:
        """The new record, and each .xmp that changes with it."""
        former, texts = _texts(old), new.texts
        assert texts is not None
        rules = self.rules_of(path)
        at_once = replace(rules, settle_seconds=0.0)  # an .xmp of ours may be a moment old
        beside = around(trees.library, trees.target, self.takers, path, at_once, old, is_revised=True)
        format = new.source.format or ""
        described = rules.describe(data, format, texts, notes=beside.notes, own=ours(old.record, former))
        if described.data != data:
            raise ValueError("a picture of a library is never written into")
        xmps = beside.written(described)
        told = _still_true(checked.mapping(new.rest.get("library")), beside)
        record = new.laid_anew(described, {}, former)
        return placing.record_of(record, path, told, xmps, old.sha256), xmps

    def _settled(self, trees: Trees, folder_name: str, job: str) -> bool:
        """Whether the staged texts stand now.  On trouble, one more try; else the next start goes on."""
        finish = partial(placing.finish, trees.target, folder_name, job, partial(sha256_at, trees.library))
        try:
            return finish() is not None
        except OSError:
            if finish() is None:
                raise
            return True

    def _row(self, target: Tree, path: str, picture: Fingerprint, record: Record) -> Row:
        folder_name, name = split(path)
        with target.folder(folder_name) as folder:
            seen = Seen.of(os.stat(name + sidecar.CAPTION_SUFFIX, dir_fd=folder, follow_symlinks=False))
        questions = checked.text(checked.mapping(record.rest.get("library")).get("questions")) or ""
        return Row(path, "described", Seen.of(picture), record.published_sha256, questions, seen)

    def _full(self, path: str) -> str:
        return f"{self.place.name}/{path}"

    def _delivered(self, path: str, record: Record) -> Delivered:
        full, sha256 = self._full(path), record.published_sha256
        name = full + sidecar.CAPTION_SUFFIX
        return Delivered(full, name, sha256, "done", full, sha256, library=self.place.name)


def sha256_at(library: Tree, path: str) -> str | None:
    """The checksum of the picture; None if it cannot be read."""
    try:
        file = open_file(library.root, path)
    except OSError:
        return None
    try:
        return sha256_of(file) if is_regular(file) else None
    finally:
        os.close(file)


def _old(target: Tree, path: str) -> Old:
    with known(path):
        checked_path(path)
    try:
        old = old_record(target, path)
    except NotOurs as error:
        raise NotThere from error
    if old is None:
        raise NotThere
    return old


def _texts(old: Old) -> Texts:
    assert old.record.texts is not None  # `old_record` has looked
    return old.record.texts


def _still_true(told: Mapping[str, object], beside: Around) -> dict[str, object]:
    """What the record says of the library, without an .xmp that another program has changed or removed."""
    there = {role: file.old for role, file in beside.files()}
    gone = [
        role
        for role in get_args(Role)
        if role in told and checked.mapping(told[role]).get("sha256") != there.get(role)
    ]
    return {key: value for key, value in told.items() if key not in gone}
