"""Steps 3 and 4: from traces in `.captiond/` to an image under its name, and then its record beside it.

One `Steps` is one delivery on its way into one place.  What was chosen is in the claim, durable before it is
acted on, so that a crash after any line here leaves what `recovery` can read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from captiond import sidecar
from captiond.beneath import split
from captiond.delivery.files import exists, read, remove, sha256_at, sync_folder
from captiond.delivery.moves import Move
from captiond.delivery.places import Place
from captiond.delivery.traces import Claim, Trace
from captiond.errors import TryLater
from captiond.names import LONGEST_NAME, candidates, shown
from captiond.records import Fingerprint

SUFFIXES = {"done": sidecar.CAPTION_SUFFIX, "failed": sidecar.ERROR_SUFFIX}
UNFIT_RETRY_SECONDS = 300.0

# What a folder says to one name or one file that does not suit it, and not to all; and what helps.
_UNFIT = {
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.EINVAL: "Give it a name that this file system allows.",
    errno.EILSEQ: "Give it a name that this file system allows.",
    errno.EFBIG: "Use a file system that holds files of this size.",
    errno.EXDEV: "Another volume is mounted inside this folder; mount one for the whole folder.",
}
_TIME_GRAIN_NS = 2_000_000_000  # FAT keeps every other second


@dataclass(frozen=True, slots=True)
class Steps:
    inbox: Place
    place: Place
    trace: Trace
    move: Move

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.place.name]

    def claim_for(self, path: str, fingerprint: Fingerprint, sha256: str, published_sha256: str) -> Claim:
        """A claim with the best name that is free just now."""
        claim = Claim(
            path=path,
            inode=fingerprint.inode,
            size=fingerprint.size,
            modified_ns=fingerprint.modified_ns,
            sha256=sha256,
            name="",
            published_sha256=published_sha256,
        )
        return replace(claim, name=next(self._free_names(claim)))

    def commit(self, claim: Claim) -> Claim:
        """Show image and record under the first name that both can have; the claim with that name."""
        for name in chain([claim.name], self._free_names(claim)):
            if name != claim.name:
                claim = replace(claim, name=name)
                self.trace.write_claim(claim)
                self.trace.sync()
            try:
                self._show_image(claim)
                self._show_record(claim)
                break
            except FileExistsError:  # somebody took the name since we looked
                self._hide_image(claim)
            except OSError as error:
                if error.errno not in _UNFIT:
                    raise
                self._hide_image(claim)
                self.trace.clear()
                raise TryLater(
                    f"{self.place.path} cannot hold {shown(claim.name)}: {error.strerror}",
                    after_seconds=UNFIT_RETRY_SECONDS,
                    advice=_UNFIT[error.errno],
                ) from error
        self.trace.mark_delivered()
        return claim

    def _show_image(self, claim: Claim) -> None:
        if not self.trace.has_image():
            return  # it lies there already
        folder_name, name = split(claim.name)
        with self.place.folder(self.place.make_folder(folder_name)) as folder:
            self.move(self.trace.work, self.trace.image, folder, name)
            sync_folder(folder)

    def _show_record(self, claim: Claim) -> None:
        folder_name, name = split(claim.name)
        with self.place.folder(folder_name) as folder:
            self.move(self.trace.work, self.trace.record, folder, name + self.suffix)
            sync_folder(folder)

    def _hide_image(self, claim: Claim) -> None:
        """Undo `_show_image`, where it is done: the record's name is taken, so both need another."""
        if self.trace.has_image():
            return
        folder_name, name = split(claim.name)
        with self.place.folder(folder_name) as folder:
            os.rename(name, self.trace.image, src_dir_fd=folder, dst_dir_fd=self.trace.work)
            sync_folder(folder)
        self.trace.sync()

    def is_committed(self, claim: Claim) -> bool:
        """Whether the record lies beside the claimed name and tells of this very delivery."""
        folder_name, name = split(claim.name)
        try:
            with self.place.folder(folder_name) as folder:
                told = sidecar.read(read(folder, name + self.suffix) or b"")
                sync_folder(folder)  # the crash may have come before
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False
        # A person's words since, and what lies there is another image of the same original.
        published = claim.published_sha256 if told.is_edited else told.published_sha256
        return (told.path, told.source_sha256, published) == (
            claim.path,
            claim.sha256,
            claim.published_sha256,
        )

    def is_shown(self, claim: Claim) -> bool:
        """Whether the name that was chosen, and free then, holds exactly our bytes."""
        folder_name, name = split(claim.name)
        try:
            with self.place.folder(folder_name) as folder:
                if sha256_at(folder, name) != claim.published_sha256:
                    return False
                sync_folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            return False
        self.trace.drop_image()  # its second name, where a crash came between link and unlink
        return True

    def drop_reservations(self, claim: Claim) -> None:
        """Free the claimed names of the empty files with which a crash left them reserved.

        The names were free when the claim was written: an empty file that is younger than it is ours.
        """
        since = self.trace.claimed_at_ns() - _TIME_GRAIN_NS
        folder_name, name = split(claim.name)
        with self.place.folder(self.place.make_folder(folder_name)) as folder:
            for reserved in (name, name + self.suffix):
                try:
                    there = os.stat(reserved, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(there.st_mode) and there.st_size == 0 and there.st_mtime_ns >= since:
                    remove(folder, reserved)

    def _free_names(self, claim: Claim) -> Iterator[str]:
        """The delivered paths, from the best, whose names for image and record are both free."""
        folder_name, name = split(claim.path)
        folder_name = self.place.make_folder(folder_name)
        with self.place.folder(folder_name) as folder:
            longest = min(LONGEST_NAME, os.fstatvfs(folder).f_namemax or LONGEST_NAME)
        for candidate in candidates(name, claim.sha256, suffix=self.suffix, longest=longest):
            with self.place.folder(folder_name) as folder:
                is_free = not exists(folder, candidate) and not exists(folder, candidate + self.suffix)
            if is_free:
                yield f"{folder_name}/{candidate}" if folder_name else candidate
