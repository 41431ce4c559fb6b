"""What the values of the settings may be: times, words, patterns, addresses and secrets."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from captiond.settings.refusals import refusal
from captiond.support.hours import Hours
from captiond.support.layout import AS_DROPPED, Layout
from captiond.support.patterns import Patterns

_LONGEST_SECRET_BYTES = 64 * 1024

SHORTEST_TOKEN = 16  # characters: with slowed guessing, this length makes guessing hopeless

Seconds = Annotated[float, Field(gt=0, le=365 * 86_400, allow_inf_nan=False)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Tokens = Annotated[int, Field(ge=1, le=100_000)]


class Section(BaseModel):
    """The base of every section."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def _understood(patterns: tuple[str, ...]) -> tuple[str, ...]:
    Patterns(patterns)
    return patterns


Globs = Annotated[tuple[Text, ...], Field(strict=False), AfterValidator(_understood)]  # as in a .gitignore


def hours_understood(written: tuple[str, ...]) -> tuple[str, ...]:
    Hours.of(written)
    return written


def layout_understood(pattern: str) -> str:
    if pattern != AS_DROPPED:
        Layout.of(pattern)
    return pattern


def model_server(value: str) -> str:
    """An address as it is asked, without the path that clients add; ValueError if it is none."""
    if value.startswith(("http+unix:", "unix:", "/")):
        raise ValueError(
            "must be the address of a server that listens on a port, e.g. http://127.0.0.1:8000/v1; "
            "Unix sockets are not asked"
        )
    refuse_unless_address(value, "e.g. http://vllm:8000/v1", key="model.api_key_file", may_ask=False)
    return value.rstrip("/").removesuffix("/chat/completions")


def refuse_unless_address(value: str, example: str, *, key: str, may_ask: bool) -> None:
    """Raises: ValueError, if it is no address of a server; `may_ask`: it may have a query, `?...`."""
    try:
        url = urlsplit(value)
        is_server = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # a port out of range, half an IPv6 address
        is_server = False
    is_address = is_server and not url.fragment and (may_ask or not url.query)
    if not is_address or not value.isprintable() or " " in value:
        raise ValueError(f"must be the address of a server, {example}")
    if url.username is not None:
        raise ValueError(f"must not hold a password; use `{key}`")


def read_secret(key: str, file: Path) -> str:
    """What the file holds, stripped.  Raises: CannotStart, if it cannot be read, or others can read it."""
    return read_private(key, file).strip()


def read_private(key: str, file: Path) -> str:
    """What the file holds.  Raises: CannotStart, if it cannot be read, or others can read it."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if mode & (stat.S_IROTH | stat.S_IWOTH) and not _is_kept_for_us(file):
                raise refusal(
                    f"`{key}` ({file}) can be read or written by everybody on this machine: "
                    f"chmod o-rw {shlex.quote(str(file))}"
                )
            return opened.read(_LONGEST_SECRET_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise refusal(f"`{key}` ({file}) cannot be read: {reason}") from None


def _is_kept_for_us(file: Path) -> bool:
    """Whether a container or systemd put the file there: those choose the modes in their folders."""
    folders = [Path("/run/secrets"), Path("/run/credentials")]
    if given := os.environ.get("CREDENTIALS_DIRECTORY"):
        folders.append(Path(given))
    return any(file.resolve().is_relative_to(folder.resolve()) for folder in folders)


def may_be_a_key(text: str) -> bool:
    """Whether it can stand in a header: a line break in it would begin another header."""
    return re.fullmatch(r"[!-~]+", text) is not None


def may_be_a_token(text: str) -> bool:
    """Whether it is too long to be guessed, and can stand in a header."""
    return may_be_a_key(text) and len(text) >= SHORTEST_TOKEN


def root_path(value: str) -> str:
    """A path, or an address with one, without the slash at its end; ValueError if it is neither."""
    example = "must be where a proxy shows the page, e.g. /captions or https://photos.example/captions"
    try:
        url = urlsplit(value)
        is_address = not url.scheme or (url.scheme in ("http", "https") and url.hostname and url.port != 0)
    except ValueError:
        is_address = False
    is_path = re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", url.path) is not None if is_address else False
    is_plain = not (url.query or url.fragment or url.username) if is_address else False
    if not (is_address and is_path and is_plain) or (not url.scheme and (url.netloc or not url.path)):
        raise ValueError(example)
    if {".", ".."} & set(url.path.split("/")):
        raise ValueError(example)
    return value.rstrip("/")


def split_address(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8000` or `[::1]:8000` as host and port; ValueError for anything else."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})", listen)
    if match is None or int(match[3]) > 65_535:
        raise ValueError("must be an address and a port, e.g. 127.0.0.1:8000")
    return match[1] or match[2], int(match[3])
