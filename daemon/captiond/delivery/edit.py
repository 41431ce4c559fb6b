"""A person's words in place of the model's, for an image that lies in done/ with its sidecar.

    1 write     done/.captiond/revise/<job>.0       the image, with the new description where it can hold one
      write     done/.captiond/revise/<job>.1 ...   the .xmp and .txt beside it, where they say the old words
      write     done/.captiond/revise/<job>.json    the sidecar that says the new words
      write     done/.captiond/revise/<job>.claim   whose they are, and the checksums of old and new
      fsync     these files and their folder
    2 rename    done/X.caption.json -> <job>.old    from here on nobody is promised anything of X; fsync both
    3 exchange  <job>.0 <-> done/X, then the others likewise; fsync both
    4 move      <job>.json -> done/X.caption.json   = commit, without replacing; fsync
    5 remove    what is left, the claim last

This is the one place where a file in done/ gives way to another, and only to its twin: X must be the very
file of which its sidecar tells, and the exchange shows what it took.  A file that somebody else put there
meanwhile, or writes into, goes back, and the words are refused; a file beside it that changed meanwhile just
keeps what it says.  Where a file system knows no exchange, the file is looked at once more and renamed over:
between the two lie microseconds.

`settle` brings a begun edit to its end, the same way in the ordinary course and after a crash: forward
where the image can be had, else back to the sidecar that lay there.  Where X is missing by then it is put
there again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from captiond import sidecar
from captiond.delivery.attributes import Attributes
from captiond.delivery.companions import MOST_NOTE_BYTES
from captiond.delivery.files import (
    NO_FILE,
    READ,
    contents,
    enter,
    exists,
    is_regular,
    known,
    names_in,
    read,
    remove,
    sha256_at,
    sha256_of,
    sync_folder,
    write,
)
from captiond.delivery.folders import WORK, Folder
from captiond.delivery.moves import REFUSES_FLAG, Move
from captiond.errors import NotThere, TryLater
from captiond.names import candidates, job_id, shown
from captiond.records import Delivered, Notes, RulesOf, Texts
from captiond.sidecar import Record
from captiond.sidecar.companions import TEXT, XMP, Tail, tails
from captiond.support.lease import is_held_by_writer
from captiond.support.openat import split

_REVISE = "revise"
_TIME_GRAIN_NS = 2_000_000_000  # FAT keeps every other second


class Overtaken(TryLater):
    """Somebody else changed the caption since it was looked at."""

    def __init__(self, path: str, caption: str) -> None:
        super().__init__(f"the caption of {shown(path)} was changed meanwhile")
        self.caption = caption


class Edits:
    """One at a time, whoever asks."""

    def __init__(self, rules_of: RulesOf, move: Move, exchange: Move) -> None:
        self._rules_of = rules_of
        self._move = move
        self._exchange = exchange
        self._one_at_a_time = threading.Lock()

    def edit(self, done: Folder, path: str, caption: str, at: datetime, was: str | None) -> Delivered:
        """NotThere if no captioned image has that path; TryLater if it is not what was delivered."""
        with self._one_at_a_time, _work(done) as work:
            self._recover(done, work)
            old = _read(done, path)
            if was is not None and old.texts.caption not in (was, caption):
                raise Overtaken(path, old.texts.caption)
            if old.texts.caption == caption:
                return _delivered(path, old.record, old.record.published_sha256)
            edit = self._stage(done, work, path, old, replace(old.texts, caption=caption), at)
            try:
                edit.uncommit()
                stands = edit.settle()
            except OSError:
                if not edit.settle():  # one more try, now; else at the next start or the next edit
                    raise
                stands = True
            if not stands:
                raise _changed(path)
            return _delivered(path, old.record, edit.claim.pieces[0].new)

    def recover(self, done: Folder) -> None:
        """Bring to an end what a crash or a trouble left."""
        if exists(done.work, _REVISE):
            with self._one_at_a_time, _work(done) as work:
                self._recover(done, work)

    def _recover(self, done: Folder, work: int) -> None:
        for job in sorted({name.partition(".")[0] for name in names_in(work)}):
            claim = _claim_from(read(work, f"{job}.claim"))
            if claim is None:
                _remove_all(work, job)
            else:
                _Edit(done, work, job, claim, self._move, self._exchange).settle()

    def _stage(self, done: Folder, work: int, path: str, old: _Old, texts: Texts, at: datetime) -> _Edit:
        """Step 1: all that is needed, durable, and nothing of it shown."""
        told = old.record
        folder_name, name = split(path)
        with known(path), done.folder(folder_name) as folder:
            image = _File.read(folder, name)
            beside = _beside(folder, name)
        if image.sha256 != told.published_sha256:
            raise _changed(path)
        xmp, text = (beside[kind][1].data if kind in beside else None for kind in (XMP, TEXT))
        describe, format = self._rules_of(told.path).describe, told.source.format or ""
        described = describe(image.data, format, texts, notes=Notes(xmp, text), own=old.texts)
        files, contents, merged = [image], [described.data], {}
        for kind, content in ((XMP, described.xmp), (TEXT, described.text)):
            if content is not None and kind in beside and content != beside[kind][1].data:
                tail, file = beside[kind]
                files.append(file.at(at))
                contents.append(content)
                merged[tail.of(split(told.path)[1])] = content
        new_record = told.revised(texts, described, merged, at).encoded()
        pieces = tuple(
            _Piece(file.name, file.sha256, _sha256(content))
            for file, content in zip(files, contents, strict=True)
        )
        claim = _Claim(path, pieces, _sha256(old.data), _sha256(new_record))
        job = job_id(path, claim.new_record)
        with ExitStack() as undo:
            undo.callback(_remove_all, work, job)  # it may be what fills the disk
            for number, (file, content) in enumerate(zip(files, contents, strict=True)):
                write(work, f"{job}.{number}", [content], file.attributes.give)
            write(work, f"{job}.json", [new_record], image.attributes.give_record)
            write(work, f"{job}.claim", [json.dumps(asdict(claim)).encode()])
            sync_folder(work)
            undo.pop_all()
        return _Edit(done, work, job, claim, self._move, self._exchange)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of done/ as it is before."""

    name: str
    data: bytes = field(repr=False)
    attributes: Attributes

    @classmethod
    def read(cls, folder: int, name: str, *, most_bytes: int | None = None) -> _File:
        """FileNotFoundError where there is no regular file of that name, or one of more bytes."""
        file = os.open(name, READ, dir_fd=folder)
        try:
            size = os.fstat(file).st_size
            if not is_regular(file) or (most_bytes is not None and size > most_bytes):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            return cls(name, contents(file, size), Attributes.of(file))
        finally:
            os.close(file)

    @property
    def sha256(self) -> str:
        return _sha256(self.data)

    def at(self, moment: datetime) -> _File:
        """What programs read beside an image they read again where its time is new."""
        return replace(self, attributes=self.attributes.at(int(moment.timestamp() * 1e9)))


def _beside(folder: int, name: str) -> dict[str, tuple[Tail, _File]]:
    """The .xmp and the .txt beside an image, where they are there; of several the better known."""
    found: dict[str, tuple[Tail, _File]] = {}
    for tail in tails(text=True):
        kind = tail.suffix.lower()
        if kind in (XMP, TEXT) and kind not in found:
            try:
                found[kind] = tail, _File.read(folder, tail.of(name), most_bytes=MOST_NOTE_BYTES)
            except OSError as error:
                if error.errno not in NO_FILE | {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}:
                    raise
    return found


@dataclass(frozen=True, slots=True)
class _Piece:
    """One file of done/, and the checksums by which old and new are told apart."""

    name: str  # in the image's folder
    old: str
    new: str  # the same where an image's format holds no description


@dataclass(frozen=True, slots=True)
class _Claim:
    """Which image of done/, and all that is to change with it."""

    path: str
    pieces: tuple[_Piece, ...]  # the image first
    old_record: str
    new_record: str


@dataclass(frozen=True, slots=True)
class _Edit:
    done: Folder
    work: int  # done/.captiond/revise
    job: str
    claim: _Claim
    move: Move
    exchange: Move

    def _staged(self, number: int) -> str:
        """The new piece; after the exchange the old one."""
        return f"{self.job}.{number}"

    @property
    def _new(self) -> str:
        return f"{self.job}.json"

    @property
    def _old(self) -> str:
        return f"{self.job}.old"

    def uncommit(self) -> None:
        """Step 2."""
        folder_name, name = split(self.claim.path)
        with self.done.folder(folder_name) as folder:
            os.rename(name + sidecar.CAPTION_SUFFIX, self._old, src_dir_fd=folder, dst_dir_fd=self.work)
            sync_folder(self.work)  # where it is now, before where it is no more
            sync_folder(folder)

    def settle(self) -> bool:
        """To the end, forward or back, from wherever it stands; whether the person's words stand now."""
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
        self._drop_reservations(folder, (name, record))
        if not exists(self.work, self._old) or not exists(self.work, self._new):
            return False  # committed, or never begun; and somebody has taken the sidecar away since
        is_new = self._show_image(folder)
        for number in range(1, len(self.claim.pieces) if is_new else 0):
            if self._is_to_come(folder, number):
                self._swap(folder, number)
        try:
            self.move(self.work, self._new if is_new else self._old, folder, record)
        except FileExistsError:  # somebody else's sidecar lies there now
            return False
        return is_new

    def _show_image(self, folder: int) -> bool:
        """Whether the new image has its name; the old one keeps it where anything is not as it was."""
        image = self.claim.pieces[0]
        if sha256_at(self.work, self._old) != self.claim.old_record:
            return False  # another sidecar than we had read was taken away, a moment ago
        there, staged = sha256_at(folder, image.name), sha256_at(self.work, self._staged(0))
        if there == image.new:
            return True
        if self._is_to_come(folder, 0):
            return self._swap(folder, 0)
        if not exists(folder, image.name) and staged is not None:
            self.move(self.work, self._staged(0), folder, image.name)
            sync_folder(folder)
            return staged == image.new
        # Changed by somebody else: before the exchange, or after it.
        return there != image.old and staged != image.new

    def _is_to_come(self, folder: int, number: int) -> bool:
        piece = self.claim.pieces[number]
        is_old = sha256_at(folder, piece.name) == piece.old
        return is_old and sha256_at(self.work, self._staged(number)) == piece.new

    def _swap(self, folder: int, number: int) -> bool:
        """Step 3, if what it takes is the very file whose checksum is the old one; else it is undone."""
        piece, staged = self.claim.pieces[number], self._staged(number)
        file = os.open(piece.name, READ, dir_fd=folder)
        try:
            try:
                self.exchange(self.work, staged, folder, piece.name)
            except OSError as error:
                if error.errno not in REFUSES_FLAG:
                    raise
                is_ours = _is_still(folder, piece.name, file, piece.old)
                if is_ours:
                    os.rename(staged, piece.name, src_dir_fd=self.work, dst_dir_fd=folder)
            else:
                is_ours = _is_still(self.work, staged, file, piece.old)
                if not is_ours:
                    self.exchange(self.work, staged, folder, piece.name)
        finally:
            os.close(file)
        sync_folder(folder)
        sync_folder(self.work)
        return is_ours

    def _drop_reservations(self, folder: int, names: Collection[str]) -> None:
        """Free the names that a crash left reserved: empty files that are younger than the claim."""
        claimed = os.stat(f"{self.job}.claim", dir_fd=self.work, follow_symlinks=False)
        for name in names:
            try:
                there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            is_empty = stat.S_ISREG(there.st_mode) and there.st_size == 0
            if is_empty and there.st_mtime_ns >= claimed.st_mtime_ns - _TIME_GRAIN_NS:
                remove(folder, name)

    def _forget(self, folder: int) -> None:
        """Step 5.  What turns out to be neither the old file nor the new one is somebody's, and kept."""
        for number, piece in enumerate(self.claim.pieces):
            left = sha256_at(self.work, self._staged(number))
            if left in (None, piece.old, piece.new):
                continue
            for free in candidates(piece.name, left or "", suffix=sidecar.CAPTION_SUFFIX):
                try:
                    self.move(self.work, self._staged(number), folder, free)
                    break
                except FileExistsError:
                    continue
            sync_folder(folder)
        _remove_all(self.work, self.job)


def _remove_all(work: int, job: str) -> None:
    claims = f"{job}.claim", f"{job}.claim.new"
    for name in names_in(work):
        if name.startswith(f"{job}.") and name not in claims:
            remove(work, name)
    # A trace without a claim is deleted here.  A claim without traces is deleted by the next recovery.
    sync_folder(work)
    for name in claims:
        remove(work, name)


@dataclass(frozen=True, slots=True)
class _Old:
    """The sidecar that lies there: its bytes, by whose checksum it is known again, and what it says."""

    data: bytes = field(repr=False)
    record: Record
    texts: Texts


def _read(done: Folder, path: str) -> _Old:
    if WORK in path.split("/"):
        raise NotThere
    folder_name, name = split(path)
    with known(path), done.folder(folder_name) as folder:
        data = read(folder, name + sidecar.CAPTION_SUFFIX) or b""
        record = sidecar.decode(data)
    if record.texts is None:
        raise NotThere
    return _Old(data, record, record.texts)


def _delivered(path: str, record: Record, sha256: str) -> Delivered:
    name = path + sidecar.CAPTION_SUFFIX
    return Delivered(path, name, sha256, "done", record.path, record.source.sha256)


def _is_still(folder: int, name: str, file: int, sha256: str) -> bool:
    """Whether the name leads to this very file, and nobody has written or writes into it."""
    there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    is_same = os.path.samestat(there, os.fstat(file))
    return is_same and not is_held_by_writer(file) and sha256_of(file) == sha256


def _changed(path: str) -> TryLater:
    return TryLater(
        f"{shown(path)} is not, or not any more, the file that was captioned",
        advice="Another program has changed it, or writes to it; in the inbox it is captioned anew.",
    )


def _claim_from(text: bytes | None) -> _Claim | None:
    try:
        told = json.loads(text or b"")
        return _Claim(**{**told, "pieces": tuple(_Piece(**piece) for piece in told["pieces"])})
    except (ValueError, TypeError, LookupError):
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _work(done: Folder) -> Iterator[int]:
    work = enter(done.work, _REVISE)
    try:
        yield work
    finally:
        os.close(work)
