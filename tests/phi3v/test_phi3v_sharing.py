"""Several questions about the same pictures share one prefill, and get the answers of separate runs."""

from __future__ import annotations

import gc
import random
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from phi3v_goldens import CASE, CASES_WITH_PICTURES, NEW_TOKENS, Case

from captiond.phi3v import Decoder, Phi3VForCausalLM, Phi3VProcessor, Request
from captiond.phi3v.rows import Row
from captiond.phi3v.speed import afresh

WORDS = (
    "",
    "Name what you see.",
    "What is written there? Only the words, or nothing at all, and no more than that.",
)
SHORT = [case for case in CASES_WITH_PICTURES if case.record["rope"] == "short"]


@pytest.fixture
def prefilled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many positions of a prompt each row passed through the network."""
    found: list[int] = []
    prefill = Decoder._prefill

    def counted(decoder: Decoder, group: list[Row], first: int) -> None:
        found.extend(row.new_length for row in group)
        prefill(decoder, group, first)

    monkeypatch.setattr(Decoder, "_prefill", counted)
    return found


def _questions(case: Case, processor: Phi3VProcessor, words: Sequence[str] = WORDS) -> list[Request]:
    """The case's own question and others, with more words, about pictures that were made ready once."""
    seen = case.seen(processor)
    assert seen is not None
    counts = seen.token_counts(processor.image_processor.merged_side)
    before, end, after = case.prompt.rpartition("<|end|>")
    prompts = [f"{before} {more}{end}{after}" if more else case.prompt for more in words]
    return [Request.about(seen, processor.prompt(one, counts), NEW_TOKENS) for one in prompts]


def _feed(requests: Sequence[Request]) -> Callable[[int], list[Request]]:
    left = deque(requests)
    return lambda room: [left.popleft() for _ in range(min(room, len(left)))]


def _said(decoder: Decoder, requests: Sequence[Request], slots: int) -> list[list[int]]:
    found = {id(request): said.tokens for request, said in decoder.run(_feed(requests), slots)}
    return [found[id(request)] for request in requests]


def _alone(model: Phi3VForCausalLM, requests: Sequence[Request]) -> list[list[int]]:
    """Each by a loop that has never seen the pictures."""
    return [_said(Decoder(model, ()), [afresh(request)], 1)[0] for request in requests]


@pytest.mark.parametrize("case", CASES_WITH_PICTURES, ids=str)
def test_questions_together_get_what_they_get_alone(
    case: Case, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM, prefilled: list[int]
) -> None:
    """In every golden case, the original's own question among them; short prompts pass the network once."""
    asked = _questions(case, processor)
    alone = _alone(sdpa, asked)
    assert alone[0] == case.greedy_tokens
    prefilled.clear()
    decoder = Decoder(sdpa, ())
    assert _said(decoder, asked, 3) == alone
    if case in SHORT:
        beginning = asked[0].spans[-1][1]
        assert sorted(prefilled)[:2] == sorted(len(one.input_ids) - beginning for one in asked)[1:]
    # One after the other, after those: the slots still hold what they need.
    again = [replace(one) for one in reversed(asked)]
    assert [_said(decoder, [one], 3)[0] for one in again] == alone[::-1]


def test_rows_that_share_come_and_go_beside_others(
    processor: Phi3VProcessor, sdpa: Phi3VForCausalLM, prefilled: list[int]
) -> None:
    """Questions of several pictures mixed at random, of any length, while slots get free and filled again."""
    rng = random.Random(5)
    names = ("square_336-c1", "tall_480x640-c4", "land_640x480-c1", "palette_222x99-c4", "two_images-c4")
    asked = [one for name in names for one in _questions(CASE[name], processor)] * 2
    asked = [replace(one, max_new_tokens=rng.randint(1, NEW_TOKENS)) for one in asked]
    rng.shuffle(asked)
    alone = _alone(sdpa, asked)
    for slots in (1, 2, 5):
        prefilled.clear()
        assert _said(Decoder(sdpa, ()), [replace(one) for one in asked], slots) == alone
        assert sum(prefilled) < sum(len(one.input_ids) for one in asked)


def test_a_question_over_the_short_limit_runs_by_itself(
    processor: Phi3VProcessor, sdpa: Phi3VForCausalLM, prefilled: list[int]
) -> None:
    """Its keys are turned by the long frequencies, those of the others by the short ones."""
    limit = sdpa.config.original_max_position_embeddings
    case = CASE["crossing-c4"]
    (own,) = _questions(case, processor, [""])
    missing = limit - len(own.input_ids)
    asked = _questions(case, processor, ["", "a" * (missing + 8), "a"])
    lengths = [len(one.input_ids) for one in asked]
    assert lengths[0] < lengths[2] <= limit < lengths[1]
    alone = _alone(sdpa, asked)
    assert alone[0] == case.greedy_tokens
    prefilled.clear()
    assert _said(Decoder(sdpa, ()), asked, 3) == alone
    assert lengths[1] in prefilled


def test_memory_that_runs_out_in_a_prefill_leaves_nothing_half_written(
    processor: Phi3VProcessor, sdpa: Phi3VForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a prefill that failed in the middle, no question goes on from what it left in a slot."""
    first, other = (_questions(CASE[name], processor)[0] for name in ("square_336-c1", "tall_480x640-c4"))
    alone = _alone(sdpa, [first, other])
    decoder = Decoder(sdpa, ())
    assert _said(decoder, [first], 1) == alone[:1]
    last_layer = sdpa.model.layers[-1]
    whole = last_layer.forward

    def fails(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(last_layer, "forward", fails)
    with pytest.raises(torch.OutOfMemoryError):
        _said(decoder, [other], 1)
    monkeypatch.setattr(last_layer, "forward", whole)
    assert [_said(decoder, [replace(one)], 1)[0] for one in (first, other)] == alone


def test_a_step_for_idle_slots_spoils_no_beginning(
    processor: Phi3VProcessor, sdpa: Phi3VForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the few shapes of CUDA graphs, slots without a row go on counting, behind what they began with."""
    monkeypatch.setattr("captiond.phi3v.generation.StepGraphs", lambda step, device: step)
    asked = _questions(CASE["tall_480x640-c4"], processor) + _questions(CASE["square_336-c1"], processor)
    alone = _alone(sdpa, asked)
    decoder = Decoder(sdpa, (), with_graphs=True)
    assert _said(decoder, asked, 5) == alone
    for part in (asked[:3], asked[3:], asked[1:4], asked):
        again = [replace(one) for one in part]
        assert _said(decoder, again, 5) == [alone[asked.index(one)] for one in part]


def test_pictures_that_nobody_asks_about_any_more_are_let_go(
    processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """A slot remembers a beginning without holding its pictures in memory."""
    decoder = Decoder(sdpa, ())
    (asked,) = _questions(CASE["square_336-c1"], processor, [""])
    _said(decoder, [asked], 1)
    assert asked.seen is not None
    seen = weakref.ref(asked.seen)
    del asked
    gc.collect()
    assert seen() is None


def test_chance_is_a_rows_own(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """With a temperature a seed decides the answer, whatever is asked beside it; without one it is greedy."""
    greedy, *_ = asked = _questions(CASE["tall_480x640-c4"], processor)
    hot = [replace(one, temperature=1.5, seed=seed) for one in asked for seed in (1, 2)]
    alone = _alone(sdpa, hot)
    assert len({tuple(tokens) for tokens in alone}) == len(hot)
    mixed = [hot[0], greedy, *hot[1:], replace(greedy)]
    found = _said(Decoder(sdpa, ()), mixed, 3)
    assert found[1] == found[-1] == CASE["tall_480x640-c4"].greedy_tokens
    assert [found[0], *found[2:-1]] == alone
    cold = replace(greedy, temperature=1e-4, seed=7)
    assert _said(Decoder(sdpa, ()), [cold], 1) == [CASE["tall_480x640-c4"].greedy_tokens]
    free = [replace(greedy, temperature=1.5) for _ in range(2)]
    first, second = _said(Decoder(sdpa, ()), free, 2)
    assert first != second
