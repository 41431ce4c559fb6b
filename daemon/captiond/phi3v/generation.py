"""Answers for a stream of prompts, by a decoding loop of our own.

For speed, each distinct crop passes the tower once; prompts are padded on the right, where causal attention
needs no mask, and only within groups of similar length; rows leave when they end, and others take their
place; questions about the same pictures share one prefill up to the pictures' end, as long as some slot holds
it; the decoding step runs over rows that stay where they are (a CUDA graph, if there is CUDA); the host
fetches tokens once in several steps.  It promises that each answer is what `generate` gives for that prompt
alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

import torch

from captiond.phi3v import layers
from captiond.phi3v.graphs import StepGraphs
from captiond.phi3v.layers import normed, product, signed
from captiond.phi3v.modeling import Phi3VForCausalLM
from captiond.phi3v.requests import Request, Said
from captiond.phi3v.rows import Beginning, Row, groups, one_of_each
from captiond.phi3v.seeing import sent, vectors_of
from captiond.phi3v.slots import RealLengths, SlotCache

# Positions that pass the decoder together in a prefill: enough to fill a GPU, small beside the weights.
PREFILL_TOKENS = 4096
# Steps between two checks of the new tokens: a row that has ended is computed for a few steps more at most.
CHECK_EVERY = 4
# Cache lengths and, on a GPU, lengths that attention sees are multiples of these.
CACHE_STEP, SEEN_STEP = 128, 256
# On a GPU a step has a multiple of so many rows; fewer are a power of two.
ROW_STEP = 8
# Elsewhere a mask's length is a multiple of this, so that its rows are aligned.
MASK_STEP = 8


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
        with_round_shapes: bool | None = None,
        in_fewer_passes: bool = True,
        by_real_lengths: bool = False,
    ) -> None:
        """`with_graphs` None: if the model is on a CUDA device, and its weights are not quantized.

        `with_round_shapes` None: on every CUDA device, since cuDNN plans for up to half a second for each new
        shape; with graphs always.  `in_fewer_passes` False takes the library's layers; `by_real_lengths` has
        each step's attention read what a row's slot holds and no more, by torch's own FlashAttention, for 16
        bits on a CUDA device.

        Raises: ValueError, if `can_decode` refuses the model, or torch lacks attention by real lengths.
        """
        if not can_decode(model):
            raise ValueError("this loop needs sdpa attention, no sliding window and one device")
        if by_real_lengths and (layers.varlen_attn is None or not in_fewer_passes):
            raise ValueError("attention by real lengths needs a newer torch, and layers in fewer passes")
        self._in_fewer_passes, self._by_real_lengths = in_fewer_passes, by_real_lengths
        self._model = model
        self._stop_ids = frozenset(stop_ids)
        self._prefill_tokens = prefill_tokens
        self._check_every = check_every
        self._device = model.device
        # Quantized matrices read numbers from the GPU in the middle of a step, which no graph may do.
        may_record = model.device.type == "cuda" and not getattr(model, "is_quantized", False)
        self._with_graphs = may_record if with_graphs is None else with_graphs
        is_gpu = model.device.type == "cuda"
        self._with_round_shapes = self._with_graphs or (
            is_gpu if with_round_shapes is None else with_round_shapes
        )
        config = model.config
        is_long = model.model.rotary_emb.rope_type == "longrope"
        self._short_limit = config.original_max_position_embeddings if is_long else None
        self._step: Callable[[int, int], None] = self._decode
        self._cache: SlotCache | None = None

    def run(self, more: More, slots: int) -> Iterator[tuple[Request, Said]]:
        """Answers in the order in which they end.

        Whenever there is room, the loop calls `more(room)` for at most that many requests; the run ends when
        there are none and all are answered.  `slots` is how many are in work at once.
        """
        rows: list[Row] = []
        waiting: deque[Row] = deque()
        while True:
            if room := slots - len(rows) - len(waiting):
                waiting.extend(Row.of(request, self._short_limit) for request in more(room))
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

    def _admit(self, rows: list[Row], waiting: deque[Row], slots: int) -> None:
        """Admit as many rows as have room, in order; a row too long for the cache waits for a new cache."""
        if not rows and waiting:
            self._make_room(max(row.longest for row in waiting), slots)
        assert self._cache is not None
        admitted: list[Row] = []
        while waiting and len(rows) + len(admitted) < slots and waiting[0].longest <= self._cache.length:
            admitted.append(waiting.popleft())
        if admitted:
            first = len(rows)
            self._take_in(rows, admitted)
            self._hear(rows[first:], self._last[first : len(rows)].tolist())

    def _take_in(self, rows: list[Row], newcomers: list[Row]) -> None:
        """Put each into a slot of its own; of rows with the same new beginning, one is prefilled first."""
        while newcomers := self._follow(rows, newcomers):
            leaders = one_of_each(newcomers)
            for group in groups(leaders, self._prefill_tokens):
                self._prefill(group, len(rows))
                rows += group
            newcomers = [row for row in newcomers if row not in leaders]

    def _follow(self, rows: list[Row], newcomers: list[Row]) -> list[Row]:
        """Take in the rows whose beginning lies in some slot, by copying it; return the others."""
        assert self._cache is not None
        following: list[Row] = []
        others: list[Row] = []
        # In the order in which `groups` will have them, since each is copied to its slot before that.
        for row in sorted(newcomers, key=lambda row: row.own_length):
            # Checked for each row: an earlier copy may have overwritten the beginning of a later one.
            if row.beginning is None or row.beginning not in self._beginnings:
                others.append(row)
                continue
            source, target = self._beginnings.index(row.beginning), len(rows) + len(following)
            if source != target:
                self._beginnings[target] = None
                self._cache.move(source, target, row.beginning.length)
            row.shared = row.beginning.length
            following.append(row)
        for group in groups(following, self._prefill_tokens):
            self._prefill(group, len(rows))
            rows += group
        return others

    def _make_room(self, length: int, slots: int) -> None:
        """Make a cache of that many slots, at least that long; free the old one first: both may not fit."""
        if self._cache is not None:
            length = max(length, self._cache.length)
            if self._cache.slots == slots and self._cache.length == length:
                return
        self._cache = None
        self._beginnings: list[Beginning | None] = [None] * slots  # what each slot begins with
        self._step = StepGraphs(self._decode, self._device) if self._with_graphs else self._decode
        length = _rounded(length, CACHE_STEP)
        model, device = self._model, self._device
        self._last = torch.zeros(slots, dtype=torch.int64, device=device)
        self._position = torch.zeros(slots, dtype=torch.int64, device=device)
        self._places = torch.arange(length, device=device)
        self._block = torch.zeros(self._check_every, slots, dtype=torch.int64, device=device)
        self._scores = torch.zeros(slots, model.config.vocab_size, device=device)
        dtype = model.model.norm.weight.dtype
        self._cache = SlotCache(
            model.config, slots, length, device=device, dtype=dtype,
            place_by_place=self._by_real_lengths, is_short_way=self._in_fewer_passes,
        )  # fmt: skip
        self._rows = torch.arange(slots + 1, dtype=torch.int32, device=device)

    def _hear(self, rows: list[Row], tokens: list[int]) -> None:
        for row, token in zip(rows, tokens, strict=True):
            if not self._is_finished(row):
                row.tokens.append(token)

    def _is_finished(self, row: Row) -> bool:
        return bool(row.tokens) and row.tokens[-1] in self._stop_ids

    def _leave(self, rows: list[Row]) -> Iterator[tuple[Request, Said]]:
        """Take out the rows that have ended."""
        for index in reversed(range(len(rows))):
            row = rows[index]
            is_finished = self._is_finished(row)
            if is_finished or len(row.tokens) == row.request.max_new_tokens:
                self._take_out(rows, index)
                yield row.request, Said(row.tokens[:-1] if is_finished else row.tokens, is_finished)

    def _restart_crossing(self, rows: list[Row], waiting: deque[Row]) -> None:
        """Rows that outgrow the short frequencies start over with the long ones, as the original does.

        Their keys lie in the cache rotated by the short ones.
        """
        for index in reversed(range(len(rows))):
            if rows[index].length == self._short_limit:
                row = self._take_out(rows, index)
                row.start_over()
                waiting.appendleft(row)

    def _take_out(self, rows: list[Row], index: int) -> Row:
        """The last row moves into the gap: when removing several rows, remove the last one first."""
        assert self._cache is not None
        row, last = rows[index], rows.pop()
        if last is not row:
            rows[index] = last
            self._cache.move(len(rows), index, last.length)
            self._beginnings[index] = self._beginnings[len(rows)]
            for state in (self._last, self._position):
                state[index] = state[len(rows)]
        return row

    # ---- the device's work -----------------------------------------------------------------------

    @torch.inference_mode()
    def _prefill(self, group: list[Row], first: int) -> None:
        """Compute what the slots from `first` on lack of their prompts, and the first token of each."""
        assert self._cache is not None
        slots = slice(first, first + len(group))
        # If memory runs out in the middle, no row may take a half-written beginning for the old one.
        self._beginnings[slots] = [None] * len(group)
        lengths = [row.new_length for row in group]
        hidden = self._embedded(group, max(lengths))
        starts = torch.tensor([row.shared for row in group])[:, None]
        ends = torch.tensor([row.prompt_length for row in group])
        places = starts + torch.arange(max(lengths))
        # Padding gets the row's last position: a later one could change the choice of its frequencies.
        positions = self._sent(torch.minimum(places, ends[:, None] - 1))
        mask = None
        if any(row.shared for row in group):
            step = SEEN_STEP if self._with_round_shapes else MASK_STEP
            seen = min(_rounded(int(ends.max()), step), self._cache.length)
            # Padding is written behind the row, where its next tokens will be.
            behind = self._sent(places.clamp(max=self._cache.length - 1))
            self._cache.extend(first, behind, seen)
            mask = self._mask(positions, seen, hidden.dtype)
        else:
            self._cache.prefill(first, len(group))
        hidden = self._through_layers(hidden, positions, mask)
        last = torch.stack([hidden[row, length - 1] for row, length in enumerate(lengths)])
        self._last[slots] = self._scored(last, self._scores[slots]).argmax(dim=-1)
        self._position[slots] = self._sent(ends)
        self._draw(group, first)
        self._beginnings[slots] = [row.beginning for row in group]
        for row in group:
            row.length = row.prompt_length

    def _embedded(self, group: list[Row], length: int) -> torch.Tensor:
        """[rows, length, H], pictures laid in; unlike `embed`, without waiting for the device."""
        ids = [row.new_ids() for row in group]
        padded = torch.stack([torch.nn.functional.pad(one, (0, length - len(one))) for one in ids])
        model = self._model.model
        embeddings: torch.Tensor = model.embed_tokens(self._sent(padded))
        pictures = {index: row.request.seen for index, row in enumerate(group) if not row.shared}
        seen = [one for one in pictures.values() if one is not None]
        vectors = vectors_of(
            seen, model.vision_embed_tokens, self._device, embeddings.dtype, self._in_fewer_passes
        )
        for index, one in pictures.items():
            if one is None:
                continue
            taken = 0
            for begin, end in group[index].request.spans:
                embeddings[index, begin:end] = vectors[one][taken : taken + end - begin]
                taken += end - begin
        return embeddings

    def _advance(self, rows: list[Row]) -> None:
        """Take some steps for all rows: none passes its token limit, or the limit of its frequencies."""
        assert self._cache is not None
        steps = min(self._check_every, *(self._steps_left(row) for row in rows))
        count, seen = len(rows), max(row.length for row in rows) + steps
        if self._with_round_shapes:  # few different shapes: few plans, and few graphs
            count = min(_round_rows(count), self._cache.slots)
            seen = min(_rounded(seen, SEEN_STEP), self._cache.length)
        for step in range(steps):
            self._step(count, seen)
            self._draw(rows, 0)
            self._block[step].copy_(self._last)
        for tokens in self._block[:steps, : len(rows)].tolist():
            self._hear(rows, tokens)
        for row in rows:
            row.length += steps

    def _steps_left(self, row: Row) -> int:
        left = row.request.max_new_tokens - len(row.tokens)
        if self._short_limit is None or row.length > self._short_limit:
            return left
        return min(left, self._short_limit - row.length)

    @torch.inference_mode()
    def _decode(self, rows: int, seen: int) -> None:
        """Compute one more token for each of the first `rows` slots.  All its tensors stay in place."""
        assert self._cache is not None
        positions = self._position[:rows]
        self._cache.extend(0, positions[:, None], seen)
        hidden = self._model.model.embed_tokens(self._last[:rows, None])
        mask = None
        if self._by_real_lengths:
            starts = self._rows[: rows + 1]
            used = (positions + 1).int()
            self._cache.real = RealLengths(starts * self._cache.length, starts, used, seen)
        else:
            mask = self._mask(positions[:, None], seen, hidden.dtype)
        hidden = self._through_layers(hidden, positions[:, None], mask)
        self._last[:rows] = self._scored(hidden[:, 0], self._scores[:rows]).argmax(dim=-1)
        # A slot without a row goes on counting; its position must not leave the cache.
        positions.add_(1).clamp_(max=self._cache.length - 1)

    def _mask(self, positions: torch.Tensor, seen: int, dtype: torch.dtype) -> torch.Tensor:
        """[rows, 1, positions, seen], added to the scores: made once, since each layer would convert a
        boolean mask again."""
        is_behind = self._places[:seen] > positions[:, None, :, None]
        return torch.zeros(is_behind.shape, dtype=dtype, device=self._device).masked_fill_(
            is_behind, -torch.inf
        )

    def _through_layers(
        self, hidden: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        model = self._model.model
        cosine, sine = model.rotary_emb(hidden, position_ids=positions)
        turns = (cosine, signed(sine) if self._in_fewer_passes else sine)
        for layer in model.layers:
            hidden = layer(
                hidden,
                attention_mask=mask,
                past_key_values=self._cache,
                position_embeddings=turns,
                use_cache=True,
            )
        return hidden

    def _scored(self, hidden: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores [rows, vocabulary] of the next token, written into the tensor `scores`."""
        return scores.copy_(product(self._model.lm_head, normed(hidden, self._model.model.norm)))

    @torch.inference_mode()
    def _draw(self, rows: list[Row], first: int) -> None:
        """Replace the best token by a sampled one, for the rows whose request has a temperature."""
        for slot, row in enumerate(rows, start=first):
            if row.chance is not None:
                self._last[slot] = row.chosen(self._scores[slot])

    def _sent(self, tensor: torch.Tensor) -> torch.Tensor:
        return sent(tensor, self._device)


def can_decode(model: Phi3VForCausalLM) -> bool:
    """Whether the loop serves this model: all of it on one device, with sdpa attention and no window."""
    config = model.config
    places = {parameter.device for parameter in model.parameters()}
    return config._attn_implementation == "sdpa" and config.sliding_window is None and len(places) == 1


def _round_rows(count: int) -> int:
    return 1 << (count - 1).bit_length() if count < ROW_STEP else _rounded(count, ROW_STEP)


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step
