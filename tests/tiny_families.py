"""Tiny random checkpoints of other vision-language families, saved as their publishers save theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

TEXT: dict[str, Any] = {
    "hidden_size": 64,  # heads of 32, the least that vLLM has kernels for
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}


FIRST_BYTE, LETTERS = 4, 94  # ASCII's; bytes of other characters come behind them


def tokenizer_of(**special: str) -> hf.PreTrainedTokenizerFast:
    alphabet = ["<pad>", "<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {piece: number for number, piece in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return hf.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=special,
    )


def identify(tokenizer: hf.PreTrainedTokenizerFast, piece: str) -> int:
    number = tokenizer.convert_tokens_to_ids(piece)
    assert isinstance(number, int)
    return number


def template_of(image: str) -> str:
    part = f"{{% if c['type'] == 'image' %}}{image}{{% else %}}{{{{ c['text'] }}}}{{% endif %}}"
    return (
        f"{{% for m in messages %}}{{% for c in m['content'] %}}{part}{{% endfor %}}{{% endfor %}}\nAnswer:"
    )


def _llava() -> tuple[hf.PreTrainedModel, hf.ProcessorMixin]:
    tokenizer = tokenizer_of(image_token="<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=hf.LlamaConfig(**TEXT, vocab_size=len(tokenizer)),
        image_token_index=identify(tokenizer, "<image>"),
    )
    processor = hf.LlavaProcessor(  # type: ignore[no-untyped-call]
        hf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template_of("<image>"),
    )
    return hf.LlavaForConditionalGeneration(config), processor


def _idefics3() -> tuple[hf.PreTrainedModel, hf.ProcessorMixin]:
    tokenizer = tokenizer_of(
        image_token="<image>",
        fake_token="<fake_token_around_image>",
        end_of_utterance_token="<end_of_utterance>",
        global_image_token="<global-img>",
    )
    config = hf.Idefics3Config(
        vision_config=TOWER,
        text_config=hf.LlamaConfig(**TEXT, vocab_size=len(tokenizer)),
        scale_factor=2,
        image_token_id=identify(tokenizer, "<image>"),
        pad_token_id=0,  # type: ignore[call-arg]  # which the older ones have
    )
    pictures = hf.Idefics3ImageProcessor(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    processor = hf.Idefics3Processor(
        pictures, tokenizer, image_seq_len=4, chat_template=template_of("<image>")
    )
    return hf.Idefics3ForConditionalGeneration(config), processor


def _gemma3() -> tuple[hf.PreTrainedModel, hf.ProcessorMixin]:
    tokenizer = tokenizer_of(
        boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>"
    )
    config = hf.Gemma3Config(
        text_config=hf.Gemma3TextConfig(**TEXT, head_dim=16, vocab_size=len(tokenizer), sliding_window=64),
        vision_config=hf.SiglipVisionConfig(**TOWER),
        mm_tokens_per_image=4,
        boi_token_index=identify(tokenizer, "<start_of_image>"),
        eoi_token_index=identify(tokenizer, "<end_of_image>"),
        image_token_index=identify(tokenizer, "<image_soft_token>"),
    )
    pictures = hf.Gemma3ImageProcessor(size={"height": 56, "width": 56}, image_seq_length=4)
    template = template_of("<start_of_image>")
    processor = hf.Gemma3Processor(pictures, tokenizer, chat_template=template, image_seq_length=4)
    return hf.Gemma3ForConditionalGeneration(config), processor


class Qwen2VLProcessor(hf.Qwen2VLProcessor):
    """As published, but made without the part for videos, which needs torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


def _qwen2_vl() -> tuple[hf.PreTrainedModel, hf.ProcessorMixin]:
    tokenizer = tokenizer_of(
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
    )
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    config = hf.Qwen2VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 64,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
        },
        image_token_id=identify(tokenizer, "<|image_pad|>"),
        video_token_id=identify(tokenizer, "<|video_pad|>"),
        vision_start_token_id=identify(tokenizer, "<|vision_start|>"),
        vision_end_token_id=identify(tokenizer, "<|vision_end|>"),
    )
    pictures = hf.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=112 * 112)
    template = template_of("<|vision_start|><|image_pad|><|vision_end|>")
    processor = Qwen2VLProcessor(pictures, tokenizer, chat_template=template)  # type: ignore[no-untyped-call]
    return hf.Qwen2VLForConditionalGeneration(config), processor


FAMILIES = {"llava": _llava, "idefics3": _idefics3, "gemma3": _gemma3, "qwen2_vl": _qwen2_vl}


def _speak_in_bytes(model: Any) -> None:
    """Of all tokens a special one, or one that does not show, is never the likeliest: it says something."""
    parts = (getattr(model, name, None) for name in ("decoder", "language_model", "text_decoder"))
    heads = (part.get_output_embeddings() for part in (model, *parts) if part is not None)
    weight = next(head for head in heads if head is not None).weight
    with torch.no_grad():
        weight[:FIRST_BYTE] = 0.0
        weight[FIRST_BYTE + LETTERS :] = 0.0


# What a token's vector has at its first place, and what the quote and the blanks weigh it at.
ALWAYS, CLOSING, BLANK = 0.05, 0.15, -1.0
BLANKS = (
    "\u0120",
    "\u010a",
    "\u0109",
    "\u010d",
)  # a space, a line's end, a tab, a return, in GPT-2's alphabet


def _close_quotes(model: Any, tokenizer: hf.PreTrainedTokenizerFast) -> None:
    """It often ends what it has begun to quote, and likes no white space: its JSON gets done."""
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        vectors, quote = model.get_input_embeddings().weight, identify(tokenizer, '"')
        vectors[:, 0] = ALWAYS
        head[quote] -= vectors[quote]  # but not at once, so that something is quoted
        head[quote, 0] = CLOSING
        for blank in BLANKS:
            head[identify(tokenizer, blank), 0] = BLANK


def save(
    family: str,
    folder: Path,
    families: Mapping[str, Callable[[], Any]] = FAMILIES,
    *,
    closes_quotes: bool = False,
) -> Path:
    """A checkpoint folder of the family, with seeded random weights."""
    torch.manual_seed(0)
    model, processor = families[family]()
    _speak_in_bytes(model)
    if closes_quotes:
        _close_quotes(model, processor.tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
