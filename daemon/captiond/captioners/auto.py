"""What transformers' auto classes load: any family with a chat template, or with prompts in `processors`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from captiond.captioners import continuous, processors
from captiond.captioners.batches import (
    BATCH_SIZE_CPU,
    BATCH_SIZE_GPU,
    Completion,
    More,
    Question,
    generated,
    in_batches,
    on_device,
    together,
)
from captiond.captioners.prefill import NotPlain
from captiond.records import CaptionRequest

log = structlog.get_logger(__name__)


class AutoEngine:
    """Any checkpoint that AutoModelForImageTextToText loads, if its processor or family says how to ask it.

    Raises: NotAskable, if neither says it: any prompt would be a guess.
    """

    def __init__(self, folder: Path, loading: dict[str, Any]) -> None:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        self._processor = processors.load(folder, config)
        self._has_template = bool(self._processor.chat_template)
        self.model: PreTrainedModel = AutoModelForImageTextToText.from_pretrained(
            folder, trust_remote_code=False, **loading
        )
        self.model.eval()  # type: ignore[no-untyped-call]
        tokenizer = self._processor.tokenizer
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        # With it Florence-2 puts an end token on an answer cut off by the limit, as if it were whole.
        self.model.generation_config.forced_eos_token_id = None
        self._stop_ids = _stop_ids(self.model, tokenizer)
        text = config.get_text_config(decoder=True)
        self._is_encoder_decoder = config.is_encoder_decoder or text.is_encoder_decoder
        self.batch = self._continuous()  # None: it answers in whole batches

    def needed_side(self, width: int, height: int) -> int | None:
        return None  # each family resizes by rules of its own

    def prepare(self, image: Image.Image) -> Image.Image:
        return image

    def question(self, prepared: Image.Image, request: CaptionRequest) -> Question:
        return Question((prepared, self._words(prepared, request.prompt)), request)

    def _words(self, image: Image.Image, prompt: str) -> str | None:
        if not self._has_template:
            by_heart = processors.PROMPTS[self.model.config.model_type]
            return prompt if by_heart is processors.AS_ASKED else by_heart
        content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
        asked: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return asked

    def completions(self, more: More, batch_size: int) -> Iterator[tuple[Question, Completion]]:
        if self.batch is None:
            return in_batches(more, batch_size, self._generate, alike=self._alike)
        return self._in_slots(self.batch, more, batch_size)

    def _in_slots(
        self, batch: continuous.ContinuousBatch, more: More, slots: int
    ) -> Iterator[tuple[Question, Completion]]:
        batch.clear(slots)
        while True:
            newcomers = more(slots - len(batch.rows)) if len(batch.rows) < slots else ()
            if not newcomers and not batch.rows:
                return
            for questions in together(newcomers, self._alike):
                yield from self._begin(batch, questions)
            yield from self._ended(batch)
            if batch.rows:
                batch.step()
                yield from self._ended(batch)

    def _begin(
        self, batch: continuous.ContinuousBatch, questions: Sequence[Question]
    ) -> Iterator[tuple[Question, Completion]]:
        """Let the questions join the batch; answer those that cannot by `generate`."""
        asked, request = [question.inputs for question in questions], questions[0].request
        if request.temperature == 0 and self._join(batch, questions, request.max_new_tokens):
            return
        yield from zip(questions, self._generate(asked, request), strict=True)

    def _join(
        self, batch: continuous.ContinuousBatch, questions: Sequence[Question], max_new_tokens: int
    ) -> bool:
        inputs = self._inputs([question.inputs for question in questions])
        ids = inputs.get("input_ids")
        if not batch.has_room(0 if ids is None else ids.shape[1], max_new_tokens):
            return False
        joining = list(zip(questions, _prompt_tokens(inputs, len(questions)), strict=True))
        try:
            batch.take_in(joining, on_device(self.model, inputs), max_new_tokens)
        except NotPlain:
            return False
        return True

    def _ended(self, batch: continuous.ContinuousBatch) -> Iterator[tuple[Question, Completion]]:
        for (question, prompt_tokens), tokens in batch.left():
            yield question, self._completion(tokens, prompt_tokens)

    def _continuous(self) -> continuous.ContinuousBatch | None:
        """A batch that rows join and leave, if the model is served so."""
        tried = self.question(Image.new("RGB", (64, 64), "gray"), CaptionRequest("Describe this.", 1))
        try:
            batch = continuous.opened(self.model, on_device(self.model, self._inputs([tried.inputs])))
        except NotPlain as reason:
            log.info("the model answers in whole batches", reason=str(reason))
            return None
        self._stop_ids |= batch.stop_ids
        return batch

    def _alike(self, question: Question) -> str:
        """What a batch must share beside the token limit: the prompt, if it cannot be padded at the left."""
        return "" if self._has_template else question.inputs[1] or ""

    def batch_size_that_fits(self, max_new_tokens: int) -> int:
        return BATCH_SIZE_CPU if self.model.device.type == "cpu" else BATCH_SIZE_GPU

    def _generate(
        self, batch: Sequence[tuple[Image.Image, str | None]], request: CaptionRequest
    ) -> list[Completion]:
        inputs = self._inputs(batch)
        new = self._new_ids(generated(self.model, inputs, request), inputs.get("input_ids")).tolist()
        prompt_tokens = _prompt_tokens(inputs, len(batch))
        return [self._completion(ids, count) for ids, count in zip(new, prompt_tokens, strict=True)]

    def _inputs(self, asked: Sequence[tuple[Image.Image, str | None]]) -> Any:
        images, texts = [image for image, _ in asked], [text for _, text in asked]
        if self._has_template:
            return self._processor(
                images=[[image] for image in images],
                text=texts,
                padding=True,
                padding_side="left",
                return_tensors="pt",
            )
        words = {} if texts[0] is None else {"text": texts}
        return self._processor(images=images, **words, return_tensors="pt")

    def _new_ids(self, sequences: torch.Tensor, asked: torch.Tensor | None) -> torch.Tensor:
        """The model's answer without the prompt; a separate decoder begins with one token instead."""
        if self._is_encoder_decoder or asked is None:
            return sequences[:, 1:]
        length = asked.shape[1]
        # Some families generate from embeddings alone, and return only the new tokens.
        return sequences[:, length:] if torch.equal(sequences[:, :length], asked) else sequences

    def _completion(self, new_ids: list[int], prompt_tokens: int) -> Completion:
        length = next((at for at, new in enumerate(new_ids) if new in self._stop_ids), len(new_ids))
        text = self._processor.tokenizer.decode(new_ids[:length], skip_special_tokens=True)
        return Completion(text.strip(), prompt_tokens, length, is_finished=length < len(new_ids))


def _prompt_tokens(inputs: Any, rows: int) -> list[int]:
    mask = inputs.get("attention_mask")
    # A model that is given the picture alone begins with one token of its own.
    found: list[int] = [1] * rows if mask is None else mask.sum(dim=-1).tolist()
    return found


def _stop_ids(model: PreTrainedModel, tokenizer: Any) -> set[int]:
    eos = model.generation_config.eos_token_id
    found = {tokenizer.eos_token_id, *([eos] if isinstance(eos, int) else eos or ())}
    if (
        tokenizer.eos_token_id is None
    ):  # BLIP and GIT speak as BERT does, whose sentences end with a separator
        found |= {tokenizer.sep_token_id, getattr(model.config.get_text_config(), "sep_token_id", None)}
    return found - {None}
