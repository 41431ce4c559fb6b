"""The dropped file itself: opened once for a claim, and taken out of the inbox once it is delivered.

A file that changed after it was claimed is a new one and stays.  A file to be taken out is first renamed to
`inbox/.captiond/grab/<job>`, looked at there, where other programs know no name for it, and only then
unlinked; if it is not what was claimed, it goes back under its name or, if that is taken, beside it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from captiond.delivery.claims import Claim, Original, looks_like
from captiond.delivery.files import NO_FILE, enter, exists, is_regular, sha256_of
from captiond.delivery.folders import WORK, Beneath, Folder
from captiond.delivery.moves import Move, move_beside
from captiond.errors import Surroundings, TryLater, as_surroundings
from captiond.records import Fingerprint
from captiond.support.lease import is_held_by_writer
from captiond.support.openat import open_file, open_folder, split, sync_folder

GRAB = "grab"
FORBIDDEN_RETRY_SECONDS = 60.0


@contextmanager
def opened(inbox: Beneath, path: str, fingerprint: Fingerprint) -> Iterator[int]:
    """The settled file, open for reading.

    Raises: TryLater, if it cannot be opened, or is not the file that settled; Surroundings.
    """
    if WORK in path.split("/"):
        raise TryLater(f"{WORK} is the daemon's own", after_seconds=FORBIDDEN_RETRY_SECONDS)
    try:
        file = open_file(inbox.root, path)
    except OSError as error:
        raise _not_opened(error) from error
    try:
        unchanged(file, fingerprint)
        yield file
    finally:
        os.close(file)


def unchanged(file: int, fingerprint: Fingerprint) -> None:
    if not is_regular(file):
        raise TryLater("it is not a regular file any more")
    if Fingerprint.of(os.fstat(file)) != fingerprint:
        raise TryLater("it changed after it had settled")


def must_be_removable(inbox: Folder, path: str) -> None:
    """Refuse an image now if it could not be taken out of the inbox after its captioning.

    Raises: TryLater, if its folder is not writable; Surroundings, if the file system is read-only.
    """
    try:
        with inbox.folder(split(path)[0]) as folder:
            if os.access(".", os.W_OK | os.X_OK, dir_fd=folder):
                return
            if os.fstatvfs(folder).f_flag & os.ST_RDONLY:
                raise as_surroundings(OSError(errno.EROFS, os.strerror(errno.EROFS)), "looking at the inbox")
    except OSError as error:
        raise _not_opened(error) from error
    raise TryLater(
        "its folder in the inbox is not writable, so that it could not be taken out after delivery",
        after_seconds=FORBIDDEN_RETRY_SECONDS,
        advice="Give the user that runs captiond write permission on the folder.",
    )


def _not_opened(error: OSError) -> TryLater | Surroundings:
    if error.errno in NO_FILE:
        return TryLater("it is gone, or no regular file any more")
    if error.errno in (errno.EACCES, errno.EPERM):
        return TryLater(
            "it may not be read",
            after_seconds=FORBIDDEN_RETRY_SECONDS,
            advice="Give the user that runs captiond read permission on the file.",
        )
    return as_surroundings(error, "opening an image in the inbox")


def remove(inbox: Folder, job: str, claim: Claim, move: Move, *, is_seen: bool) -> bool:
    """Take all originals of the claim out of the inbox; whether none of them is left there.

    False if a program has one open for writing: what it writes must not be lost.  True also if new files have
    the names by now.

    `is_seen`: this process has read the originals.  Else only the claim on disk vouches for them, and each is
    read once more before it goes.

    Raises: OSError, if one may not be removed; the others are taken all the same.
    """
    is_gone, trouble = True, None
    if claim.by_rename:
        return True  # it went there itself
    with _takings(inbox, job, claim, move, is_seen=is_seen) as takings:
        for taking in takings:
            try:
                is_gone &= taking.remove()
            except OSError as error:
                trouble = error
    if trouble is not None:
        raise trouble
    return is_gone


def put_back(inbox: Folder, job: str, claim: Claim, move: Move) -> None:
    """Put back into the inbox what a crash left half taken away."""
    with _takings(inbox, job, claim, move, is_seen=False) as takings:
        for taking in takings:
            taking.put_back()


@contextmanager
def _takings(inbox: Folder, job: str, claim: Claim, move: Move, *, is_seen: bool) -> Iterator[list[_Taking]]:
    grab = enter(inbox.work, GRAB, 0o700)
    try:
        originals = [(number, piece.original) for number, piece in enumerate(claim.pieces)]
        yield [
            _Taking(inbox, grab, f"{job}.{number}" if number else job, original, move, is_seen)
            for number, original in originals
            if original is not None
        ]
    finally:
        os.close(grab)


@dataclass(frozen=True, slots=True)
class _Taking:
    """One original on its way out."""

    inbox: Folder
    grab: int
    name: str  # in the grab
    original: Original
    move: Move
    is_seen: bool

    def remove(self) -> bool:
        self._put_back_left_over()
        folder_name, name = split(self.original.path)
        with ExitStack() as closing:
            try:
                folder = open_folder(self.inbox.root, folder_name)
                closing.callback(os.close, folder)
                file = open_file(folder, name)
                closing.callback(os.close, file)
            except OSError as error:
                if error.errno in NO_FILE:
                    return True
                raise
            if not _is_claimed(file, self.original, is_seen=self.is_seen):
                return True
            if is_held_by_writer(file):
                return False  # before the rename, so that it does not vanish for a moment
            seen = os.fstat(file)
            try:
                os.rename(name, self.name, src_dir_fd=folder, dst_dir_fd=self.grab)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return _remove_in_place(folder, name, file, seen)
            there = os.stat(self.name, dir_fd=self.grab, follow_symlinks=False)
            changed = not os.path.samestat(there, seen) or _content_of(there) != _content_of(seen)
            held = not changed and is_held_by_writer(file)
            if changed or held:
                self._put_back(folder, name)
            else:
                os.unlink(self.name, dir_fd=self.grab)
                sync_folder(self.grab)
                sync_folder(folder)
            return not held

    def _put_back_left_over(self) -> None:
        """Finish what a crash left between the grab and the unlink, or the grab and putting it back."""
        try:
            file = open_file(self.grab, self.name)
        except FileNotFoundError:
            return
        try:
            if _has_content_of(file, self.original):
                os.unlink(self.name, dir_fd=self.grab)
            else:
                self.put_back()
        finally:
            os.close(file)

    def put_back(self) -> None:
        if exists(self.grab, self.name):
            folder_name, name = split(self.original.path)
            with self.inbox.folder(self.inbox.make_folder(folder_name)) as folder:
                self._put_back(folder, name)

    def _put_back(self, folder: int, name: str) -> None:
        move_beside(self.move, (self.grab, self.name), (folder, name), self.original.sha256)
        sync_folder(folder)  # where it is now, before where it is no more
        sync_folder(self.grab)


def _remove_in_place(folder: int, name: str, file: int, seen: os.stat_result) -> bool:
    """Without a rename, if another volume is mounted inside the inbox: look, and unlink at once."""
    if is_held_by_writer(file):
        return False
    there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if os.path.samestat(there, seen) and _content_of(there) == _content_of(seen):
        os.unlink(name, dir_fd=folder)
        sync_folder(folder)
    return True


def _is_claimed(file: int, original: Original, *, is_seen: bool) -> bool:
    """Whether this is the very file that was delivered, and still has its content.

    A file that was touched, or renamed over with the same bytes, is.  The same bytes dropped anew are a new
    file, with another inode and another time; one of the two alone proves nothing, since network file systems
    number anew.
    """
    status, then = os.fstat(file), original.fingerprint
    if is_seen and Fingerprint.of(status) == then:
        return True
    if not is_regular(file) or status.st_size != then.size:
        return False
    if not original.sha256:
        return status.st_ino == then.inode and looks_like(original, status)
    if status.st_ino != then.inode and status.st_mtime_ns != then.modified_ns:
        return False
    return sha256_of(file) == original.sha256


def _has_content_of(file: int, original: Original) -> bool:
    if not original.sha256:
        return looks_like(original, os.fstat(file))
    return os.fstat(file).st_size == original.fingerprint.size and sha256_of(file) == original.sha256


def _content_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns  # the time of change changes with the rename
