"""The goldens on a CUDA device: float32 to the letter, bfloat16 and squeezed weights nearby."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from phi3v_goldens import CASE, CHECKPOINT, Case, batch_of, greedy, logits

from captiond.phi3v import Decoder, Phi3VForCausalLM, Phi3VProcessor, load, quantization_config

pytestmark = pytest.mark.gpu

NAMES = ["square_336-c1", "land_640x480-c16", "crossing-c4", "two_images-c4", "text_only"]
CASES = [CASE[name] for name in NAMES]
EXPECTED = [case.greedy_tokens for case in CASES]


@pytest.fixture(scope="module")
def device() -> str:
    """The promised GPU; tests skip where none was promised."""
    if not torch.cuda.is_available():
        if os.environ.get("CAPTIOND_TEST_GPU") == "1":
            pytest.fail("CAPTIOND_TEST_GPU=1 promises a CUDA device, and torch sees none")
        pytest.skip("no CUDA device")
    return "cuda"


@pytest.fixture(scope="module")
def whole(device: str) -> Phi3VForCausalLM:
    return load(CHECKPOINT, device_map=device)[0]


def test_the_device_says_the_originals_tokens(
    whole: Phi3VForCausalLM, device: str, processor: Phi3VProcessor
) -> None:
    """In float32 a mixed batch is answered with the original's tokens, from logits within 2e-3."""
    batch = batch_of(CASES, processor).to(device)
    found = logits(whole, batch, logits_to_keep=1)[:, 0].cpu()
    expected = torch.stack([case.tensor("last_logits").reshape(-1) for case in CASES])
    assert torch.allclose(found, expected, rtol=0, atol=2e-3)
    assert greedy(whole, batch) == EXPECTED


@pytest.mark.parametrize("case", CASES[:-1], ids=str)
def test_the_device_makes_the_same_floats(case: Case, device: str, processor: Phi3VProcessor) -> None:
    """Bytes are normalised there to the same bits; scaled, for the global view, to nearly the same ones."""
    seen, expected = case.seen(processor), case.batch(processor)["pixel_values"]
    assert seen is not None and seen.pictures is not None
    for fitted, values in zip(seen.pictures, expected, strict=True):
        views = processor.image_processor.views(fitted.pixels.to(device)).cpu()
        assert torch.equal(views[1:], values[1 : len(views)])
        assert torch.allclose(views[0], values[0], rtol=0, atol=1e-5)


def test_a_compiled_static_cache_says_the_same(
    whole: Phi3VForCausalLM, device: str, processor: Phi3VProcessor
) -> None:
    """A static cache, whose decoding steps transformers compiles on a GPU, changes no token."""
    batch = batch_of(CASES, processor).to(device)
    assert greedy(whole, batch, cache_implementation="static") == EXPECTED


@pytest.mark.parametrize("slots", [1, 4])
def test_recorded_steps_say_the_same(
    slots: int, whole: Phi3VForCausalLM, device: str, processor: Phi3VProcessor
) -> None:
    """Our loop, its steps recorded as CUDA graphs and replayed twice over, changes no token."""
    decoder = Decoder(whole, ())
    for _ in range(2):
        requests = [case.request(processor, 24, pin=True) for case in CASES]
        left = list(reversed(requests))
        answers = decoder.run(lambda room: [left.pop() for _ in range(min(room, len(left)))], slots)  # noqa: B023
        found = {id(request): said.tokens for request, said in answers}
        assert [found[id(request)] for request in requests] == EXPECTED


@pytest.mark.parametrize("attention", ["sdpa", "flash_attention_2"])
def test_bfloat16_stays_near(attention: str, device: str, processor: Phi3VProcessor) -> None:
    """In bfloat16 every row of a padded batch stays close to the original's logits, and generates."""
    if attention == "flash_attention_2" and find_spec("flash_attn") is None:
        pytest.skip("flash_attn is not installed")
    halved, _ = load(CHECKPOINT, dtype=torch.bfloat16, device_map=device, attn_implementation=attention)
    batch = batch_of(CASES, processor).to(device)
    found = logits(halved, batch, logits_to_keep=1)[:, 0].cpu()
    expected = torch.stack([case.tensor("last_logits").reshape(-1) for case in CASES])
    assert (torch.cosine_similarity(found, expected) > 0.99).all()
    assert [len(row) for row in greedy(halved, batch)] == [24] * len(CASES)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is missing")
@pytest.mark.filterwarnings("ignore")  # the quantiser's own, about casts
@pytest.mark.parametrize("bits", [8, 4])
def test_squeezed_weights_generate(bits: Any, device: str, processor: Phi3VProcessor) -> None:
    """With an 8- or 4-bit decoder a mixed batch gets finite logits and answers."""
    squeezed, _ = load(
        CHECKPOINT, dtype=torch.bfloat16, device_map=device, quantization_config=quantization_config(bits)
    )
    batch = batch_of(CASES, processor).to(device)
    assert torch.isfinite(logits(squeezed, batch, logits_to_keep=1)).all()
    assert [len(row) for row in greedy(squeezed, batch)] == [24] * len(CASES)
