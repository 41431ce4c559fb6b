"""Asks exiftool to put a finished EXIF block into a file whose parts would have to be moved: HEIC and AVIF.

It also asks for the preview in a RAW that nothing else reads; that is decoded like any other untrusted file.

One process is kept open, since starting one costs more than writing a file.  It gets copies in files that
have no name, so that neither a user's file nor a folder is within its reach, and it ends with this process,
however that ends.  Its answers are never trusted: `metadata.heif` proves what it gives back.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import select
import shutil
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Protocol

from captiond.metadata.refusal import Refused

TIMEOUT_SECONDS = 30.0
FILES_EACH = 500  # files per process, so that nothing piles up in it
_ROOM_BYTES = 1 << 20  # how much a file may grow, besides the block
_CHUNK_BYTES = 1 << 20


PREVIEWS = ("JpgFromRaw", "PreviewImage", "OtherImage")  # the largest first, in most cameras' files
_JPEG = b"\xff\xd8\xff"


class _Question(Protocol):
    def __call__(self, process: _Process, /, *, timeout_seconds: float) -> bytes: ...


class _Failed(Refused):
    """This process gave no usable answer; another one might."""


class Exiftool:
    """At most one process, started at the first need for it; safe to call from several threads."""

    def __init__(self, *, timeout_seconds: float = TIMEOUT_SECONDS, files_each: int = FILES_EACH) -> None:
        self._timeout_seconds = timeout_seconds
        self._files_each = files_each
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def place(self, data: bytes, block: bytes) -> bytes:
        """The file with `block` as its EXIF, as exiftool writes it.  Raises: Refused, if it does not."""
        return self._asked(partial(_Process.place, data=data, block=block))

    def _asked(self, question: _Question) -> bytes:
        with self._lock:
            try:
                if self._process is not None:
                    with suppress(_Failed):  # earlier files may have broken the process: try a fresh one
                        return self._answer(self._process, question)
                self._process = _Process()
                return self._answer(self._process, question)
            except OSError as error:  # no room for the copies, or no process can be started
                raise Refused(f"exiftool could not be asked: {error}") from error

    def preview(self, data: bytes) -> bytes | None:
        """The largest JPEG that exiftool finds in a RAW file, or None."""
        found = (self._extracted(data, tag) for tag in PREVIEWS)
        return next((one for one in found if one.startswith(_JPEG)), None)

    def _extracted(self, data: bytes, tag: str) -> bytes:
        try:
            return self._asked(partial(_Process.extract, data=data, tag=tag))
        except Refused:
            return b""

    def close(self) -> None:
        """End the process.  A later question starts another one."""
        with self._lock:
            self._end()

    def _answer(self, process: _Process, question: _Question) -> bytes:
        with ExitStack() as ending:
            ending.callback(self._end)
            answer = question(process, timeout_seconds=self._timeout_seconds)
            if process.answered < self._files_each:
                ending.pop_all()
        return answer

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _Process:
    """An exiftool that waits for arguments on its standard input, and two nameless files for it to read."""

    def __init__(self) -> None:
        program = shutil.which("exiftool")
        if program is None:
            raise Refused("exiftool is not installed, which writes into HEIC and AVIF files")
        self.answered = 0
        with ExitStack() as closing:
            self._picture, self._exif = (closing.enter_context(TemporaryFile()) for _ in range(2))
            theirs, ours = os.pipe()
            closing.callback(os.close, ours)
            try:
                self._popen = subprocess.Popen(
                    # No settings of a user's own.
                    [program, "-config", "", "-stay_open", "True", "-@", "-"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                    pass_fds=[self._picture.fileno(), self._exif.fileno(), theirs],
                    start_new_session=True,  # Ctrl-C is meant for the daemon, which finishes what is in work
                )
                closing.callback(self._kill)
                # Even if its standard input ends, exiftool goes on waiting.  Nothing is ever sent through
                # this pipe; once our end is gone, the kernel sends a signal, which ends the group.
                fcntl.fcntl(theirs, fcntl.F_SETOWN, -self._popen.pid)
                fcntl.fcntl(theirs, fcntl.F_SETFL, fcntl.fcntl(theirs, fcntl.F_GETFL) | os.O_ASYNC)
            finally:
                os.close(theirs)
            self.end = closing.pop_all().close

    def place(self, data: bytes, block: bytes, timeout_seconds: float) -> bytes:
        """The file with the block in it.  Raises: Refused; then the process cannot be used any more."""
        arguments = ["-o", "-", f"-EXIF<=/dev/fd/{self._exif.fileno()}"]
        return self._answer(arguments, data, block, timeout_seconds)

    def extract(self, data: bytes, tag: str, timeout_seconds: float) -> bytes:
        """The value of this tag; empty if the file has none.  Raises: Refused, as `place` does."""
        return self._answer(["-b", f"-{tag}"], data, b"", timeout_seconds)

    def _answer(self, arguments: list[str], data: bytes, block: bytes, timeout_seconds: float) -> bytes:
        deadline = time.monotonic() + timeout_seconds
        for file, content in ((self._picture, data), (self._exif, block)):
            _fill(file, content)
        number = secrets.randbits(62)  # so that no file can hold the end of an answer: it cannot foresee this
        success = f"status=0\n{{ready{number}}}\n".encode()
        limit = len(data) + len(block) + _ROOM_BYTES
        self._ask(arguments, number)
        said = bytearray()
        while not said.endswith(success.removeprefix(b"status=0\n")):
            said += self._said(deadline, timeout_seconds)
            if len(said) > limit:
                raise _Failed("exiftool could not write into it (it says too much)")
        for file in (self._picture, self._exif):
            _fill(file, b"")
        if not said.endswith(success):
            raise _Failed("exiftool could not write into it")
        self.answered += 1
        return bytes(memoryview(said)[: -len(success)])

    def _ask(self, arguments: list[str], number: int) -> None:
        picture = f"/dev/fd/{self._picture.fileno()}"
        told = ["-q", "-q", *arguments, picture, "-echo3", "status=${status}", f"-execute{number}"]
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write("".join(f"{one}\n" for one in told).encode())
        except BrokenPipeError:
            raise self._has_ended() from None

    def _said(self, deadline: float, timeout_seconds: float) -> bytes:
        """What it says next."""
        assert self._popen.stdout is not None
        poll = select.poll()
        poll.register(self._popen.stdout, select.POLLIN)
        if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise Refused(f"exiftool did not answer within {timeout_seconds:g} s")
        said = self._popen.stdout.read(_CHUNK_BYTES)
        if not said:
            raise self._has_ended()
        return bytes(said)

    def _has_ended(self) -> _Failed:
        with suppress(subprocess.TimeoutExpired):  # it may merely have closed its ends
            self._popen.wait(3)
        self._kill()
        return _Failed(f"exiftool could not write into it (exit status {self._popen.returncode})")

    def _kill(self) -> None:
        if self._popen.poll() is None:  # else its number may be another's by now
            os.killpg(self._popen.pid, signal.SIGKILL)
        with self._popen:  # closes the pipes, and waits
            pass


def _fill(file: IO[bytes], content: bytes) -> None:
    file.seek(0)
    file.truncate()
    file.write(content)
    file.seek(0)


def version() -> str | None:
    """Which exiftool is installed; None if there is none that answers."""
    program = shutil.which("exiftool")
    if program is None:
        return None
    command = [program, "-config", "", "-ver"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.strip() or None
