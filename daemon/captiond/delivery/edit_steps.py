"""Steps 2 to 5 of an edit, from its traces: forward if the image can be had, else back; see `edit`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from captiond import sidecar
from captiond.delivery.files import exists, sha256_at
from captiond.delivery.folders import Folder
from captiond.delivery.journal import RECORD, Trace
from captiond.delivery.moves import Move, drop_reservations, move_beside
from captiond.delivery.swap import swap, take
from captiond.names import checked_name, checked_path
from captiond.sidecar import checked
from captiond.sidecar.decode import read_json
from captiond.support.openat import split, sync_folder

_OLD = "old"


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of done/, and the checksums that tell its old bytes from its new ones."""

    name: str  # in the image's folder
    old: str  # empty: there was none, and no other is replaced
    new: str  # the same if an image's format holds no description; empty: it is taken away


@dataclass(frozen=True, slots=True)
class Claim:
    """Which image of done/ is edited, and every file that changes with it."""

    path: str
    pieces: tuple[Piece, ...]  # the image first
    old_record: str
    new_record: str


@dataclass(frozen=True, slots=True)
class Edit:
    done: Folder
    trace: Trace  # in done/.captiond/revise
    claim: Claim
    move: Move
    exchange: Move

    @property
    def work(self) -> int:
        return self.trace.work

    @property
    def _new(self) -> str:
        return self.trace.name(RECORD)

    @property
    def _old(self) -> str:
        return self.trace.name(_OLD)

    def _staged(self, number: int) -> str:
        """The name of the new piece in `work`; after the exchange the old one has it."""
        return self.trace.name(str(number))

    def uncommit(self) -> None:
        """Step 2."""
        folder_name, name = split(self.claim.path)
        with self.done.folder(folder_name) as folder:
            os.rename(name + sidecar.CAPTION_SUFFIX, self._old, src_dir_fd=folder, dst_dir_fd=self.work)
            sync_folder(self.work)  # where it is now, before where it is no more
            sync_folder(folder)

    def settle(self) -> bool:
        """Bring the edit to its end, forward or back, from any step; whether the new texts stand now."""
        folder_name, name = split(self.claim.path)
        with self.done.folder(self.done.make_folder(folder_name)) as folder:
            stands = self._show(folder, name)
            sync_folder(folder)
            self._forget(folder)
        return stands

    def _show(self, folder: int, name: str) -> bool:
        record = name + sidecar.CAPTION_SUFFIX
        there = sha256_at(folder, record)
        if there in (self.claim.old_record, self.claim.new_record):  # not begun yet, or committed
            return there == self.claim.new_record
        made = (piece.name for piece in self.claim.pieces if not piece.old)
        drop_reservations(folder, (name, record, *made), claimed_at_ns=self.trace.claimed_at_ns())
        if not self.trace.has(_OLD) or not self.trace.has(RECORD):
            return False  # committed, or never begun; and another program took the sidecar away since
        is_new = self._show_image(folder)
        for number in range(1, len(self.claim.pieces) if is_new else 0):
            if self._is_to_come(folder, number):
                self._change(folder, number)
        try:
            self.move(self.work, self._new if is_new else self._old, folder, record)
        except FileExistsError:  # another program's sidecar lies there now
            return False
        return is_new

    def _show_image(self, folder: int) -> bool:
        """Give the new image its name, if all is as it was; whether it has it."""
        image = self.claim.pieces[0]
        if sha256_at(self.work, self._old) != self.claim.old_record:
            return False  # step 2 took away another sidecar than the one we had read
        there, staged = sha256_at(folder, image.name), sha256_at(self.work, self._staged(0))
        if there == image.new:
            return True
        if self._is_to_come(folder, 0):
            return self._swap(folder, 0)
        if not exists(folder, image.name) and staged is not None:
            self.move(self.work, self._staged(0), folder, image.name)
            sync_folder(folder)
            return staged == image.new
        # Another program changed it: before the exchange (False), or after it (True).
        return there != image.old and staged != image.new

    def _is_to_come(self, folder: int, number: int) -> bool:
        piece, staged = self.claim.pieces[number], sha256_at(self.work, self._staged(number))
        if not piece.old:
            return staged == piece.new and not exists(folder, piece.name)
        awaited = (piece.new,) if piece.new else (None, piece.old)
        return staged in awaited and sha256_at(folder, piece.name) == piece.old

    def _change(self, folder: int, number: int) -> None:
        """Step 3 for a file beside the image: if another program was faster, its file stays."""
        piece, staged = self.claim.pieces[number], self._staged(number)
        if piece.old and piece.new:
            self._swap(folder, number)
            return
        try:
            if piece.new:
                self.move(self.work, staged, folder, piece.name)
                sync_folder(folder)
                sync_folder(self.work)
            else:
                take(folder, piece.name, self.work, staged, piece.old, move=self.move)
        except (FileExistsError, FileNotFoundError):
            pass

    def _swap(self, folder: int, number: int) -> bool:
        """Step 3.  It is undone if the exchange took another file than the one with the old checksum."""
        piece, staged = self.claim.pieces[number], self._staged(number)
        is_ours = swap(self.work, staged, folder, piece.name, piece.old, exchange=self.exchange)
        sync_folder(folder)
        sync_folder(self.work)
        return is_ours

    def _forget(self, folder: int) -> None:
        """Step 5.  A file that is neither the old nor the new one is another program's, and is kept."""
        for number, piece in enumerate(self.claim.pieces):
            left = sha256_at(self.work, self._staged(number))
            if left in (None, piece.old, piece.new):
                continue
            move_beside(
                self.move,
                (self.work, self._staged(number)),
                (folder, piece.name),
                left or "",
                suffix=sidecar.CAPTION_SUFFIX,
            )
            sync_folder(folder)
        self.trace.forget()


def claim_from(text: bytes) -> Claim:
    """Raises: ValueError, if no edit can have written this."""
    try:
        told = read_json(text)
        pieces = tuple(_piece_from(piece) for piece in told["pieces"])
        records = checked.digest(told["old_record"]), checked.digest(told["new_record"])
        claim = Claim(checked_path(told["path"]), pieces, *records)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a claim of an edit: {error!r}") from error
    if not pieces or pieces[0].name != split(claim.path)[1] or not (pieces[0].old and pieces[0].new):
        raise ValueError("not a claim of an edit: of no picture")
    return claim


def _piece_from(told: Mapping[str, Any]) -> Piece:
    old, new = ("" if told[key] == "" else checked.digest(told[key]) for key in ("old", "new"))
    if not (old or new):
        raise ValueError("not a claim of an edit: a file that neither was nor is to be")
    return Piece(checked_name(told["name"]), old, new)
