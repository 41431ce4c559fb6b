"""Claims and describes pictures of one library; they stay where they are, byte for byte.

A picture is read through one descriptor that is opened beneath the library without following links, and the
attempt is counted before, as for the inbox.  Trouble with one name makes only that picture wait; trouble with
the whole library is `LibraryAway`, and no picture is charged an attempt.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from captiond import sidecar
from captiond.delivery import originals
from captiond.delivery.attempts import Attempts
from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import Takers
from captiond.delivery.deliver import refuse
from captiond.delivery.files import contents, sha256_of
from captiond.errors import Rejected, Surroundings, TryLater
from captiond.libraries import placing
from captiond.libraries.around import Around, NotOurs, Old, Tree, around, old_record
from captiond.libraries.index import Row, Seen
from captiond.libraries.knowing import Knowing, Known
from captiond.libraries.marker import Place
from captiond.libraries.placing import Overtaken, Placing
from captiond.libraries.revising import sha256_at
from captiond.libraries.trees import CLOSED_RETRY_SECONDS, Trees, locked, of_one_picture
from captiond.libraries.trees import opened as opened_trees
from captiond.names import LONGEST_NAME, job_id, shown
from captiond.records import Delivered, Described, Fingerprint, Job, Rules, SettledFile, Texts
from captiond.sidecar import Record
from captiond.support.openat import split

_TRIES = 3  # to lay words into an .xmp that another program changes meanwhile


@dataclass(slots=True)
class Desk:
    """Safe to call from several threads."""

    place: Place
    knowing: Knowing
    attempts: Attempts
    keep: Callable[[Row], None]  # what the index is to know
    clock: Callable[[], float] = time.monotonic
    takers: Takers = field(default_factory=Takers)

    def opened(self) -> AbstractContextManager[Trees]:
        """Raises: LibraryAway, if the library cannot be seen, is not marked, or makes trouble meanwhile."""
        return opened_trees(self.place)

    def _locked(self, *, alone: bool = False) -> AbstractContextManager[None]:
        return locked(self.attempts.folder, self.place.name, alone=alone)

    def known(self, path: str, picture: Fingerprint) -> Known:
        """Whether the picture is described already, by reading it.

        Raises: TryLater, if it has changed or cannot be read now; LibraryAway.
        """
        with self.opened() as trees, self._file(trees, path, picture) as file:

            def sha256() -> str:
                digest = sha256_of(file)
                originals.unchanged(file, picture)
                return digest

            return self.knowing.closely(trees.library, trees.target, path, picture, sha256)

    def claim(self, settled: SettledFile, path: str) -> Job:
        """`path`: in the library.  Of all that this raises, only Rejected leaves the attempt counted."""
        rules = self.knowing.rules_of(path)
        with self.opened() as trees, self._file(trees, path, settled.fingerprint):
            _must_be_writable(trees.target, path)
        attempt = self.attempts.begin(_key(settled), settled.fingerprint)
        refuse(settled, attempt, rules)
        with self._uncharged_if_later(settled), self.opened() as trees:
            _must_be_nameable(trees.target, path)
            with self._file(trees, path, settled.fingerprint) as file:
                data = contents(file, settled.fingerprint.size)
                originals.unchanged(file, settled.fingerprint)
                old = _old_of(trees.target, path)
                beside = around(trees.library, trees.target, self.takers, path, rules, old)
        job = self._job(settled, data, rules, beside)
        return replace(
            job, attempt=attempt, rules=_owning(rules, old.record.texts if old is not None else None)
        )

    def _job(self, settled: SettledFile, data: bytes, rules: Rules, beside: Around) -> Job:
        digest = hashlib.sha256(data).hexdigest()
        return Job(
            id=job_id(settled.path, digest),
            path=settled.path,
            fingerprint=settled.fingerprint,
            data=data,
            sha256=digest,
            attempt=0,
            noticed_at=settled.noticed_at,
            claimed_at=self.clock(),
            rules=rules,
            notes=beside.notes,
            notices=settled.notices,
            library=self.place.name,
        )

    def publish(self, job: Job, path: str, described: Described, record: Record) -> Delivered:
        """Write the .xmp and the record beside the picture.

        Raises: TryLater, if the picture or a file beside it has changed; LibraryAway.
        """
        if described.data != job.data or record.published_sha256 != job.sha256:
            raise ValueError("a picture of a library is never written into")
        with self._locked(), self.opened() as trees, self._file(trees, path, job.fingerprint) as file:
            seen = self._placed(trees, file, job, path, described, record)
        questions = job.rules.questions
        row = self.knowing.described(path, job.fingerprint, job.sha256, questions, seen)
        self.keep(row)
        self.attempts.clear(_key(job))
        return self._delivered(job.path, job.sha256, "done")

    def carry(self, settled: SettledFile, path: str, twin: Old) -> None:
        """Write beside this picture what the record of the same bytes under another name says."""
        rules, texts = self.knowing.rules_of(path), twin.record.texts
        assert texts is not None
        with self._locked(), self.opened() as trees, self._file(trees, path, settled.fingerprint) as file:
            data = contents(file, settled.fingerprint.size)
            beside = around(trees.library, trees.target, self.takers, path, rules, None)
            job = self._job(settled, data, rules, beside)
            if not twin.tells_of(job.sha256):
                raise TryLater("it changed meanwhile")
            described = rules.describe(data, twin.record.source.format or "", texts, notes=beside.notes)
            seen = self._placed(trees, file, job, path, described, twin.record.described(described))
        row = self.knowing.described(path, settled.fingerprint, job.sha256, rules.questions, seen)
        self.keep(row)

    def _placed(
        self, trees: Trees, file: int, job: Job, path: str, described: Described, record: Record
    ) -> Seen:
        """Place the files.  If another program changes the .xmp meanwhile, its words stay: merge anew."""
        texts = record.texts
        assert texts is not None
        notes, format = job.notes, record.source.format or ""
        for _ in range(_TRIES):
            old = _old_of(trees.target, path)
            if old is not None and old.record.edited is not None:
                raise TryLater("a person has changed what is said of it meanwhile")
            beside = around(trees.library, trees.target, self.takers, path, job.rules, old)
            if beside.notes != notes:
                described = job.rules.describe(job.data, format, texts, notes=beside.notes)
                notes, record = beside.notes, record.described(described)
            try:
                return self._place(trees, file, path, described, record, beside, job, old)
            except Overtaken as overtaken:
                trouble = overtaken
        raise trouble

    def _place(
        self, trees: Trees, file: int, path: str, described: Described, record: Record, beside: Around,
        job: Job, old: Old | None,
    ) -> Seen:  # fmt: skip
        told = {"name": self.place.name, "questions": job.rules.questions}
        xmps = beside.written(described)
        record = placing.record_of(record, path, told, xmps)
        what = Placing(path, record, xmps, old.sha256 if old is not None else None)
        give = Attributes.of(file).give_record
        originals.unchanged(file, job.fingerprint)
        return placing.place(trees.target, what, give)

    def set_aside(self, path: str, fingerprint: Fingerprint, rejected: Rejected) -> Delivered:
        """The picture stays, and why it failed is kept in the state folder.  `path`: in the library."""
        seen = Seen()
        with self.opened() as trees:
            try:
                old = old_record(trees.target, path)
                seen = old.seen if old is not None else Seen()
            except NotOurs:
                seen = _seen_at(trees.target, path + sidecar.CAPTION_SUFFIX)
        row = replace(Row.failed(path, Seen.of(fingerprint), rejected), record=seen)
        self.keep(row)
        full = f"{self.place.name}/{path}"
        self.attempts.clear(f"/{full}")
        return self._delivered(full, "", "failed")

    def finish_earlier(self, traces: set[tuple[str, str]]) -> Iterator[str]:
        """Finish what a crash left; the paths of the pictures that are described now."""
        with self._locked(alone=True), self.opened() as trees:
            for folder, job in sorted(traces):
                path = placing.finish(trees.target, folder, job, partial(sha256_at, trees.library))
                if path is not None:
                    yield path

    def try_writing(self) -> None:
        """Raises: LibraryAway, if nothing can be written."""
        with self.opened() as trees:
            placing.probe(trees.target)

    def forgive(self, work: Job | SettledFile) -> None:
        self.attempts.forgive(_key(work), work.fingerprint)

    def _delivered(self, path: str, sha256: str, folder: str) -> Delivered:
        suffix = sidecar.SUFFIXES[folder]
        return Delivered(path, path + suffix, sha256, folder, path, sha256, library=self.place.name)

    @contextmanager
    def _file(self, trees: Trees, path: str, picture: Fingerprint) -> Iterator[int]:
        """The very file that settled, open.  Raises: TryLater, if an error concerns this picture alone."""
        with ExitStack() as closing:
            file = closing.enter_context(originals.opened(trees.library, path, picture))
            closing.enter_context(of_one_picture(path))
            yield file

    @contextmanager
    def _uncharged_if_later(self, settled: SettledFile) -> Iterator[None]:
        try:
            yield
        except (TryLater, Surroundings, OSError):
            self.forgive(settled)
            raise


def _key(work: Job | SettledFile) -> str:
    """The key of the picture's attempts; the slash tells it from a path of the inbox."""
    return f"/{work.path}"


def _owning(rules: Rules, own: Texts | None) -> Rules:
    """Rules that replace the words that we wrote before."""
    return rules if own is None else replace(rules, describe=partial(rules.describe, own=own))


def _old_of(target: Tree, path: str) -> Old | None:
    try:
        return old_record(target, path)
    except NotOurs as error:
        raise Rejected(
            "gave_up",
            f"{shown(path)}{sidecar.CAPTION_SUFFIX} lies beside it and is none of captiond's",
            stage="claim",
            advice="Move that file away; nothing that lies in a library is replaced.",
        ) from error


def _must_be_writable(target: Tree, path: str) -> None:
    """Refuse a picture now if its texts could not be written later.  A mirror's folder may not exist yet."""
    try:
        with target.folder(split(path)[0]) as folder:
            if os.access(".", os.W_OK | os.X_OK, dir_fd=folder):
                return
            if os.fstatvfs(folder).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    except FileNotFoundError:
        return
    raise TryLater(
        "nothing can be written beside it",
        after_seconds=CLOSED_RETRY_SECONDS,
        advice="Give the user that runs captiond write permission on that folder, or set `sidecars`.",
    )


def _must_be_nameable(target: Tree, path: str) -> None:
    longest = os.fstatvfs(target.root).f_namemax or LONGEST_NAME
    if len(os.fsencode(split(path)[1] + sidecar.CAPTION_SUFFIX)) > min(longest, LONGEST_NAME):
        raise Rejected(
            "gave_up",
            "its name is too long for a file beside it that is called like it",
            stage="claim",
            advice="Give it a shorter name.",
        )


def _seen_at(target: Tree, path: str) -> Seen:
    folder_name, name = split(path)
    with target.folder(folder_name) as folder:
        return Seen.of(os.stat(name, dir_fd=folder, follow_symlinks=False))
