"""Ours against the original code, on every golden case."""

from __future__ import annotations

import pytest
import torch
from phi3v_goldens import (
    CASES,
    CASES_WITH_PICTURES,
    LOGIT_TOLERANCE,
    Case,
    as_original_ids,
    greedy,
    logits,
)

from captiond.phi3v import Phi3VForCausalLM, Phi3VProcessor

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_case_with_pictures = pytest.mark.parametrize("case", CASES_WITH_PICTURES, ids=str)


@every_case
def test_ids_equal_the_originals(case: Case, processor: Phi3VProcessor) -> None:
    """A prompt becomes the ids of the original processor, once its negative ids are read as pictures."""
    batch = case.batch(processor)
    expected = [token for token, repeat in case.record["input_ids_rle"] for _ in range(repeat)]
    assert as_original_ids(batch) == expected
    assert int(batch["attention_mask"].sum()) == case.record["attention_mask_sum"]
    assert int(batch["input_ids"].min()) >= 0


# The kernels that the goldens were made with.  Others (x86 without AVX2, ARM) fuse multiplying and adding
# otherwise, which shows in the last bits of the resized global view.
HAS_THE_ORIGINALS_KERNELS = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
PIXEL_TOLERANCE = 1e-5


def _are_the_same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    if HAS_THE_ORIGINALS_KERNELS:
        return torch.equal(found, expected)
    return torch.allclose(found, expected, rtol=0, atol=PIXEL_TOLERANCE)


@every_case_with_pictures
def test_pixels_equal_the_originals(case: Case, processor: Phi3VProcessor) -> None:
    """Pictures become the floats of the original image processor, and as many tokens.

    Crops are equal bit for bit; so is the global view wherever torch has the kernels of the original's run.
    """
    seen = processor.image_processor(case.pictures(), num_crops=case.num_crops)
    pixels, expected = seen["pixel_values"], case.record["pixel_values"]
    assert list(pixels.shape) == expected["shape"]
    assert str(pixels.dtype) == expected["dtype"]
    assert _are_the_same(pixels[:, 0, :, ::8, ::8], case.tensor("pv_global"))
    assert torch.equal(pixels[:, 1:, :, 5::56, 3::56], case.tensor("pv_crops"))
    if case.has_tensor("pv_global_full_ch0"):
        full = case.tensor("pv_global_full_ch0").reshape(pixels[:, 0, 0].shape)
        halved = pixels[:, 0, 0].to(full.dtype)
        within = 0 if HAS_THE_ORIGINALS_KERNELS else torch.finfo(full.dtype).eps
        assert torch.allclose(halved, full, rtol=within, atol=0)
    within = 1e-12 if HAS_THE_ORIGINALS_KERNELS else 1e-6
    assert float(pixels.double().sum()) == pytest.approx(expected["sum"], rel=within)
    assert float(pixels.double().abs().sum()) == pytest.approx(expected["abs_sum"], rel=within)
    flat = pixels.double().flatten(2)
    assert torch.allclose(flat.mean(-1), torch.tensor(expected["crop_mean"]).double(), rtol=0, atol=1e-7)
    assert torch.allclose(flat.std(-1), torch.tensor(expected["crop_std"]).double(), rtol=0, atol=1e-5)
    assert seen["image_sizes"].tolist() == case.record["image_sizes"]
    assert seen["num_img_tokens"].tolist() == case.record["num_img_tokens"]


@every_case_with_pictures
@torch.no_grad()
def test_picture_vectors_equal_the_originals(
    case: Case, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """Tower, merge, separators and projector give the original's vectors in the original's order."""
    batch = case.batch(processor)
    vectors = sdpa.model.vision_embed_tokens(batch["pixel_values"], batch["image_sizes"])
    expected = case.record["projected"]
    assert list(vectors.shape) == expected["shape"]
    sample = case.tensor("projected_sample")
    step = 1 if len(sample) == len(vectors) else 53
    assert torch.allclose(vectors[::step], sample, rtol=0, atol=LOGIT_TOLERANCE)
    assert float(vectors.double().sum()) == pytest.approx(expected["sum"], abs=1e-6 * expected["abs_sum"])


@every_case
def test_logits_equal_the_originals(case: Case, processor: Phi3VProcessor, model: Phi3VForCausalLM) -> None:
    """A forward pass gives the original's logits, at the last position and at six others."""
    found = logits(model, case.batch(processor))[0]
    assert found.dtype == torch.float32
    expected_last, expected_others = case.tensor("last_logits"), case.tensor("extra_logits")
    assert torch.allclose(found[-1], expected_last.reshape(-1), rtol=0, atol=LOGIT_TOLERANCE)
    others = found[case.record["extra_logit_positions"]]
    assert torch.allclose(others, expected_others.reshape(others.shape), rtol=0, atol=LOGIT_TOLERANCE)


@every_case
def test_greedy_tokens_equal_the_originals(
    case: Case, processor: Phi3VProcessor, model: Phi3VForCausalLM
) -> None:
    """Generation with a cache says what the original says, also where the rotary frequencies switch."""
    assert greedy(model, case.batch(processor)) == [case.greedy_tokens]


@every_case
def test_a_static_cache_says_the_same(case: Case, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """A cache of fixed size changes no token, also where the rotary frequencies switch."""
    assert greedy(sdpa, case.batch(processor), cache_implementation="static") == [case.greedy_tokens]


@pytest.mark.parametrize("name", ["text_only", "crossing-c4", "square_336-c1"])
def test_no_cache_says_the_same(name: str, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """Without a cache every step sees the pictures again, and no token changes."""
    case = next(case for case in CASES if case.name == name)
    assert greedy(sdpa, case.batch(processor), use_cache=False) == [case.greedy_tokens]


@every_case
def test_answers_read_like_the_originals(case: Case, processor: Phi3VProcessor) -> None:
    """Generated ids decode to the original's text, up to the first stop token and without outer spaces."""
    row = torch.tensor([[1, 2, 3, *case.greedy_tokens]])
    (answer,) = processor.answers(row, prompt_length=3)
    assert answer.is_finished == (not processor.stop_ids.isdisjoint(case.greedy_tokens))
    if answer.is_finished:
        assert case.greedy_tokens[answer.token_count] in processor.stop_ids
        # A character may have been cut in two, so its last bytes are left out of the comparison.
        assert case.record["text"].strip().startswith(answer.text.rstrip("\ufffd"))
    else:
        assert answer.text == case.record["text"].strip()
        assert answer.token_count == len(case.greedy_tokens)
