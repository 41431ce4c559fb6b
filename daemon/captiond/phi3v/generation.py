"""Greedy answers for a stream of prompts, by a decoding loop of our own.

What it does for speed: each distinct crop passes the tower once; prompts are padded on the right, where
causal attention needs no mask, and only within groups of like length; rows leave when they end, and others
take their place; the decoding step runs over rows that stay where they are (a CUDA graph, where there is
CUDA); the host asks for tokens once in several steps.  What it promises: each answer is what `generate` says
to that prompt alone.

Not done: one prefill for the prompts' common beginning, which ends where the picture stands, four tokens from
the start of hundreds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from captiond.phi3v.graphs import StepGraphs
from captiond.phi3v.modeling import Phi3VForCausalLM
from captiond.phi3v.requests import Request, Said
from captiond.phi3v.seeing import sent, vectors_of
from captiond.phi3v.slots import SlotCache

# Positions that pass the decoder together in a prefill: enough to fill a GPU, small beside the weights.
PREFILL_TOKENS = 4096
# Steps between two looks at the new tokens: a row that has ended costs its neighbours a few steps at most.
CHECK_EVERY = 4
# Cache lengths and, for CUDA graphs, lengths that attention sees are multiples of these.
CACHE_STEP, SEEN_STEP = 128, 256


@dataclass(slots=True, eq=False)
class _Row:
    request: Request
    tokens: list[int] = field(default_factory=list)
    length: int = 0  # places of its slot that are filled

    @property
    def prompt_length(self) -> int:
        """Positions of its next prefill: what it has said counts, where it has to start over."""
        return len(self.request.input_ids) + len(self.tokens)

    @property
    def longest(self) -> int:
        return len(self.request.input_ids) + self.request.max_new_tokens

    def ids(self) -> torch.Tensor:
        said = torch.tensor(self.tokens, dtype=torch.int64)
        return torch.cat((self.request.input_ids, said))


More = Callable[[int], Sequence[Request]]


class Decoder:
    """Answers requests with one model, on one device, from one thread."""

    def __init__(
        self,
        model: Phi3VForCausalLM,
        stop_ids: Collection[int],
        *,
        prefill_tokens: int = PREFILL_TOKENS,
        check_every: int = CHECK_EVERY,
        with_graphs: bool | None = None,
    ) -> None:
        """`with_graphs` None: where the model lies on a CUDA device, and its weights are whole.

        Raises ValueError for a model that `can_decode` refuses.
        """
        if not can_decode(model):
            raise ValueError("this loop needs sdpa attention, no sliding window and one device")
        self._model = model
        self._stop_ids = frozenset(stop_ids)
        self._prefill_tokens = prefill_tokens
        self._check_every = check_every
        self._device = model.device
        # Squeezed matrices ask the GPU for numbers in the middle of a step, which no recorded graph may do.
        may_record = model.device.type == "cuda" and not getattr(model, "is_quantized", False)
        self._with_graphs = may_record if with_graphs is None else with_graphs
        config = model.config
        is_long = model.model.rotary_emb.rope_type == "longrope"
        self._short_limit = config.original_max_position_embeddings if is_long else None
        self._step: Callable[[int, int], None] = self._decode
        self._cache: SlotCache | None = None

    def run(self, more: More, slots: int) -> Iterator[tuple[Request, Said]]:
        """Answers in the order in which they end.

        `more(room)` is asked whenever there is room, for at most that many requests; the run ends when it
        has none and all are answered.  `slots` is how many are in work at once.
        """
        rows: list[_Row] = []
        waiting: deque[_Row] = deque()
        while True:
            if room := slots - len(rows) - len(waiting):
                waiting.extend(_Row(request) for request in more(room))
            if not rows and not waiting:
                return
            self._admit(rows, waiting, slots)
            yield from self._leave(rows)
            self._restart_crossing(rows, waiting)
            if rows:
                self._advance(rows)
                yield from self._leave(rows)
                self._restart_crossing(rows, waiting)

    # ---- rows come and go ------------------------------------------------------------------------

    def _admit(self, rows: list[_Row], waiting: deque[_Row], slots: int) -> None:
        """As many as have room, in their order; a row too long for the cache waits for a new one."""
        if not rows and waiting:
            self._make_room(max(row.longest for row in waiting), slots)
        assert self._cache is not None
        admitted: list[_Row] = []
        while waiting and len(rows) + len(admitted) < slots and waiting[0].longest <= self._cache.length:
            admitted.append(waiting.popleft())
        first = len(rows)
        for group in _groups(admitted, self._prefill_tokens):
            self._prefill(group, len(rows))
            rows += group
        if admitted:
            self._hear(rows[first:], self._last[first : len(rows)].tolist())

    def _make_room(self, length: int, slots: int) -> None:
        """A cache of that many slots, at least that long; the old one goes first, since both may not fit."""
        if self._cache is not None:
            length = max(length, self._cache.length)
            if self._cache.slots == slots and self._cache.length == length:
                return
        self._cache = None
        self._step = StepGraphs(self._decode, self._device) if self._with_graphs else self._decode
        length = _rounded(length, CACHE_STEP)
        model, device = self._model, self._device
        self._last = torch.zeros(slots, dtype=torch.int64, device=device)
        self._position = torch.zeros(slots, dtype=torch.int64, device=device)
        self._places = torch.arange(length, device=device)
        self._block = torch.zeros(self._check_every, slots, dtype=torch.int64, device=device)
        dtype = model.model.norm.weight.dtype
        self._cache = SlotCache(model.config, slots, length, device=device, dtype=dtype)

    def _hear(self, rows: list[_Row], tokens: list[int]) -> None:
        for row, token in zip(rows, tokens, strict=True):
            if not self._is_finished(row):
                row.tokens.append(token)

    def _is_finished(self, row: _Row) -> bool:
        return bool(row.tokens) and row.tokens[-1] in self._stop_ids

    def _leave(self, rows: list[_Row]) -> Iterator[tuple[Request, Said]]:
        """Take out the rows that have ended."""
        for index in reversed(range(len(rows))):
            row = rows[index]
            is_finished = self._is_finished(row)
            if is_finished or len(row.tokens) == row.request.max_new_tokens:
                self._take_out(rows, index)
                yield row.request, Said(row.tokens[:-1] if is_finished else row.tokens, is_finished)

    def _restart_crossing(self, rows: list[_Row], waiting: deque[_Row]) -> None:
        """Rows that outgrow the short frequencies start over with the long ones, as the original does.

        Their keys lie in the cache rotated by the short ones.
        """
        for index in reversed(range(len(rows))):
            if rows[index].length == self._short_limit:
                waiting.appendleft(self._take_out(rows, index))

    def _take_out(self, rows: list[_Row], index: int) -> _Row:
        """The last row moves into the gap.  Whoever takes out several begins at the end."""
        assert self._cache is not None
        row, last = rows[index], rows.pop()
        if last is not row:
            rows[index] = last
            self._cache.move(len(rows), index, last.length)
            for state in (self._last, self._position):
                state[index] = state[len(rows)]
        return row

    # ---- the device's work -----------------------------------------------------------------------

    @torch.inference_mode()
    def _prefill(self, group: list[_Row], first: int) -> None:
        """Prompts of about the same length into the slots from `first` on, and the first token of each."""
        assert self._cache is not None
        ids = [row.ids() for row in group]
        lengths = [len(one) for one in ids]
        hidden = self._embedded(group, ids, max(lengths))
        # Padding takes the row's last position: another would count for the choice of its frequencies.
        places = torch.arange(max(lengths)).expand(len(group), -1)
        ends = torch.tensor(lengths)
        positions = self._sent(torch.minimum(places, ends[:, None] - 1))
        self._cache.prefill(first, len(group))
        hidden = self._through_layers(hidden, positions, None)
        last = torch.stack([hidden[row, length - 1] for row, length in enumerate(lengths)])
        self._last[first : first + len(group)] = self._best(last)
        self._position[first : first + len(group)] = self._sent(ends)
        for row, length in zip(group, lengths, strict=True):
            row.length = length

    def _embedded(self, group: list[_Row], ids: list[torch.Tensor], length: int) -> torch.Tensor:
        """[rows, length, H], pictures laid in; without a question to the device, which `embed` asks some."""
        padded = torch.stack([torch.nn.functional.pad(one, (0, length - len(one))) for one in ids])
        model = self._model.model
        embeddings: torch.Tensor = model.embed_tokens(self._sent(padded))
        pictures = [row.request.seen for row in group if row.request.seen is not None]
        vectors = vectors_of(pictures, model.vision_embed_tokens, self._device, embeddings.dtype)
        for index, request in enumerate(row.request for row in group):
            if request.seen is None:
                continue
            taken = 0
            for begin, end in request.spans:
                embeddings[index, begin:end] = vectors[request.seen][taken : taken + end - begin]
                taken += end - begin
        return embeddings

    def _advance(self, rows: list[_Row]) -> None:
        """Some steps for all rows: none gets past its end, or past what its frequencies are for."""
        assert self._cache is not None
        steps = min(self._check_every, *(self._steps_left(row) for row in rows))
        count, seen = len(rows), max(row.length for row in rows) + steps
        if self._with_graphs:  # few shapes, so that few graphs are recorded
            count = min(1 << (count - 1).bit_length(), self._cache.slots)
            seen = min(_rounded(seen, SEEN_STEP), self._cache.length)
        for step in range(steps):
            self._step(count, seen)
            self._block[step].copy_(self._last)
        for tokens in self._block[:steps, : len(rows)].tolist():
            self._hear(rows, tokens)
        for row in rows:
            row.length += steps

    def _steps_left(self, row: _Row) -> int:
        left = row.request.max_new_tokens - len(row.tokens)
        if self._short_limit is None or row.length > self._short_limit:
            return left
        return min(left, self._short_limit - row.length)

    @torch.inference_mode()
    def _decode(self, rows: int, seen: int) -> None:
        """One token more for each of the first `rows` slots.  All it reads and writes stays in place."""
        assert self._cache is not None
        positions = self._position[:rows]
        self._cache.decode(positions, seen)
        hidden = self._model.model.embed_tokens(self._last[:rows, None])
        mask = (self._places[:seen] <= positions[:, None])[:, None, None, :]
        hidden = self._through_layers(hidden, positions[:, None], mask)
        self._last[:rows] = self._best(hidden[:, 0])
        # A slot without a row goes on counting; it must not count out of the cache.
        positions.add_(1).clamp_(max=self._cache.length - 1)

    def _through_layers(
        self, hidden: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        model = self._model.model
        turns = model.rotary_emb(hidden, position_ids=positions)
        for layer in model.layers:
            hidden = layer(
                hidden,
                attention_mask=mask,
                past_key_values=self._cache,
                position_embeddings=turns,
                use_cache=True,
            )
        return hidden

    def _best(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model.lm_head(self._model.model.norm(hidden)).float()
        return logits.argmax(dim=-1)

    def _sent(self, tensor: torch.Tensor) -> torch.Tensor:
        return sent(tensor, self._device)


def can_decode(model: Phi3VForCausalLM) -> bool:
    """Whether the loop serves this model: all of it on one device, with sdpa attention and no window."""
    config = model.config
    places = {parameter.device for parameter in model.parameters()}
    return config._attn_implementation == "sdpa" and config.sliding_window is None and len(places) == 1


def _groups(rows: list[_Row], tokens: int) -> Iterator[list[_Row]]:
    """Rows of like length together, padded to at most that many tokens; at least one in each."""
    group: list[_Row] = []
    for row in sorted(rows, key=lambda row: row.prompt_length):
        if group and row.prompt_length * (len(group) + 1) > tokens:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step
