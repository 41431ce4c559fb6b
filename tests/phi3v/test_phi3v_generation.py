"""The decoding loop: whatever comes and goes beside it, a prompt gets the answer that it gets alone."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from phi3v_goldens import CASES, NEW_TOKENS, Case
from PIL import Image

from captiond import demo
from captiond.demo import scenes
from captiond.phi3v import (
    Decoder,
    Phi3VConfig,
    Phi3VForCausalLM,
    Phi3VProcessor,
    Request,
    Seen,
    build_prompt,
    load,
)

SHORT = [case for case in CASES if case.record["input_len"] < 1200 or "crossing" in case.name]
CASES_BY_LENGTH = sorted(CASES, key=lambda case: int(case.record["input_len"]))


def _request(case: Case, processor: Phi3VProcessor, new_tokens: int = NEW_TOKENS) -> Request:
    return case.request(processor, new_tokens)


def _feed(requests: Sequence[Request]) -> Callable[[int], list[Request]]:
    left = deque(requests)
    return lambda room: [left.popleft() for _ in range(min(room, len(left)))]


def _answers(decoder: Decoder, requests: Sequence[Request], slots: int) -> list[list[int]]:
    found = {id(request): said.tokens for request, said in decoder.run(_feed(requests), slots)}
    return [found[id(request)] for request in requests]


def _scene(seed: int) -> Image.Image:
    rng = random.Random(seed)
    scene = scenes.random_scene(rng)
    return scenes.draw(scene, *scenes.random_size(rng, scene, longest=800))


@pytest.mark.parametrize("slots", [1, 5])
def test_every_prompt_gets_the_originals_tokens(
    slots: int, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """Text, one and two pictures, short and long frequencies and a switch between them, as slots get free."""
    crossing = [case for case in CASES if "crossing" in case.name]
    cases = (CASES[::2] if slots > 1 else SHORT[:4]) + crossing
    found = _answers(Decoder(sdpa, ()), [_request(case, processor) for case in cases], slots)
    assert found == [case.greedy_tokens for case in cases]


def test_rows_of_different_limits_leave_and_are_replaced(
    processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """Each row ends at its own limit, and whoever takes its place is not disturbed by what it left."""
    limits = [1, 7, 24, 2, 13, 5, 24, 3, 11, 1, 4, 19]
    cases = [SHORT[index % len(SHORT)] for index in range(len(limits))]
    requests = [_request(case, processor, limit) for case, limit in zip(cases, limits, strict=True)]
    found = _answers(Decoder(sdpa, ()), requests, 3)
    expected = [case.greedy_tokens[:limit] for case, limit in zip(cases, limits, strict=True)]
    assert found == expected


def test_a_stop_token_ends_its_row_alone(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """A row ends before its first stop token, also between two looks; the others go on to their own end."""
    cases = SHORT[:6]
    stops = {cases[0].greedy_tokens[5], cases[3].greedy_tokens[2]}
    requests = [_request(case, processor) for case in cases]
    found = {id(request): said for request, said in Decoder(sdpa, stops).run(_feed(requests), 4)}
    for request, case in zip(requests, cases, strict=True):
        length = next((n for n, token in enumerate(case.greedy_tokens) if token in stops), NEW_TOKENS)
        assert found[id(request)] == (case.greedy_tokens[:length], length < NEW_TOKENS)


def test_a_step_for_more_rows_than_there_are_changes_nothing(
    processor: Phi3VProcessor, sdpa: Phi3VForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few shapes that CUDA graphs are recorded for, taken without graphs: idle slots disturb nobody."""
    monkeypatch.setattr("captiond.phi3v.generation.StepGraphs", lambda step, device: step)
    cases = SHORT[:7]
    decoder = Decoder(sdpa, (), with_graphs=True)
    requests = [_request(case, processor) for case in cases]
    assert _answers(decoder, requests, 5) == [case.greedy_tokens for case in cases]
    assert _answers(decoder, requests[:3], 5) == [case.greedy_tokens for case in cases[:3]]


@pytest.mark.parametrize("with_graphs", [True, False])
def test_steps_have_few_shapes(
    with_graphs: bool, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing is recorded (squeezed weights), as rows come and go: multiples of eight rows, or a
    power of two, and lengths in wide steps."""
    shapes: set[tuple[int, int]] = set()
    decode = Decoder._decode

    def noted(decoder: Decoder, rows: int, seen: int) -> None:
        shapes.add((rows, seen))
        decode(decoder, rows, seen)

    monkeypatch.setattr(Decoder, "_decode", noted)
    monkeypatch.setattr("captiond.phi3v.generation.StepGraphs", lambda step, device: step)
    text = CASES_BY_LENGTH[0]
    limits = [24 - at // 2 for at in range(20)]
    requests = [_request(text, processor, limit) for limit in limits]
    decoder = Decoder(sdpa, (), with_graphs=with_graphs, with_round_shapes=True)
    assert _answers(decoder, requests, 19) == [text.greedy_tokens[:limit] for limit in limits]
    assert {rows for rows, _ in shapes} <= {1, 2, 4, 8, 16, 19}
    assert len({seen for _, seen in shapes}) <= 2


def test_a_longer_prompt_gets_a_longer_cache(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """What does not fit into the cache waits until it can be replaced, and whoever waits behind it too."""
    short, long = CASES[0], max(CASES, key=lambda case: int(case.record["input_len"]))
    cases = [short, short, long, short]
    found = _answers(Decoder(sdpa, ()), [_request(case, processor) for case in cases], 2)
    assert found == [case.greedy_tokens for case in cases]


def test_equal_crops_pass_the_tower_once(processor: Phi3VProcessor) -> None:
    """A picture of one crop is its own global view; the halves of a picture of one colour are alike."""
    pictures = processor.image_processor
    for size, num_crops, looked_at in (((640, 480), 4, 3), ((336, 336), 1, 1), ((300, 90), 1, 1)):
        gray = Image.new("RGB", size, "gray")
        seen = Seen.of(pictures, [gray], num_crops)
        assert seen.pictures is not None
        (fitted,) = seen.pictures
        assert len(fitted.different) == looked_at
        views = pictures.views(fitted.pixels)[fitted.different]
        assert torch.equal(views[fitted.order], pictures(gray, num_crops)["pixel_values"][0])


def test_the_demo_model_says_what_generate_says() -> None:
    """Sixteen drawn scenes: the answers of `generate`, asked one by one, to the letter."""
    model, processor = load(demo.checkpoint_path(), dtype=torch.float32, attn_implementation="sdpa")
    prompt = build_prompt("Describe what is shown in this image.")
    pictures = [_scene(seed) for seed in range(16)]
    batches = [processor(picture, prompt) for picture in pictures]
    generate: Any = model.generate  # type: ignore[misc]  # its `self` has a type of its own
    alone = [
        processor.answers(generate(**batch, max_new_tokens=40, do_sample=False), batch["input_ids"].shape[1])[
            0
        ]
        for batch in batches
    ]
    decoder = Decoder(model, processor.stop_ids)
    requests = [
        Request.about(Seen.of(processor.image_processor, [picture]), batch, 40)
        for picture, batch in zip(pictures, batches, strict=True)
    ]
    together = _answers(decoder, requests, 8)
    assert [processor.text(tokens) for tokens in together] == [answer.text for answer in alone]
    assert len({answer.text for answer in alone}) > 10


def test_shared_key_heads_decode_too() -> None:
    """A network whose query heads share key heads gets what `generate` says as well."""
    torch.manual_seed(0)
    config = Phi3VConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, eos_token_id=None, max_position_embeddings=512,
        original_max_position_embeddings=512, initializer_range=0.3,
        vision_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
                       "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    )  # fmt: skip
    model = Phi3VForCausalLM._from_config(config, attn_implementation="sdpa").eval()  # type: ignore[no-untyped-call]
    prompts = [torch.randint(1, 300, (1, length)) for length in (5, 40, 1, 23)]
    alone = [model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :] for ids in prompts]
    requests = [Request(ids[0], (), None, 12) for ids in prompts]
    assert _answers(Decoder(model, ()), requests, 3) == [row.tolist() for row in alone]


def test_what_the_loop_cannot_serve_is_refused(eager: Phi3VForCausalLM) -> None:
    """Eager attention would need a mask that the loop does not make."""
    with pytest.raises(ValueError, match="sdpa"):
        Decoder(eager, ())
