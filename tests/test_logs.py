"""Log lines: one per event, whatever it holds and whoever says it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress

from captiond import logs

# What a name may hold that tries to look like another line, to clear the screen, or to turn the text around.
EVIL = "a\nerror forged\r\x1b[2J\x9b31m\u2028\u202egpj.\udce9.jpg"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Puts back what `configure` changed."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [handler for handler in root.handlers if isinstance(handler, logs._Handler)]:
        root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def said(format: str, say: Callable[[], object], level: str = "info") -> str:
    """What stands in the log after `say`."""
    stream = io.StringIO()
    logs.configure(level, format, stream=stream, environ={})
    root = logging.getLogger()
    pytests = [handler for handler in root.handlers if not isinstance(handler, logs._Handler)]
    for handler in pytests:  # they keep lines as they come, and xdist cannot send every one of ours
        root.removeHandler(handler)
    try:
        say()
    finally:
        for handler in pytests:
            root.addHandler(handler)
    return stream.getvalue()


def log() -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger()


def test_console_lines_are_for_people() -> None:
    """Time, level, event, then key=value, quoted where a value holds blanks."""
    line = said("console", lambda: log().info("captioned", path="trip/a b.jpg", seconds=0.9, page=None))
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info    captioned path="trip/a b\.jpg" seconds=0\.9 page=null\n',
        line,
    )


def test_json_lines_are_for_machines() -> None:
    """One object a line, with time, level, event and the values as they are."""
    record = json.loads(said("json", lambda: log().warning("paused", path=Path("/srv/é"), waiting=[1, 2])))
    assert record.pop("timestamp").endswith("Z")
    assert record == {"level": "warning", "event": "paused", "path": "/srv/é", "waiting": [1, 2]}


def test_auto_is_json_where_nobody_watches() -> None:
    """Without a terminal, `auto` writes JSON."""
    assert said("auto", lambda: log().info("ready")).startswith("{")


def test_auto_is_coloured_console_on_a_terminal() -> None:
    """On a terminal `auto` writes for people, in colour unless NO_COLOR forbids it."""
    main, side = os.openpty()
    with os.fdopen(side, "w", encoding="utf-8") as terminal, os.fdopen(main, "rb", buffering=0) as seen:
        logs.configure("info", "auto", stream=terminal, environ={})
        log().info("ready")
        assert b"\x1b[1mready\x1b[0m" in seen.read(1000)
        logs.configure("info", "auto", stream=terminal, environ={"NO_COLOR": "1"})
        log().info("ready")
        assert seen.read(1000).endswith(b"Z info    ready\r\n")


def test_the_level_is_kept() -> None:
    """What lies below the level is not written."""
    assert said("json", lambda: log().info("chatter"), level="warning") == ""
    assert "detail" in said("json", lambda: log().debug("detail"), level="debug")


def test_the_latest_configuration_counts_for_loggers_made_before() -> None:
    """A SIGHUP that changes the level or the format reaches every room."""
    logger = log()
    first, second = io.StringIO(), io.StringIO()
    logs.configure("error", "json", stream=first, environ={})
    logger.info("quiet")
    logs.configure("info", "console", stream=second, environ={})
    logger.info("loud")
    assert first.getvalue() == ""
    assert second.getvalue().count("loud") == 1


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_file_name_cannot_forge_a_line(format: str) -> None:
    """Line breaks, escape sequences, direction marks and foreign bytes stay inside their value."""
    text = said(format, lambda: log().info(EVIL, path=EVIL, deep={"name": [EVIL]}, **{EVIL: EVIL}))
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert r"\xe9.jpg" in text


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_value_cannot_pass_for_another_key(format: str) -> None:
    """`path=x level=error` in a file name reads as a file name."""
    text = said(format, lambda: log().info("captioned", path='x" level=error'))
    assert r'"x\" level=error"' in text


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_traceback_cannot_forge_a_line(format: str) -> None:
    """The lines of a traceback follow indented, or inside the JSON."""

    def fail() -> None:
        try:
            raise ValueError("bad\n2026-01-01T00:00:00Z error forged\x1b[2J")
        except ValueError:
            log().exception("unexpected")

    first, *rest = said(format, fail).splitlines()
    assert "unexpected" in first
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "ValueError" in (first if format == "json" else rest[-2])


@pytest.mark.parametrize("format", ["console", "json"])
def test_libraries_speak_like_we_do(format: str) -> None:
    """A library's message is rendered by the same hand, with the library's name."""
    text = said(format, lambda: logging.getLogger("some.library").warning("lost %s", EVIL))
    assert text.count("\n") == 1
    assert "some.library" in text


def test_noisy_libraries_are_heard_from_warnings_on() -> None:
    """httpx and its like do not report every request, not even at debug."""

    def chat() -> None:
        for name in ("httpx", "watchdog.observers.inotify_buffer", "PIL.TiffImagePlugin"):
            logging.getLogger(name).info("chatter")
            logging.getLogger(name).warning("trouble")

    text = said("json", chat, level="debug")
    assert "chatter" not in text
    assert text.count("trouble") == 3


def test_python_warnings_become_lines() -> None:
    """A warning such as Pillow's is logged without the source line below it."""

    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)
            logging.captureWarnings(True)  # inside catch_warnings, which keeps its own hook
            warnings.warn("many pixels", UserWarning, stacklevel=1)
            logging.captureWarnings(False)

    record = json.loads(said("json", warn))
    assert record["level"] == "warning"
    assert record["event"].endswith("UserWarning: many pixels")


def test_model_libraries_cannot_go_their_own_way() -> None:
    """transformers and huggingface_hub, which set up logging on import, come through ours, once."""
    code = """
import sys
from captiond import logs
logs.configure("info", "json", stream=sys.stdout)
from huggingface_hub.utils import logging as hub
from transformers.utils import logging as transformers
hub.get_logger("huggingface_hub.x").warning("from the hub")
transformers.get_logger("transformers.x").warning("from transformers")
transformers.get_logger("transformers.x").info("chatter")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == [
        "from the hub",
        "from transformers",
    ]
    assert done.stderr == ""


def test_the_journal_gets_priorities_and_no_second_time() -> None:
    """Under systemd console lines leave the time to the journal, and `journalctl -p warning` works."""
    end, begin = os.pipe()
    stat = os.fstat(begin)
    environ = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
    with os.fdopen(end, encoding="utf-8") as seen, os.fdopen(begin, "w", encoding="utf-8") as stream:
        logs.configure("info", "console", stream=stream, environ=environ)
        log().warning("paused")
        stream.close()
        assert seen.read() == "<4>warning paused\n"


def test_a_pipe_beneath_systemd_is_not_the_journal() -> None:
    """JOURNAL_STREAM is inherited by whoever redirects us; then lines keep their time."""
    stream = io.StringIO()
    logs.configure("info", "console", stream=stream, environ={"JOURNAL_STREAM": "1:1"})
    log().info("ready")
    assert stream.getvalue().startswith("20")


def test_lines_are_printed_above_a_progress_bar() -> None:
    """While a bar is shown lines go through its console, unbroken, and afterwards to the stream again."""
    stream, screen = io.StringIO(), io.StringIO()
    logs.configure("info", "console", stream=stream, environ={})
    console = Console(file=screen, force_terminal=True, width=40)
    with Progress(console=console) as bar, logs.above(console):
        bar.add_task("captioning", total=3)
        log().info("captioned", path="[red]" + "x" * 60)
    log().info("after")
    assert "[red]" + "x" * 60 + "\n" in screen.getvalue()
    assert "captioned" not in stream.getvalue()
    assert "after" in stream.getvalue()


def test_a_bar_that_nobody_sees_swallows_nothing() -> None:
    """Where the console is no terminal, lines stay on their stream."""
    stream = io.StringIO()
    logs.configure("info", "console", stream=stream, environ={})
    with logs.above(Console(file=io.StringIO())):
        log().info("captioned")
    assert "captioned" in stream.getvalue()


@given(st.text() | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Cf", "Zl"])))
@example(EVIL)
def test_escaped_text_is_printable_and_valid(text: str) -> None:
    """No text survives with a character that breaks a line, moves a cursor or is no Unicode."""
    shown = logs.escape(text)
    assert shown.translate(dict.fromkeys(map(ord, "\u200c\u200d"))).isprintable()  # joiners act on nothing
    assert shown.encode() is not None
    assert shown == text or not text.isprintable()
