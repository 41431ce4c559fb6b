"""How the command line speaks: to people, to programs, and where errors go."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from captiond.characters import printable


def say(text: str, *, to_errors: bool = False) -> None:
    """For people.  Names and captions may hold what a terminal would obey or hide."""
    print(printable(text), file=sys.stderr if to_errors else sys.stdout, flush=True)


def say_lines(lines: Iterable[str]) -> None:
    """Each as soon as it is known."""
    for line in lines:
        say(line)


def say_raw(lines: Iterable[str]) -> None:
    """For programs, in UTF-8, as they are: into a file or a pipe."""
    for line in lines:
        sys.stdout.buffer.write(line.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def say_json(told: Any, indent: int | None = None) -> None:
    """For programs; to them an escape is the very same character."""
    text = json.dumps(told, ensure_ascii=False, indent=indent)
    print(printable(text, escape=lambda char: json.dumps(char)[1:-1]), flush=True)
