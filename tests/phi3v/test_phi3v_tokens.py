"""The right tokenizer is recognised, a wrong one refused, and answers end where they should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from phi3v_goldens import CASE, CHECKPOINT, generate
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import LlamaTokenizer, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerFast

from captiond.phi3v import (
    Phi3VForCausalLM,
    Phi3VImageProcessor,
    Phi3VProcessor,
    TokenizerMismatch,
    check_tokenizer,
    stop_token_ids,
)
from captiond.phi3v.tokens import KNOWN_PROMPT, KNOWN_SPECIALS

REAL = json.loads((Path(__file__).parent / "real_tokenizer_cases.json").read_text(encoding="utf-8"))

# The pieces of the published prompt with their published ids.
PIECES = {
    "▁": 29871,
    "\n": 13,
    "Sum": 11139,
    "mar": 3034,
    "ize": 675,
    "▁the": 278,
    "▁deck": 19810,
    "▁of": 310,
    "▁sl": 2243,
    "ides": 2247,
    ".": 29889,
}
SPECIALS = ["<s>", "<unk>", "</s>", *KNOWN_SPECIALS, "<|system|>"]


def published(
    *, prepends: bool = True, begins: bool = True, strips: bool = True, ids: dict[str, int] | None = None
) -> PreTrainedTokenizerFast:
    """A tokenizer that knows one prompt and has the published ids for it, with or without a fault."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "<|system|>": 32006, **KNOWN_SPECIALS, **PIECES}
    vocabulary |= ids or {}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    replace = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace] if prepends else [replace])
    longest_first = sorted(PIECES, key=len, reverse=True)
    pattern = "|".join(piece.replace(".", r"\.") for piece in longest_first)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    if begins:
        backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    backend.add_special_tokens(
        [AddedToken(word, rstrip=strips and word == "<|assistant|>", normalized=False) for word in SPECIALS]
    )
    names = {"bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<|endoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)  # type: ignore[no-untyped-call]


def test_the_known_prompt_is_the_published_one() -> None:
    """The ids checked at start-up are those of the real tokenizer."""
    real = {case["text"]: case["ids"] for case in REAL["encode"]}
    assert KNOWN_PROMPT.items() <= real.items()
    assert KNOWN_SPECIALS.items() <= REAL["special"].items()


def test_the_published_ids_are_accepted() -> None:
    """A tokenizer with the published ids passes, and answers end at the published stop tokens."""
    tokenizer = published()
    check_tokenizer(tokenizer)
    assert stop_token_ids(tokenizer) == [2, 32000, 32001, 32007]


def test_pictures_stand_in_the_published_prompt() -> None:
    """The published single-picture prompt becomes the ids of the real run, with <|image|> at its picture."""
    processor = Phi3VProcessor(Phi3VImageProcessor(num_crops=1), published())
    question = "<|user|>\n<|image_1|>\nSummarize the deck of slides.<|end|>\n<|assistant|>\n"
    batch = processor(Image.new("RGB", (336, 336)), question)
    before, after = KNOWN_PROMPT.values()
    assert batch["input_ids"].tolist() == [[*before, *[32044] * 313, *after]]
    assert batch["mm_token_type_ids"].tolist() == [[0] * len(before) + [1] * 313 + [0] * len(after)]


@pytest.mark.parametrize(
    "fault",
    [
        {"prepends": False},
        {"begins": False},
        {"strips": False},
        {"ids": {"Sum": 11140}},
        {"ids": {"<|user|>": 32011}},
        {"ids": {"<|image|>": 32045}},
    ],
    ids=str,
)
def test_other_ids_under_the_published_vocabulary_are_refused(fault: dict[str, Any]) -> None:
    """Where <|end|> is 32007, any deviation from the published ids is a wrong tokenizer."""
    with pytest.raises(TokenizerMismatch):
        check_tokenizer(published(**fault))


@pytest.mark.parametrize("fault", [{"prepends": False}, {"begins": False}, {"strips": False}], ids=str)
def test_other_vocabularies_are_held_to_the_structure(fault: dict[str, Any]) -> None:
    """With other ids a tokenizer must still begin with <s>, keep its "▁" and strip after <|assistant|>."""
    check_tokenizer(published(ids={"<|end|>": 40000}))
    with pytest.raises(TokenizerMismatch, match=r"expected|is lost"):
        check_tokenizer(published(ids={"<|end|>": 40000}, **fault))


def test_a_tokenizer_of_another_model_is_refused() -> None:
    """A tokenizer without the chat tokens is named as such."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    other = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, unk_token="<unk>"
    )
    with pytest.raises(TokenizerMismatch, match=r"no <\|end\|> token"):
        check_tokenizer(other)


def test_the_loader_that_drops_tokens_is_caught() -> None:
    """The class that tokenizer_config.json names reads the same files wrongly, and is refused."""
    tokenizer = LlamaTokenizer.from_pretrained(CHECKPOINT)
    with pytest.raises(TokenizerMismatch, match="PreTrainedTokenizerFast"):
        Phi3VProcessor(Phi3VImageProcessor(), tokenizer)


class _Say(LogitsProcessor):
    """Makes the network say the given tokens, one after the other."""

    def __init__(self, tokens: list[int], prompt_length: int) -> None:
        self.tokens, self.prompt_length = tokens, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        said = input_ids.shape[1] - self.prompt_length
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.tokens[said]] = 0
        return forced


@pytest.mark.parametrize("stop", ["<|end|>", "<|endoftext|>", "</s>", "<|assistant|>"])
def test_generation_ends_at_every_stop_token(
    stop: str, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """A loaded network stops at the tokens that end an answer, though its own files name only </s>."""
    published = json.loads((CHECKPOINT / "generation_config.json").read_text(encoding="utf-8"))
    assert published["eos_token_id"] == 2
    words = processor.tokenizer("a photo of a cat", add_special_tokens=False).input_ids
    tokens = [*words, processor.tokenizer.convert_tokens_to_ids(stop), *words]
    batch = CASE["text_only"].batch(processor)
    length = batch["input_ids"].shape[1]
    sequences = generate(
        sdpa,
        batch,
        do_sample=False,
        max_new_tokens=len(tokens),
        logits_processor=LogitsProcessorList([_Say(tokens, length)]),
    )
    assert sequences.shape[1] == length + len(words) + 1
    (answer,) = processor.answers(sequences, length)
    assert answer == ("a photo of a cat", len(words), True)


def test_a_cut_answer_says_so(processor: Phi3VProcessor) -> None:
    """An answer without a stop token is not finished; padding after one is no part of it."""
    words = processor.tokenizer("a photo", add_special_tokens=False).input_ids
    end, padding = processor.tokenizer.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    rows = [
        [7, *words, end, padding],
        [7, *words, *words[:1], *words[:1]],
        [7, end] + [padding] * len(words) + [2],
    ]
    cut_first = [row[: len(rows[0])] for row in rows]
    finished, cut, empty = processor.answers(torch.tensor(cut_first), prompt_length=1)
    assert finished == ("a photo", len(words), True)
    assert not cut.is_finished
    assert empty == ("", 0, True)
