"""The file that `http.tokens_file` names: who may come in, in which role, by which token.

# name   role   token
ada      edit   8c1f...
ben      look   51d0...
scanner  drop   e77a...
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from captiond.records import Role
from captiond.settings.refusals import refusal
from captiond.settings.values import SHORTEST_TOKEN, may_be_a_token

LARGEST_BYTES = 1 << 20
_NAME = re.compile(r"[^\W_][\w.@+-]{0,63}")
_KEY = "http.tokens_file"


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    role: Role
    token: str = field(repr=False)


def read_people(file: Path, environ: Mapping[str, str] = os.environ) -> tuple[Person, ...]:
    """Raises CannotStart for a file that cannot be read, that others may read, or that says anything else."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            data = opened.read(LARGEST_BYTES)
        text = data.decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise refusal(f"`{_KEY}` ({file}) cannot be read: {reason}") from None
    if mode & stat.S_IROTH and not _is_handed_over(file, environ):
        raise refusal(f"`{_KEY}` ({file}) can be read by everybody on this machine: `chmod o= {file}`")
    people = tuple(_people(text, file))
    if not people:
        raise refusal(f"`{_KEY}` ({file}) names nobody: a line is a name, a role and a token")
    return people


def _people(text: str, file: Path) -> Iterator[Person]:
    taken: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        wrong = _what_is_wrong(words, taken)
        if wrong is not None:
            raise refusal(f"`{_KEY}` ({file}, line {number}): {wrong}")
        name, role, token = words
        taken.add(token)
        yield Person(name, role, token)  # type: ignore[arg-type]  # one of the roles, as was looked


def _what_is_wrong(words: list[str], taken: set[str]) -> str | None:
    """Without the token, whatever is wrong with it."""
    if len(words) != 3:
        return "a line is a name, a role and a token"
    name, role, token = words
    if not _NAME.fullmatch(name):
        return "a name is up to 64 letters, digits and any of . _ @ + -"
    if role not in get_args(Role):
        return f"the role of {name} must be {', '.join(get_args(Role)[:-1])} or {get_args(Role)[-1]}"
    if not may_be_a_token(token):
        return (
            f"the token of {name} must be one word of at least {SHORTEST_TOKEN} printable ASCII characters; "
            "`openssl rand -hex 32` makes one"
        )
    return f"the token of {name} is somebody else's, too" if token in taken else None


def _is_handed_over(file: Path, environ: Mapping[str, str]) -> bool:
    """Whether it lies where a container or systemd hands over secrets, and sees to who reads them."""
    places = [Path("/run/secrets"), Path("/run/credentials")]
    if environ.get("CREDENTIALS_DIRECTORY"):
        places.append(Path(environ["CREDENTIALS_DIRECTORY"]))
    real = Path(os.path.realpath(file))
    return any(real.is_relative_to(os.path.realpath(place)) for place in places)
