"""Captioning files where they lie: `captiond caption`.  Reads, asks, answers in order; changes nothing."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captiond import sidecar
from captiond.captioners import Captioner
from captiond.errors import Rejected, TryLater
from captiond.names import shown
from captiond.pipeline.preparing import Preparing, Ready
from captiond.records import CaptionRequest, Texts, Timings


@dataclass(frozen=True, slots=True)
class Look:
    """What came of one file: either the sidecar's keys from `caption` on, or an error."""

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


def caption_files(
    files: Iterable[Path],
    captioner: Captioner[Any],
    request: CaptionRequest,
    *,
    max_pixels: int,
    max_file_bytes: int,
) -> Iterator[Look]:
    """One Look for each file, in the order given, several in work at once.

    Raises CannotStart or Surroundings where no file can be captioned.
    """
    captioner.load()
    preparing = Preparing(captioner)

    def prepare(data: bytes) -> Ready[Any]:
        return preparing.of(data, request, max_pixels=max_pixels)

    def look(file: Path) -> Look:
        try:
            return Look(str(file), _answer(file, captioner, prepare, max_file_bytes))
        except (Rejected, TryLater) as error:
            return Look(str(file), error=error)

    with ThreadPoolExecutor(captioner.capacity) as callers:
        yield from callers.map(look, files)
    captioner.close()


def _answer(
    file: Path, captioner: Captioner[Any], prepare: Callable[[bytes], Ready[Any]], max_file_bytes: int
) -> dict[str, Any]:
    started = time.monotonic()
    data, stat = _read(file, max_file_bytes)
    ready = prepare(data)
    decoded, facts = time.monotonic(), ready.facts
    caption = captioner.caption(ready.question)
    timings = Timings(0.0, decoded - started, time.monotonic() - decoded, 0.0)
    sha256 = hashlib.sha256(data).hexdigest()
    source = sidecar.source_of(str(file), sha256, len(data), stat.st_mtime_ns, facts)
    return sidecar.answer_keys(source, facts, Texts(caption.text), caption, timings)


def _read(file: Path, max_file_bytes: int) -> tuple[bytes, os.stat_result]:
    try:
        with file.open("rb") as opened:
            stat = os.fstat(opened.fileno())
            if stat.st_size > max_file_bytes:
                raise Rejected(
                    "too_large",
                    f"{stat.st_size:,} bytes are more than limits.max_file_bytes ({max_file_bytes:,})",
                    stage="claim",
                )
            return opened.read(), stat
    except OSError as error:
        raise Rejected("unreadable", f"cannot be read: {error.strerror or error}", stage="claim") from error
