"""Several prompts at once, and what must not depend on the neighbours."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from phi3v_goldens import CASE, LOGIT_TOLERANCE, Case, batch_of, greedy, logits, picture

from captiond.phi3v import Phi3VForCausalLM, Phi3VProcessor, build_prompt

# Short and long rotary frequencies, a row that switches, one and 16 crops, two pictures and none.
MIXTURES = {
    "sizes": ["square_336-c1", "tall_480x640-c4", "palette_222x99-c4", "land_640x480-c1"],
    "short-beside-long": ["square_336-c1", "trunc_448x309-c16", "pano_1344x336-c4"],
    "crossing-beside-short": ["crossing-c4", "unicode-c1"],
    "crossing-beside-long": ["crossing-c4", "two_images-c4"],
    "with-and-without-pictures": ["two_images-c4", "text_only", "rgba_420x300-c1"],
}
every_mixture = pytest.mark.parametrize("names", MIXTURES.values(), ids=MIXTURES)


def _cases(names: list[str]) -> list[Case]:
    return [CASE[name] for name in names]


def test_batches_are_padded_on_the_left(processor: Phi3VProcessor) -> None:
    """Short prompts get padding before them, masked out, and end where the longest ends."""
    short, long = _cases(["text_only", "square_336-c1"])
    batch = batch_of([short, long], processor)
    padding = long.record["input_len"] - short.record["input_len"]
    assert batch["attention_mask"].tolist()[0] == [0] * padding + [1] * short.record["input_len"]
    assert batch["attention_mask"][1].all()
    assert not batch["mm_token_type_ids"][0].any()
    alone = short.batch(processor)["input_ids"][0]
    assert torch.equal(batch["input_ids"][0, padding:], alone)


@pytest.mark.parametrize(
    "names", [MIXTURES["sizes"], MIXTURES["crossing-beside-short"]], ids=["sizes", "crossing"]
)
def test_neighbours_change_no_logits_in_eager_attention(
    names: list[str], processor: Phi3VProcessor, eager: Phi3VForCausalLM
) -> None:
    """Plain attention masks the padding as well as the fused one."""
    found = logits(eager, batch_of(_cases(names), processor), logits_to_keep=1)
    expected = torch.stack([case.tensor("last_logits").reshape(1, -1) for case in _cases(names)])
    assert torch.allclose(found, expected, rtol=0, atol=LOGIT_TOLERANCE)


@every_mixture
def test_neighbours_change_no_logits(
    names: list[str], processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """A prompt's last logits are the original's whatever else is in the batch, without any position ids."""
    found = logits(sdpa, batch_of(_cases(names), processor), logits_to_keep=1)
    expected = torch.stack([case.tensor("last_logits").reshape(1, -1) for case in _cases(names)])
    assert torch.allclose(found, expected, rtol=0, atol=LOGIT_TOLERANCE)


@every_mixture
def test_neighbours_change_no_tokens(
    names: list[str], processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """A prompt is answered with the original's tokens whatever else is in the batch."""
    cases = _cases(names)
    assert greedy(sdpa, batch_of(cases, processor)) == [case.greedy_tokens for case in cases]


@every_mixture
def test_neighbours_change_no_tokens_in_a_static_cache(
    names: list[str], processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """A cache of fixed size keeps the rows of a batch apart just as well."""
    cases = _cases(names)
    found = greedy(sdpa, batch_of(cases, processor), cache_implementation="static")
    assert found == [case.greedy_tokens for case in cases]


def test_several_answers_keep_their_pictures(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """Asking for two answers per prompt repeats all pictures of that prompt, in its order."""
    cases = _cases(["two_images-c4", "text_only", "rgba_420x300-c1"])
    # Sampling from the one best token is greedy, and may return several answers.
    found = greedy(
        sdpa, batch_of(cases, processor), do_sample=True, top_k=1, num_return_sequences=2, max_new_tokens=6
    )
    assert found == [case.greedy_tokens[:6] for case in cases for _ in range(2)]


def test_beams_see_their_own_pictures(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """Beam search gives a prompt with two pictures the same answer alone and beside another."""
    options = {"num_beams": 3, "max_new_tokens": 6}
    both = _cases(["two_images-c4", "land_640x480-c1"])
    together = greedy(sdpa, batch_of(both, processor), **options)
    alone = [greedy(sdpa, case.batch(processor), **options)[0] for case in both]
    assert together == alone


def test_logits_processors_can_read_the_prompt(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """Penalties that look tokens up by the prompt's ids work, as no id is negative."""
    batch = CASE["square_336-c1"].batch(processor)
    options = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "max_new_tokens": 8}
    (tokens,) = greedy(sdpa, batch, **options)
    assert len(set(pairwise(tokens))) == len(tokens) - 1


def test_prompts_decode(processor: Phi3VProcessor) -> None:
    """A prompt's ids decode back to its words."""
    batch = CASE["square_336-c1"].batch(processor)
    text = processor.tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True)
    assert "Describe the image in one sentence." in text


def test_one_picture_may_be_given_bare(processor: Phi3VProcessor) -> None:
    """One prompt and one picture need no lists around them."""
    bare = processor(picture("square_336"), build_prompt("what"))
    listed = processor([picture("square_336")], [build_prompt("what")])
    assert bare.keys() == listed.keys()
    assert all(torch.equal(bare[name], listed[name]) for name in bare)


@pytest.mark.parametrize(
    ("prompt", "pictures", "complaint"),
    [
        ("<|user|>\nno tag<|end|>\n", 1, "0 image tags for 1 pictures"),
        ("<|image_1|>\n<|image_2|>\n", 1, "2 image tags for 1 pictures"),
        ("<|image_2|>\n<|image_1|>\n", 2, "in order"),
        ("<|image_1|>\n<|image_1|>\n", 2, "in order"),
        ("<|image_2|>\n", 1, "in order"),
        (None, 1, "a prompt is needed"),
    ],
)
def test_tags_and_pictures_must_match(
    prompt: str | None, pictures: int, complaint: str, processor: Phi3VProcessor
) -> None:
    """Tags that do not count up, or do not match the pictures, are refused instead of misplaced."""
    with pytest.raises(ValueError, match=complaint):
        processor([picture("square_336")] * pictures, prompt)


def test_missing_or_surplus_pictures_are_refused(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """The network refuses picture positions without pictures, and pictures without enough positions."""
    batch = CASE["square_336-c1"].batch(processor)
    text = {name: batch[name] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    pictures = {name: batch[name] for name in ("pixel_values", "image_sizes")}
    with pytest.raises(ValueError, match="no pixel_values"):
        sdpa(**text)
    with pytest.raises(ValueError, match="313 picture positions, the pictures 626"):
        sdpa(**text, **{name: torch.cat([values] * 2) for name, values in pictures.items()})
    with pytest.raises(ValueError, match="mm_token_type_ids"):
        sdpa(input_ids=text["input_ids"], **pictures)
    with pytest.raises(ValueError, match="the tower takes"):
        sdpa(**text, **{**pictures, "pixel_values": torch.zeros(1, 2, 3, 84, 84)})
    with pytest.raises(ValueError, match="2x2 crops do not fit 2 slots"):
        sdpa(**text, **{**pictures, "image_sizes": torch.tensor([[672, 672]])})
    with pytest.raises(ValueError, match="1 pictures, but 2 image_sizes"):
        sdpa(**text, **{**pictures, "image_sizes": torch.tensor([[336, 336]] * 2)})


def test_the_prompt_follows_the_chat_template(processor: Phi3VProcessor) -> None:
    """Prompts are written as the checkpoint's own chat template writes them."""
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "<|image_1|>\n<|image_2|>\nCompare."},
    ]
    expected = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert build_prompt("Compare.", image_count=2, system="Be short.") == expected
    assert build_prompt("What?") == "<|user|>\n<|image_1|>\nWhat?<|end|>\n<|assistant|>\n"
