"""Prompts and pictures in, one padded batch out; and token ids back to answers.

This room writes the prompt, puts picture positions where its tags stand, and pads on the left.  It never
calls the network.

A picture position in `input_ids` is the id of `<|image|>`, a token the published vocabulary has and the
original code leaves unused, and `mm_token_type_ids` is 1 there.  The original writes -k for `<|image_k|>`
instead, which breaks logits processors and decode; counting the runs of ones gives its ids back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple, Self

import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin

from captiond.phi3v.image_processing import Phi3VImageProcessor, checked_budget
from captiond.phi3v.tokens import IMAGE, check_tokenizer, stop_token_ids, token_id

_TAG = re.compile(r"<\|image_(\d+)\|>")


class Decoded(NamedTuple):
    """What the network said to one prompt, in words."""

    text: str
    token_count: int
    """New tokens, the stop token not among them."""
    is_finished: bool
    """False if the token limit cut it off."""


def build_prompt(question: str, *, image_count: int = 1, system: str | None = None) -> str:
    """One user turn with its pictures first, as the chat template of the published tokenizer writes it."""
    tags = "".join(f"<|image_{number}|>\n" for number in range(1, image_count + 1))
    preamble = "" if system is None else f"<|system|>\n{system}<|end|>\n"
    return f"{preamble}<|user|>\n{tags}{question}<|end|>\n<|assistant|>\n"


class Phi3VProcessor(ProcessorMixin):
    """Tokenizer and image processor as one.

    Raises: TokenizerMismatch, if the tokenizer treats prompts otherwise than the network was trained on.
    """

    def __init__(
        self,
        image_processor: Phi3VImageProcessor,
        tokenizer: PreTrainedTokenizerFast,
        chat_template: str | None = None,
    ) -> None:
        template = chat_template or tokenizer.chat_template
        super().__init__(image_processor, tokenizer, chat_template=template)  # type: ignore[no-untyped-call]
        check_tokenizer(tokenizer)
        self.stop_ids = frozenset(stop_token_ids(tokenizer))
        # A vocabulary without <|image|> gives its padding here; the network never looks at this id.
        image_id = token_id(tokenizer, IMAGE)
        self.image_id: int = tokenizer.pad_token_id if image_id is None else image_id

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the base spells out the places to look
        cls, pretrained_model_name_or_path: str | PathLike[str], **kwargs: Any
    ) -> Self:
        """Load both halves from a checkpoint folder; `num_crops` overrides the published budget.

        The tokenizer class is named here, because the one the files name drops tokens (see `tokens`).
        """
        num_crops = kwargs.pop("num_crops", None)
        kwargs = {name: value for name, value in kwargs.items() if name in _LOADING}
        tokenizer = PreTrainedTokenizerFast.from_pretrained(pretrained_model_name_or_path, **kwargs)
        pictures = Phi3VImageProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs)
        if num_crops is not None:
            pictures.num_crops = checked_budget(
                num_crops
            )  # given to the library, it would warn of an unknown key
        return cls(pictures, tokenizer)

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] | None = None,
        num_crops: int | Sequence[int] | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Prompts with `<|image_1|>`, `<|image_2|>`... where their pictures stand, and the pictures of all
        prompts in reading order, to a batch for `generate`.

        Returns `input_ids`, `attention_mask` and `mm_token_type_ids`, int64 [B, L], padded on the left; and
        if there are pictures, `pixel_values` and `image_sizes` as in Phi3VImageProcessor.preprocess.

        Raises: ValueError, if tags do not count up from 1 within a prompt, or do not match the pictures.
        """
        if text is None:
            raise ValueError("a prompt is needed")
        prompts = [text] if isinstance(text, str) else list(text)
        pictures = [images] if isinstance(images, Image.Image) else list(images or ())
        tags = sum(_checked_tags(prompt) for prompt in prompts)
        if tags != len(pictures):
            raise ValueError(f"the prompts have {tags} image tags for {len(pictures)} pictures")
        if not pictures:
            return self._padded([self._ids(prompt, []) for prompt in prompts])
        seen = self.image_processor(pictures, num_crops=num_crops, return_tensors=return_tensors)
        counts: list[int] = seen.pop("num_img_tokens").tolist()
        batch = self._padded([self._ids(prompt, counts) for prompt in prompts])
        batch.update(seen)
        return batch

    def prompt(self, text: str, counts: Sequence[int]) -> BatchFeature:
        """A batch of one prompt whose pictures were prepared before; `counts`: the positions of each."""
        tags = _checked_tags(text)
        if tags != len(counts):
            raise ValueError(f"the prompt has {tags} image tags for {len(counts)} pictures")
        return self._padded([self._ids(text, list(counts))])

    def answers(self, sequences: torch.Tensor, prompt_length: int) -> list[Decoded]:
        """What `generate` returned [B, `prompt_length` + new], without prompt, stop or special tokens."""
        return [self._decoded(row) for row in sequences[:, prompt_length:].tolist()]

    def _decoded(self, new_ids: list[int]) -> Decoded:
        length = next((index for index, new in enumerate(new_ids) if new in self.stop_ids), len(new_ids))
        return Decoded(self.text(new_ids[:length]), length, is_finished=length < len(new_ids))

    def text(self, new_ids: list[int]) -> str:
        """An answer's words; `new_ids` without a stop token."""
        text: str = self.tokenizer.decode(
            new_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.strip()

    def _ids(self, prompt: str, counts: list[int]) -> tuple[list[int], list[int]]:
        """One prompt's ids and types; takes this prompt's pictures off the front of `counts`.

        Every piece of text is tokenised by itself and so begins with its own <s>: the network was trained so.
        """
        ids: list[int] = []
        types: list[int] = []
        for index, piece in enumerate(_TAG.split(prompt)):
            is_picture = index % 2 == 1  # re.split puts the tags' numbers between the pieces
            new = [self.image_id] * counts.pop(0) if is_picture else self.tokenizer(piece).input_ids
            ids += new
            types += [int(is_picture)] * len(new)
        return ids, types

    def _padded(self, rows: list[tuple[list[int], list[int]]]) -> BatchFeature:
        length = max((len(ids) for ids, _ in rows), default=0)
        input_ids = torch.full((len(rows), length), self.tokenizer.pad_token_id, dtype=torch.int64)
        attention_mask = torch.zeros_like(input_ids)
        types = torch.zeros_like(input_ids)
        for row, (ids, kinds) in enumerate(rows):
            start = length - len(ids)
            input_ids[row, start:] = torch.tensor(ids)
            types[row, start:] = torch.tensor(kinds)
            attention_mask[row, start:] = 1
        return BatchFeature(
            {"input_ids": input_ids, "attention_mask": attention_mask, "mm_token_type_ids": types}
        )


# What both halves take when loading; the auto classes pass more.
_LOADING = ("revision", "local_files_only", "cache_dir", "subfolder", "token")


def _checked_tags(prompt: str) -> int:
    """How many pictures the prompt asks for.  Pictures are laid in by order of place, not by number."""
    numbers = [int(number) for number in _TAG.findall(prompt)]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ValueError(f"image tags must read 1, 2, ... in order within a prompt, not {numbers}")
    return len(numbers)
