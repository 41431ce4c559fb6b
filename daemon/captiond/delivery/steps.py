"""Steps 3 and 4: from traces in `.captiond/` to an image and its company under their names, then the record.

One `Steps` is one delivery on its way into one folder.  What was chosen is in the claim, durable before it is
acted on, so that a crash after any line here leaves what `recovery` can read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from captiond import sidecar
from captiond.delivery.files import exists, read, remove, sha256_at, sync_folder
from captiond.delivery.folders import Folder
from captiond.delivery.journal import Claim, Piece, Trace
from captiond.delivery.moves import Move
from captiond.errors import TryLater
from captiond.names import LONGEST_NAME, candidates, shown
from captiond.sidecar.companions import Tail
from captiond.support.openat import split

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
    inbox: Folder
    target: Folder
    trace: Trace
    move: Move

    @property
    def suffix(self) -> str:
        return sidecar.SUFFIXES[self.target.name]

    def claim_for(self, pieces: Sequence[Piece]) -> Claim:
        """A claim with the best name that is free just now."""
        claim = Claim("", tuple(pieces))
        return replace(claim, name=next(self._free_names(claim)))

    def commit(self, claim: Claim) -> Claim:
        """Show the pieces, then the record, under the first names that are free; the claim that says so."""
        for name in chain([claim.name], self._free_names(claim)):
            if name != claim.name:
                claim = replace(claim, name=name)
                self.trace.write_claim(claim)
                self.trace.sync()
            try:
                self._show_pieces(claim)
                self._show_record(claim)
                break
            except FileExistsError:  # somebody took one of the names since we looked
                self.hide(claim)
                if not all(map(self.trace.has_piece, range(len(claim.pieces)))):
                    # It is theirs now; what recovery makes of the traces is whole again.
                    raise TryLater("somebody changed what was shown of it before it was delivered") from None
            except OSError as error:
                if error.errno not in _UNFIT:
                    raise
                self.hide(claim)
                self.trace.clear()
                raise TryLater(
                    f"{self.target.path} cannot hold {shown(claim.name)}: {error.strerror}",
                    after_seconds=UNFIT_RETRY_SECONDS,
                    advice=_UNFIT[error.errno],
                ) from error
        self.trace.mark_delivered()
        return claim

    def _show_pieces(self, claim: Claim) -> None:
        """The picture first; what lies there already stays."""
        waiting = [number for number in range(len(claim.pieces)) if self.trace.has_piece(number)]
        if not waiting:
            return
        folder_name, name = split(claim.name)
        with self.target.folder(self.target.make_folder(folder_name)) as folder:
            for number in waiting:
                new_name = claim.pieces[number].tail.of(name)
                self.move(self.trace.work, self.trace.piece(number), folder, new_name)
            sync_folder(folder)

    def _show_record(self, claim: Claim) -> None:
        folder_name, name = split(claim.name)
        with self.target.folder(folder_name) as folder:
            self.move(self.trace.work, self.trace.record, folder, name + self.suffix)
            sync_folder(folder)

    def hide(self, claim: Claim) -> None:
        """Undo `_show_pieces`, as far as it went: all need another name, or are to be made anew."""
        gone = [number for number in range(len(claim.pieces)) if not self.trace.has_piece(number)]
        ours = [number for number in gone if self._is_shown(claim, number)]
        if not ours:
            return
        folder_name, name = split(claim.name)
        with self.target.folder(folder_name) as folder:
            for number in ours:
                old_name = claim.pieces[number].tail.of(name)
                os.rename(old_name, self.trace.piece(number), src_dir_fd=folder, dst_dir_fd=self.trace.work)
            sync_folder(folder)
        self.trace.sync()

    def is_committed(self, claim: Claim) -> bool:
        """Whether the record lies beside the claimed name and tells of this very delivery."""
        folder_name, name = split(claim.name)
        try:
            with self.target.folder(folder_name) as folder:
                told = sidecar.decode(read(folder, name + self.suffix) or b"")
                sync_folder(folder)  # the crash may have come before
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False
        # A person's words since, and what lies there is another image of the same original.
        published = claim.published_sha256 if told.edited else told.published_sha256
        said = told.path, told.source.sha256, published
        return said == (claim.path, claim.original.sha256, claim.published_sha256)

    def is_whole(self, claim: Claim) -> bool:
        """Whether each piece lies under the name that was chosen, and free then, or waits for it, whole."""
        # Each is looked at, whatever the others are, since a look removes second names.
        lacking = [
            number
            for number, piece in enumerate(claim.pieces)
            if not self._is_shown(claim, number)
            and sha256_at(self.trace.work, self.trace.piece(number)) != piece.sha256
        ]
        return not lacking

    def _is_shown(self, claim: Claim, number: int) -> bool:
        """Whether the piece's name holds exactly our bytes."""
        piece = claim.pieces[number]
        folder_name, name = split(claim.name)
        try:
            with self.target.folder(folder_name) as folder:
                if sha256_at(folder, piece.tail.of(name)) != piece.sha256:
                    return False
                sync_folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            return False
        self.trace.drop_piece(number)  # its second name, where a crash came between link and unlink
        return True

    def drop_reservations(self, claim: Claim) -> None:
        """Free the claimed names of the empty files with which a crash left them reserved.

        The names were free when the claim was written: an empty file that is younger than it is ours, if what
        it was to make room for still waits.
        """
        since = self.trace.claimed_at_ns() - _TIME_GRAIN_NS
        folder_name, name = split(claim.name)
        waiting = [piece.tail for number, piece in enumerate(claim.pieces) if self.trace.has_piece(number)]
        with self.target.folder(self.target.make_folder(folder_name)) as folder:
            for reserved in (*(tail.of(name) for tail in waiting), name + self.suffix):
                try:
                    there = os.stat(reserved, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(there.st_mode) and there.st_size == 0 and there.st_mtime_ns >= since:
                    remove(folder, reserved)

    def _free_names(self, claim: Claim) -> Iterator[str]:
        """The delivered paths of the picture, from the best, with which every name is free."""
        folder_name, name = split(claim.path)
        folder_name = self.target.make_folder(folder_name)
        tails = [*(piece.tail for piece in claim.pieces), Tail(self.suffix)]
        longest_suffix = max((tail.suffix for tail in tails if not tail.on_stem), key=len)
        with self.target.folder(folder_name) as folder:
            longest = min(LONGEST_NAME, os.fstatvfs(folder).f_namemax or LONGEST_NAME)
        for candidate in candidates(name, claim.original.sha256, suffix=longest_suffix, longest=longest):
            with self.target.folder(folder_name) as folder:
                is_free = not any(exists(folder, tail.of(candidate)) for tail in tails)
            if is_free:
                yield f"{folder_name}/{candidate}" if folder_name else candidate
