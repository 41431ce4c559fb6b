"""Captioning files where they lie: `captiond caption`.  Reads, asks, answers; changes nothing.

Files that need no model to be refused are refused before it is loaded.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captiond import sidecar
from captiond.captioners import Captioner
from captiond.errors import Rejected, TryLater
from captiond.names import shown
from captiond.pipeline.asking import said_about
from captiond.pipeline.preparing import Preparing, Ready
from captiond.records import Rules, Timings

if TYPE_CHECKING:
    from captiond.settings import Settings


@dataclass(frozen=True, slots=True)
class Look:
    """The result for one file: either the sidecar's keys from `caption` on, or an error."""

    file: str
    answer: dict[str, Any] | None = None
    error: Rejected | TryLater | None = None

    @property
    def text(self) -> str:
        return str(self.answer["caption"]) if self.answer else ""

    def as_json(self) -> dict[str, Any]:
        if self.error is None:
            return {"file": shown(self.file), **(self.answer or {})}
        kind = self.error.kind if isinstance(self.error, Rejected) else "no_answer"
        error = {"kind": kind, "message": self.error.message, "advice": self.error.advice}
        return {"file": shown(self.file), "error": error}


def looks(settings: Settings, files: Sequence[Path], *, in_order: bool) -> Iterator[Look]:
    """One Look for each file, several in work at once.

    `in_order`: as the files were given; else those that cannot be read come first, before the model is
    loaded.  If none can be read, it is not loaded at all.

    Raises: CannotStart or Surroundings, if no file can be captioned.
    """
    lost = {file: look for file in files if (look := _lost(file, settings.limits.max_file_bytes)) is not None}
    readable = [file for file in files if file not in lost]
    captioned = _captioned(settings, readable)
    for file in files if in_order else sorted(files, key=lambda file: file not in lost):
        yield lost[file] if file in lost else next(captioned)
    captioned.close()


def _captioned(settings: Settings, files: Sequence[Path]) -> Generator[Look, None, None]:
    from captiond.exiftool import Exiftool
    from captiond.service.build import captioner_of, decoders_of, preview_of
    from captiond.service.rules import RuleBook

    exiftool = Exiftool()
    captioner, rules = captioner_of(settings), RuleBook(settings, exiftool).of("")
    captioner.load()
    decoders = decoders_of(settings)
    preparing = Preparing(captioner, decoders, preview_of=preview_of(settings, exiftool))

    def prepare(data: bytes, file: Path) -> Ready[Any]:
        return preparing.of(data, max_pixels=rules.max_pixels, name=file.name)

    def look(file: Path) -> Look:
        try:
            return Look(str(file), _answer(file, captioner, prepare, rules))
        except (Rejected, TryLater) as error:
            return Look(str(file), error=error)

    with closing(captioner), closing(exiftool), decoders, ThreadPoolExecutor(captioner.capacity) as callers:
        yield from callers.map(look, files)


def _lost(file: Path, max_file_bytes: int) -> Look | None:
    """The error for a file that cannot even be opened; None if it can."""
    try:
        found = file.stat()
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):  # a pipe can be opened only once
            with file.open("rb"):
                pass
        if stat.S_ISREG(found.st_mode) and found.st_size > max_file_bytes:
            raise _too_large(found.st_size, max_file_bytes)
    except (OSError, ValueError) as error:
        return Look(str(file), error=_unreadable(error))
    except Rejected as error:
        return Look(str(file), error=error)
    return None


def _answer(
    file: Path,
    captioner: Captioner[Any],
    prepare: Callable[[bytes, Path], Ready[Any]],
    rules: Rules,
) -> dict[str, Any]:
    started = time.monotonic()
    data, found = _read(file, rules.max_file_bytes)
    ready = prepare(data, file)
    decoded, facts = time.monotonic(), ready.facts
    said = said_about(ready, captioner, rules)
    timings = Timings(0.0, decoded - started, time.monotonic() - decoded, 0.0)
    sha256 = hashlib.sha256(data).hexdigest()
    source = sidecar.source_of(str(file), sha256, len(data), found.st_mtime_ns, facts)
    return sidecar.answer_keys(source, facts, said, timings)


def _read(file: Path, max_file_bytes: int) -> tuple[bytes, os.stat_result]:
    try:
        with file.open("rb") as opened:
            data = opened.read(max_file_bytes + 1)
            if len(data) > max_file_bytes:
                raise _too_large(len(data), max_file_bytes)
            return data, os.fstat(opened.fileno())
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError | ValueError) -> Rejected:
    why = error.strerror if isinstance(error, OSError) else None
    return Rejected("unreadable", f"cannot be read: {why or error}", stage="claim")


def _too_large(size: int, limit: int) -> Rejected:
    message = f"{size:,} bytes are more than limits.max_file_bytes ({limit:,})"
    return Rejected("too_large", message, stage="claim")
