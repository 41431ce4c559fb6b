"""Rows of the decoding loop: one for each question in work, and what two of them may share.

A prompt has its pictures before its words, so that questions about the same pictures begin alike: the part of
the cache up to the pictures' end that one row has computed serves the others.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch

from captiond.phi3v.requests import Request, Seen


class Beginning(NamedTuple):
    """A prompt up to its pictures' end.  Two are equal if the network computes the same for them."""

    seen: weakref.ref[Seen]  # weak: a slot remembers it longer than the question lives
    ids: bytes
    length: int

    @classmethod
    def of(cls, request: Request) -> Self | None:
        if request.seen is None:
            return None
        length = request.spans[-1][1]
        return cls(weakref.ref(request.seen), request.input_ids[:length].numpy().tobytes(), length)


@dataclass(slots=True, eq=False)
class Row:
    request: Request
    beginning: Beginning | None  # None if it shares nothing
    tokens: list[int] = field(default_factory=list)
    length: int = 0  # places of its slot that are filled
    shared: int = 0  # of those, how many another row had filled before its own prefill
    chance: random.Random | None = None  # for sampling; None: the best token each time

    @classmethod
    def of(cls, request: Request, short_limit: int | None) -> Self:
        """A prompt over `short_limit` shares nothing: its keys are rotated by the long frequencies."""
        is_short = short_limit is None or len(request.input_ids) <= short_limit
        chance = random.Random(request.seed) if request.temperature > 0 else None
        return cls(request, Beginning.of(request) if is_short else None, chance=chance)

    @property
    def prompt_length(self) -> int:
        """Where its next prefill ends: if the row starts over, the tokens it has generated count."""
        return len(self.request.input_ids) + len(self.tokens)

    @property
    def new_length(self) -> int:
        """Positions of its next prefill."""
        return self.prompt_length - self.shared

    @property
    def own_length(self) -> int:
        """Positions of its prompt behind the shared beginning."""
        return self.prompt_length - (self.beginning.length if self.beginning else 0)

    @property
    def longest(self) -> int:
        return len(self.request.input_ids) + self.request.max_new_tokens

    def new_ids(self) -> torch.Tensor:
        said = torch.tensor(self.tokens, dtype=torch.int64)
        return torch.cat((self.request.input_ids, said))[self.shared :]

    def start_over(self) -> None:
        """Forget the cache: nothing in it is of use to this row any more."""
        self.beginning, self.shared = None, 0

    def chosen(self, scores: torch.Tensor) -> torch.Tensor:
        """A token sampled by the row's own generator from the scores [vocabulary]; on their device."""
        assert self.chance is not None
        shares = torch.softmax(scores / self.request.temperature, dim=-1).cumsum(dim=-1)
        drawn = shares[-1] * self.chance.random()
        return torch.searchsorted(shares, drawn, right=True).clamp_(max=len(scores) - 1)


def groups(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """Groups of rows of similar length, of at most `tokens` with padding; at least one row in each."""
    group: list[Row] = []
    for row in sorted(rows, key=lambda row: row.new_length):
        if group and row.new_length * (len(group) + 1) > tokens:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def one_of_each(rows: Sequence[Row]) -> list[Row]:
    """The first of each set of rows that begin alike, and all rows that share nothing."""
    alike: set[Beginning] = set()
    found: list[Row] = []
    for row in rows:
        if row.beginning not in alike:
            found.append(row)
        if row.beginning is not None:
            alike.add(row.beginning)
    return found
