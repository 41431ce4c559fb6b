"""Steps 3 and 4: from traces in `.captiond/` to an image and its company under their names, then the record.

One `Steps` is one delivery on its way into one folder.  The claim holds the chosen names and is durable
before they are used, so that a crash after any line here leaves what `recovery` can read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from captiond import sidecar
from captiond.delivery.claims import Claim, DeliveryTrace, Piece, holds
from captiond.delivery.files import NO_FILE, exists, read
from captiond.delivery.folders import REFUSED_NAMES, Folder, is_refused
from captiond.delivery.moves import Move, drop_reservations
from captiond.errors import TryLater
from captiond.names import LONGEST_NAME, candidates, fitting
from captiond.sidecar.companions import Tail
from captiond.support.openat import split, sync_folder


@dataclass(frozen=True, slots=True)
class Steps:
    inbox: Folder
    target: Folder
    trace: DeliveryTrace
    move: Move

    @property
    def suffix(self) -> str:
        return sidecar.SUFFIXES[self.target.name]

    def claim_for(
        self, pieces: Sequence[Piece], *, by_rename: bool = False, folder: str | None = None
    ) -> Claim:
        """A claim with the best name that is free just now, in that folder."""
        claim = Claim("", tuple(pieces), by_rename, folder=folder)
        return replace(claim, name=self._first_name(claim))

    def commit(self, claim: Claim) -> Claim:
        """Show the pieces, then the record, under the first free names; the claim with these names.

        A name that the file system refuses is replaced.

        Raises: OSError, if it refuses all names, and then nothing is shown and the claim is gone; TryLater,
        if another program changed what was shown before the commit.
        """
        calls = fitting(split(claim.path)[1])
        names: Iterator[str] = chain([claim.name], self._free_names(claim, next(calls)))
        while True:
            try:
                claim = self._called(claim, next(names))
                self._show_pieces(claim)
                self.commit_shown(claim)
                return claim
            except FileExistsError:  # another program took one of the names since we looked
                self.hide(claim)
                if not all(map(self.trace.has_piece, range(len(claim.pieces)))):
                    # What was shown is theirs now; recovery makes the missing piece anew.
                    raise TryLater("somebody changed what was shown of it before it was delivered") from None
            except OSError as error:
                if not is_refused(self.target.root, split(claim.name)[1], error):
                    raise
                self.hide(claim)
                names = self._names_instead(claim, calls, error)

    def _called(self, claim: Claim, name: str) -> Claim:
        """The claim with this name, written durably."""
        if name == claim.name:
            return claim
        claim = replace(claim, name=name)
        self.trace.write_claim(claim)
        self.trace.sync()
        return claim

    def commit_shown(self, claim: Claim) -> None:
        """Step 4 alone.  Raises: FileExistsError, if the record's name is taken; then nothing was done."""
        self._show_record(claim)
        self.trace.mark_delivered()

    def _names_instead(self, claim: Claim, calls: Iterator[str], refused: OSError) -> Iterator[str]:
        for call in calls:
            return self._free_names(claim, call)
        self.trace.clear(but=(self.trace.record, self.trace.image))  # kept for the next try
        self.trace.sync()
        raise refused

    def _show_pieces(self, claim: Claim) -> None:
        """Move the pieces to their names, the picture first; those that are there already stay."""
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
        """Undo `_show_pieces`, as far as it went: the pieces need other names, or are to be made anew."""
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
                sync_folder(folder)  # a crash may have come before step 4 did this
        except ValueError:
            return False
        except OSError as error:
            if error.errno in NO_FILE:
                return False
            raise
        # If its texts were changed or approved since, what lies there is another image of the same original.
        published = claim.published_sha256 if told.is_rewritten else told.published_sha256
        said = told.path, told.source.sha256, published
        return said == (claim.path, claim.original.sha256, claim.published_sha256)

    def is_whole(self, claim: Claim) -> bool:
        """Whether each piece is whole, under the name that was claimed for it or still in `.captiond/`."""
        # No early end: `_is_shown` also removes second names, of every piece.
        lacking = [
            number
            for number, piece in enumerate(claim.pieces)
            if not self._is_shown(claim, number)
            and not holds(self.trace.work, self.trace.piece(number), piece)
        ]
        return not lacking

    def _is_shown(self, claim: Claim, number: int) -> bool:
        """Whether the piece's name holds exactly our bytes."""
        piece = claim.pieces[number]
        folder_name, name = split(claim.name)
        try:
            with self.target.folder(folder_name) as folder:
                if not holds(folder, piece.tail.of(name), piece):
                    return False
                sync_folder(folder)
        except OSError as error:
            if error.errno in NO_FILE:
                return False
            raise
        self.trace.drop_piece(number)  # its second name, if a crash came between link and unlink
        return True

    def drop_reservations(self, claim: Claim) -> None:
        """Remove the empty files with which a crash left the claimed names reserved.

        The names were free when the claim was written: an empty file that is younger than the claim is ours,
        if the piece that was to replace it still waits.
        """
        folder_name, name = split(claim.name)
        waiting = [
            piece.tail
            for number, piece in enumerate(claim.pieces)
            if claim.by_rename or self.trace.has_piece(number)
        ]
        names = [*(tail.of(name) for tail in waiting), name + self.suffix]
        with self.target.folder(self.target.make_folder(folder_name)) as folder:
            drop_reservations(folder, names, claimed_at_ns=self.trace.claimed_at_ns())

    def _first_name(self, claim: Claim) -> str:
        refused: OSError | None = None
        for call in fitting(split(claim.path)[1]):
            try:
                return next(self._free_names(claim, call))
            except OSError as error:
                if error.errno not in REFUSED_NAMES:
                    raise
                refused = error
        raise refused or AssertionError

    def _free_names(self, claim: Claim, call: str) -> Iterator[str]:
        """The paths for the picture, best first, with which the names of all pieces and record are free."""
        folder_name = self.target.make_folder(claim.wanted_folder)
        tails = [*(piece.tail for piece in claim.pieces), Tail(self.suffix)]
        longest_suffix = max((tail.suffix for tail in tails if not tail.on_stem), key=len)
        with self.target.folder(folder_name) as folder:
            longest = min(LONGEST_NAME, os.fstatvfs(folder).f_namemax or LONGEST_NAME)
        digest = claim.original.sha256 or self.trace.job
        for candidate in candidates(call, digest, suffix=longest_suffix, longest=longest):
            with self.target.folder(folder_name) as folder:
                is_free = not any(exists(folder, tail.of(candidate)) for tail in tails)
            if is_free:
                yield f"{folder_name}/{candidate}" if folder_name else candidate
