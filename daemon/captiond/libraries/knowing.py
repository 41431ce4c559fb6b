"""Is a picture described already?  There is a cheap way to find out and a costly one.

`at_a_glance` costs two looks at names, since a scan meets every picture: the index knows the picture and its
record by inode, size and time.  `closely` reads the picture: its record is the truth, and if the same bytes
under another name have a record, the model need not be asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from captiond.delivery.files import NO_FILE
from captiond.libraries.around import NotOurs, Old, Tree, old_record
from captiond.libraries.index import Index, Row, Seen
from captiond.libraries.marker import Marker
from captiond.records import Fingerprint, RulesOf
from captiond.sidecar import CAPTION_SUFFIX
from captiond.support.openat import split


@dataclass(frozen=True, slots=True)
class Known:
    """What a close look at a picture found."""

    row: Row | None = None  # it is described, and this is what the index is to know of it
    twin: Old | None = None  # the record of the same bytes under another name


@dataclass(frozen=True, slots=True)
class Knowing:
    library: str
    folder: Path  # where the sidecars lie
    index: Index
    rules_of: RulesOf
    describes_existing: bool

    def at_a_glance(self, path: str, picture: Fingerprint, marker: Marker) -> bool:
        """Whether the picture needs no work, as far as the index and a look at names can tell."""
        row = self.index.get(self.library, path)
        if row is None:
            return self.is_left_out(picture, marker) and self._record(path) is None
        if row.picture != Seen.of(picture):
            return False
        if row.state == "failed":
            return row.record == (self._record(path) or Seen())
        is_answered = row.questions == self.rules_of(path).questions
        return row.state == "described" and is_answered and row.record == self._record(path)

    def is_left_out(self, picture: Fingerprint, marker: Marker) -> bool:
        """Whether it lay there when the library was added, and the settings leave such pictures out."""
        return not self.describes_existing and picture.changed_ns <= marker.added_at_ns

    def failed(self, path: str, picture: Seen) -> Row | None:
        """Why the picture failed; None if it did not, or has changed since."""
        row = self.index.get(self.library, path)
        is_failed = row is not None and row.state == "failed" and row.picture == picture
        return row if is_failed else None

    def closely(
        self, library: Tree, target: Tree, path: str, picture: Fingerprint, sha256: Callable[[], str]
    ) -> Known:
        """`sha256`: reads the picture.

        Raises: OSError; whatever `sha256` raises.
        """
        try:
            old = old_record(target, path)
        except NotOurs:
            return Known()  # the claim rejects it and says why
        rules, size = self.rules_of(path), picture.size
        if old is not None:
            is_edited = old.record.edited is not None
            if is_edited or (old.questions == rules.questions and old.tells_of(sha256())):
                return Known(row=self.described(path, picture, sha256(), rules.questions, old.seen))
            return Known()
        if not self.index.has_size(self.library, size):
            return Known()
        digest = sha256()
        for row in self.index.of_sha256(self.library, digest):
            twin = self._twin(library, target, row.path, digest, rules.questions)
            if twin is not None and row.path != path:
                return Known(twin=twin)
        return Known()

    def described(self, path: str, picture: Fingerprint, sha256: str, questions: str, record: Seen) -> Row:
        return Row(path, "described", Seen.of(picture), sha256, questions, record)

    def _twin(self, library: Tree, target: Tree, path: str, sha256: str, questions: str) -> Old | None:
        """The record of the same bytes at `path`; one with a person's words only if that picture is gone."""
        try:
            old = old_record(target, path)
        except NotOurs:
            return None
        if old is None or not old.tells_of(sha256) or old.questions != questions:
            return None
        return None if old.record.edited is not None and _is_there(library, path) else old

    def _record(self, path: str) -> Seen | None:
        try:
            return Seen.of(os.lstat(self.folder / f"{path}{CAPTION_SUFFIX}"))
        except OSError:
            return None  # not there, or it cannot be looked at


def left_behind(target: Tree, path: str) -> Row | None:
    """The row of the index for a record whose picture is gone; None if it is no record of ours."""
    try:
        old = old_record(target, path)
    except NotOurs:
        return None
    if old is None:
        return None
    picture = Seen(0, old.record.source.size, 0)
    return Row(path, "left", picture, old.record.published_sha256, old.questions, old.seen)


def _is_there(library: Tree, path: str) -> bool:
    folder_name, name = split(path)
    try:
        with library.folder(folder_name) as folder:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in NO_FILE:
            return False
        raise
    return True
