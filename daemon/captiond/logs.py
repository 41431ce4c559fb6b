"""How the daemon speaks: one line per event, ours and the libraries' alike, on standard error.

The only place that configures logging.  All other modules call `structlog.get_logger().info("captioned",
path=...)` and know nothing of streams and colours.  Whatever a value holds (line breaks, escape
sequences, bytes that are not UTF-8), a line stays one line and sends no command to a terminal; the lines
of a traceback follow indented, so that none of them can pass for an event.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from captiond.characters import is_harmless

if TYPE_CHECKING:
    from rich.console import Console

# Libraries whose messages below a warning are not logged.  httpx2 and httpcore2 serve newer hub clients.
LIBRARIES = (
    "PIL", "accelerate", "asyncio", "bitsandbytes", "filelock", "fsspec", "httpcore", "httpcore2", "httpx",
    "httpx2", "huggingface_hub", "torch", "transformers", "urllib3", "watchdog",
)  # fmt: skip

LONGEST_KEPT = 4000  # characters of a line


def configure(
    level: str, format: str, *, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> None:
    """Log from now on at `level` (debug, info, warning, error) as `format` (auto, console, json).

    May be called again: the latest call counts.
    """
    stream = stream or sys.stderr
    is_terminal = stream.isatty()
    is_journal = _is_journal(stream, environ)
    render: Processor
    if format == "console" or (format == "auto" and is_terminal):
        is_colourful = is_terminal and "NO_COLOR" not in environ and environ.get("TERM") != "dumb"
        render = _Console(is_colourful=is_colourful, is_timed=not is_journal)
    else:
        render = _render_json
    handler = _Handler(stream, is_journal=is_journal)
    handler.setFormatter(_formatter(render))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # loggers made before a SIGHUP follow the new settings
    )
    root = logging.getLogger()
    for former in [former for former in root.handlers if isinstance(former, _Handler)]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in LIBRARIES:
        _hold(name)
    logging.captureWarnings(True)


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(render: Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), structlog.stdlib.add_logger_name, _shorten_warning],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            render,
        ],
    )


class Kept:
    """The last lines, as JSON, each with a number that only grows.  Any thread may read them."""

    def __init__(self, most: int) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=most)
        self.newest = 0

    def add(self, line: str) -> None:
        """Called by `logging` alone, one line at a time."""
        self.newest += 1
        self._lines.append((self.newest, line))

    def after(self, number: int) -> list[tuple[int, str]]:
        """The lines after the one with that number, oldest first."""
        return [one for one in self._lines.copy() if one[0] > number]


class _Keeping(logging.Handler):
    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self._kept = kept
        self.setFormatter(_formatter(_render_json))

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.add(self.format(record)[:LONGEST_KEPT])


@contextmanager
def kept(most: int) -> Iterator[Kept]:
    """Keep the last lines while this lasts; they are written as before."""
    kept = Kept(most)
    handler = _Keeping(kept)
    logging.getLogger().addHandler(handler)
    try:
        yield kept
    finally:
        logging.getLogger().removeHandler(handler)


@contextmanager
def above(console: Console) -> Iterator[None]:
    """Print lines above the progress bar that `console` shows, while this lasts."""
    former, _Output.console = _Output.console, console if console.is_terminal else None
    try:
        yield
    finally:
        _Output.console = former


class _Output:
    """Where lines go: to the stream, or above a progress bar."""

    console: ClassVar[Console | None] = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if self.console is None:
            self._stream.write(text)
            return
        from rich.text import Text  # a process that shows a bar has loaded rich already

        self.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)

    def flush(self) -> None:
        self._stream.flush()


class _Handler(logging.StreamHandler[_Output]):
    """Writes each line in one piece, to the journal with its priority."""

    def __init__(self, stream: TextIO, *, is_journal: bool) -> None:
        super().__init__(_Output(stream))
        self.is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if not self.is_journal:
            return line
        priority = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4}.get(record.levelno, 3)
        # The journal strips this prefix and keeps the priority, for `journalctl -p warning`.
        return "\n".join(f"<{priority}>{part}" for part in line.split("\n"))


class _Library(logging.Logger):
    """A library's root logger that stays routed through ours, whatever the library does on import.

    transformers and huggingface_hub, once imported, would print by themselves and not propagate.
    """

    propagate = property(lambda self: True, lambda self, value: None)

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - the name is logging's
        pass

    def setLevel(self, level: int | str) -> None:  # noqa: N802 - the name is logging's
        number = level if isinstance(level, int) else logging.getLevelNamesMapping()[level]
        super().setLevel(max(number, logging.WARNING))


def _hold(name: str) -> None:
    former = logging.getLoggerClass()
    logging.setLoggerClass(_Library)
    try:
        logger = logging.getLogger(name)
    finally:
        logging.setLoggerClass(former)
    for handler in list(logger.handlers):  # the library was here before us
        logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.WARNING)


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd has connected `stream` to the journal; sd_journal_print(3) tells how to find out."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no real file
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def _shorten_warning(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A captured warning without the line of source code that Python puts below it."""
    if event.get("logger") == "py.warnings":
        text = str(event["event"]).rstrip()
        event["event"] = text.rpartition("\n  ")[0] or text
    return event


# ---- how a line looks ----------------------------------------------------------------------------


def _render_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """One ASCII line of JSON, the well-known keys first."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return json.dumps(_plain({**first, **event}))


class _Console:
    """Lines for people: time, level, event, and the rest as key=value."""

    COLOURS: ClassVar[Mapping[str, str]] = {"debug": "2", "info": "32", "warning": "33"}

    def __init__(self, *, is_colourful: bool, is_timed: bool) -> None:
        self.is_colourful = is_colourful
        self.is_timed = is_timed

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        timestamp, level = str(event.pop("timestamp")), str(event.pop("level"))
        text, trace = escape(str(event.pop("event"))), event.pop("exception", None)
        parts = [self._in("2", timestamp[:19] + "Z")] if self.is_timed else []
        parts.append(self._in(self.COLOURS.get(level, "31"), f"{level:<7}"))
        parts.append(self._in("1", text))
        parts += [f"{self._in('36', escape(str(key)))}={_quoted(value)}" for key, value in event.items()]
        lines = [" ".join(parts)]
        if trace is not None:
            lines += ["    " + escape(line) for line in str(trace).splitlines()]
        return "\n".join(lines)

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.is_colourful else text


def escape(text: str) -> str:
    """`text` on one line and without a character that a terminal would act upon or cannot show.

    This covers line breaks, escape sequences, marks that turn the direction of writing, and the bytes
    of file names that are not UTF-8, which stand as \\xNN.
    """
    if text.isprintable():
        return text
    return "".join(char if is_harmless(char) else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte, as os.fsdecode passes it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def _quoted(value: object) -> str:
    """A value as it stands behind `key=`: quoted if it could be taken for more than one word."""
    plain = _plain(value)
    if not isinstance(plain, str):
        return escape(json.dumps(plain, ensure_ascii=False))
    text = escape(plain)
    if text and not any(char in ' "=' for char in text):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def _plain(value: object, depth: int = 0) -> object:
    """`value` in JSON's types, as valid Unicode; a value of any other type becomes text."""
    if isinstance(value, bool | int | None) or (isinstance(value, float) and math.isfinite(value)):
        return cast(Any, value)
    if isinstance(value, Mapping) and depth < 5:
        return {str(_plain(str(key))): _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < 5:
        return [_plain(inner, depth + 1) for inner in value]
    text = os.fsdecode(value) if isinstance(value, bytes | os.PathLike) else str(value)
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "".join(_escaped(char) if "\ud800" <= char <= "\udfff" else char for char in text)
    return text
