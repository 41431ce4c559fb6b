"""The file that `http.tokens_file` names: who may come in, in which role, by which token.

# name   role   token
ada      edit   8c1f...
ben      look   51d0...
scanner  drop   e77a...
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from captiond.records import Role
from captiond.settings.refusals import refusal
from captiond.settings.values import SHORTEST_TOKEN, may_be_a_token, read_private

_NAME = re.compile(r"[^\W_][\w.@+-]{0,63}")
_KEY = "http.tokens_file"


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    role: Role
    token: str = field(repr=False)


def read_people(file: Path) -> tuple[Person, ...]:
    """Raises: CannotStart, if the file cannot be read, if others may read it, or if a line is wrong."""
    people = tuple(_people(read_private(_KEY, file), file))
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
    """What is wrong with a line, if anything; the token itself is never quoted."""
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
