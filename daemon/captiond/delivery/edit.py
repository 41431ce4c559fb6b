"""Other texts for an image that lies in done/ with its sidecar: of a person, of a model, approved, or former.

    1 write     done/.captiond/revise/<job>.0       the image, with the new texts as far as it can hold them
      write     done/.captiond/revise/<job>.1 ...   the .xmp and .txt beside it, if they say the old texts or,
                                                    when texts are approved, are to say the new ones
      write     done/.captiond/revise/<job>.json    the sidecar that says the new ones
      write     done/.captiond/revise/<job>.claim   whose they are, and the checksums of old and new
      fsync     these files and their folder
    2 rename    done/X.caption.json -> <job>.old    from here on X is promised to no reader; fsync both
    3 exchange  <job>.0 <-> done/X, then the others in the same way; fsync both
      move      <job>.1 -> beside X, without replacing, if approved texts make a file there
      move      beside X -> <job>.1, if an approval is undone and this is the very file that it made
    4 move      <job>.json -> done/X.caption.json   = commit, without replacing; fsync
    5 remove    what is left, the claim last

This is the one place where a file in done/ gives way to another, and only to its twin: X must be the very
file of which its sidecar tells, and the exchange shows what it took.  If that is a file that another program
put there meanwhile, or writes into, it goes back, and the texts are refused; a file beside X that changed
meanwhile just keeps what it says.  If a file system knows no exchange, the file is looked at once more and
renamed over: between the two lie microseconds.  `laying` composes what the files are to say.

`settle` brings a begun edit to its end, in the ordinary course as after a crash: forward if the new image can
get its name, else back to the sidecar that lay there.  If X is missing by then, `settle` puts it there again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from captiond import sidecar
from captiond.delivery.edit_steps import Claim, Edit, Piece, claim_from
from captiond.delivery.files import (
    contents,
    enter,
    exists,
    give_to_owner_of,
    is_regular,
    known,
    read,
)
from captiond.delivery.folders import WORK, Folder
from captiond.delivery.journal import CLAIM, RECORD, Trace, jobs
from captiond.delivery.laying import File, Laying
from captiond.delivery.moves import Move
from captiond.delivery.not_understood import Tell, put_by
from captiond.delivery.troubles import of_one_picture
from captiond.errors import NotThere, TryLater
from captiond.names import checked_path, job_id, shown
from captiond.records import Delivered, Fingerprint, Outcome, RulesOf, Texts
from captiond.sidecar import Record
from captiond.support.lease import is_held_by_writer
from captiond.support.openat import FILE, split

_REVISE = "revise"


# From a record to the record that is to replace it; the same one if nothing is to change.  It may raise a
# verdict.
Revise = Callable[[Record], Record]


class Overtaken(TryLater):
    """The texts were changed since the person looked at them."""

    def __init__(self, path: str, caption: str) -> None:
        super().__init__(f"the caption of {shown(path)} was changed meanwhile")
        self.caption = caption


class Changed(TryLater):
    """The picture is not, or no longer, the one that its record tells of."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{shown(path)} is not, or not any more, the file that was captioned",
            advice="Another program has changed it, or writes to it; in the inbox it is captioned anew.",
        )


class Held(Changed):
    """A program has the picture open for writing."""


@dataclass(frozen=True, slots=True)
class Look:
    """A delivered picture as it is, with the record beside it."""

    record: Record
    texts: Texts
    data: bytes = field(repr=False)
    fingerprint: Fingerprint


class Edits:
    """Runs one edit at a time, within this process and among all processes that edit this done/."""

    def __init__(self, rules_of: RulesOf, move: Move, exchange: Move, tell: Tell) -> None:
        self._rules_of = rules_of
        self._tell = tell
        self._move = move
        self._exchange = exchange
        self._one_at_a_time = threading.Lock()

    def rewrite(self, done: Folder, path: str, revise: Revise, at: datetime) -> tuple[Delivered, Record]:
        """Replace the texts of done/`path`; the picture and its record as they stand then.

        Raises: NotThere, if no captioned image has that path; TryLater, if it is not what was delivered.
        """
        with self._one_at_a_time, _work(done) as work:
            self._recover(done, work)
            old = _read(done, path)
            new = revise(old.record)
            if new == old.record:
                return _delivered(path, new), new
            with of_one_picture(done, path):
                edit, record = self._stage(done, work, path, old, new, at)
                try:
                    edit.uncommit()
                    stands = edit.settle()
                except OSError:
                    if not edit.settle():  # one more try, now; else at the next start or the next edit
                        raise
                    stands = True
            if not stands:
                raise Changed(path)
            return _delivered(path, record), record

    def look(self, done: Folder, path: str) -> Look:
        """The picture done/`path`, read through one descriptor, and its record.

        Raises: NotThere, if no captioned image has that path; Changed; Held.
        """
        with self.at_rest(done):
            old = _read(done, path)
        folder_name, name = split(path)
        with known(path), done.folder(folder_name) as folder:
            file = os.open(name, FILE, dir_fd=folder)
        try:
            told = Fingerprint.of(os.fstat(file))
            data = contents(file, told.size) if is_regular(file) else b""
            if is_held_by_writer(file):
                raise Held(path)
            if _sha256(data) != old.record.published_sha256:
                raise Changed(path)
            return Look(old.record, old.texts, data, told)
        finally:
            os.close(file)

    def seen(self, done: Folder, path: str) -> Outcome:
        """What the record beside done/`path` says.  Raises: NotThere, if no captioned image has that path."""
        with self.at_rest(done):
            record = _read(done, path).record
        return record.outcome(_delivered(path, record), datetime.now(UTC))

    @contextmanager
    def at_rest(self, done: Folder) -> Iterator[None]:
        """While this lasts no edit runs: a reader might come between steps 2 and 4, and see no sidecar."""
        with self._one_at_a_time, _work(done) if exists(done.work, _REVISE) else nullcontext():
            yield

    def recover(self, done: Folder) -> None:
        """Bring to an end what a crash or a trouble left."""
        if exists(done.work, _REVISE):
            with self._one_at_a_time, _work(done) as work:
                self._recover(done, work)

    def _recover(self, done: Folder, work: int) -> None:
        """Settle each edit by itself: trouble with one image stops no other, and waits for the next time."""
        for trace in (Trace(work, job) for job in jobs(work)):
            try:
                trace.must_be_files()
                claim = trace.read(CLAIM)
                if claim is None:
                    trace.forget()
                    continue
                edit = Edit(done, trace, claim_from(claim), self._move, self._exchange)
                with suppress(TryLater), of_one_picture(done, edit.claim.path):
                    edit.settle()
            except ValueError as error:
                put_by(done.work, work, trace.names(), error, done.path / WORK, self._tell)

    def _stage(
        self, done: Folder, work: int, path: str, old: _Old, told: Record, at: datetime
    ) -> tuple[Edit, Record]:
        """Step 1: write all that is needed, durably, and show none of it; the edit and the new record."""
        folder_name, name = split(path)
        with known(path), done.folder(folder_name) as folder:
            image = File.read(folder, name)
            if image.sha256 != told.published_sha256:
                raise Changed(path)
            rules = self._rules_of(told.path)
            laid = Laying(done, folder, path, image, old.record, told, rules, at).laid()
        new_record = laid.record.encoded()
        pieces = tuple(Piece(one.name, one.old or "", _sha256_if(one.new)) for one in laid.changes)
        claim = Claim(path, pieces, _sha256(old.data), _sha256(new_record))
        trace = Trace(work, job_id(path, claim.new_record))
        with ExitStack() as undo:
            undo.callback(trace.forget)  # it may be what fills the disk
            for number, change in enumerate(laid.changes):
                if change.new is not None:
                    trace.write(str(number), [change.new], change.give)
            trace.write(RECORD, [new_record], image.attributes.give_record)
            # Root may run this beside a daemon that is not root.
            trace.note(CLAIM, claim, partial(give_to_owner_of, work))
            trace.sync()
            undo.pop_all()
        return Edit(done, trace, claim, self._move, self._exchange), laid.record


@dataclass(frozen=True, slots=True)
class _Old:
    """The sidecar that lies in done/: its bytes, whose checksum identifies it later, and what it says."""

    data: bytes = field(repr=False)
    record: Record
    texts: Texts


def _read(done: Folder, path: str) -> _Old:
    with known(path):
        folder_name, name = split(checked_path(path))
    with known(path), done.folder(folder_name) as folder:
        data = read(folder, name + sidecar.CAPTION_SUFFIX) or b""
        record = sidecar.decode(data)
    if record.texts is None:
        raise NotThere
    return _Old(data, record, record.texts)


def _delivered(path: str, record: Record) -> Delivered:
    name = path + sidecar.CAPTION_SUFFIX
    return Delivered(path, name, record.published_sha256, "done", record.path, record.source.sha256)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256_if(data: bytes | None) -> str:
    return "" if data is None else _sha256(data)


@contextmanager
def _work(done: Folder) -> Iterator[int]:
    work = enter(done.work, _REVISE, 0o700)
    try:
        fcntl.flock(work, fcntl.LOCK_EX)  # a command may be at it, beside the daemon
        yield work
    finally:
        os.close(work)
