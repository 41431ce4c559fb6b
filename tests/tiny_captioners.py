"""Tiny random checkpoints of families made for captions, which have no chat template."""

from __future__ import annotations

from typing import Any

import transformers

from tiny_families import TEXT, TOWER, identify, tokenizer_of

hf: Any = transformers  # whose classes take more than their annotations say

Checkpoint = tuple[Any, Any]
WIDE = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZE = {"height": 56, "width": 56}


def _bert_like(**special: str) -> Any:
    """As BLIP and GIT speak: sentences end with a separator."""
    tokenizer = tokenizer_of(**special)
    tokenizer.eos_token, tokenizer.bos_token = None, None
    tokenizer.cls_token, tokenizer.sep_token = "<s>", "</s>"
    return tokenizer


def _blip() -> Checkpoint:
    tokenizer = _bert_like()
    text = {**WIDE, "vocab_size": len(tokenizer), "encoder_hidden_size": 32, "projection_dim": 32}
    config = hf.BlipConfig(
        text_config={**text, "bos_token_id": 1, "sep_token_id": 2, "pad_token_id": 0, "eos_token_id": 2},
        vision_config={**TOWER},
        projection_dim=32,
    )
    processor = hf.BlipProcessor(hf.BlipImageProcessor(size=SIZE), tokenizer)
    return hf.BlipForConditionalGeneration(config), processor


def _git() -> Checkpoint:
    tokenizer = _bert_like()
    config = hf.GitConfig(
        vision_config={**TOWER},
        vocab_size=len(tokenizer),
        **WIDE,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    pictures = hf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=SIZE)
    return hf.GitForCausalLM(config), hf.GitProcessor(pictures, tokenizer)


def _q_former(tokenizer: Any) -> dict[str, Any]:
    return {**WIDE, "vocab_size": len(tokenizer), "encoder_hidden_size": 32, "cross_attention_frequency": 1}


def _blip2() -> Checkpoint:
    tokenizer = tokenizer_of()
    tokenizer.add_tokens("<image>", special_tokens=True)
    config = hf.Blip2Config(
        vision_config={**TOWER},
        qformer_config=_q_former(tokenizer),
        text_config=hf.OPTConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            ffn_dim=64,
            num_attention_heads=2,
            word_embed_proj_dim=64,
            max_position_embeddings=256,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        num_query_tokens=4,
        image_token_index=identify(tokenizer, "<image>"),
    )
    processor = hf.Blip2Processor(hf.BlipImageProcessor(size=SIZE), tokenizer, num_query_tokens=4)
    return hf.Blip2ForConditionalGeneration(config), processor


def _t5(tokenizer: Any) -> Any:
    return hf.T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=32,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )


def _blip2_t5() -> Checkpoint:
    _, processor = _blip2()
    tokenizer = processor.tokenizer
    config = hf.Blip2Config(
        vision_config={**TOWER},
        qformer_config=_q_former(tokenizer),
        text_config=_t5(tokenizer),
        num_query_tokens=4,
        image_token_index=identify(tokenizer, "<image>"),
    )
    return hf.Blip2ForConditionalGeneration(config), processor


def _instructblip() -> Checkpoint:
    tokenizer = tokenizer_of()
    tokenizer.add_tokens("<image>", special_tokens=True)
    config = hf.InstructBlipConfig(
        vision_config={**TOWER},
        qformer_config=_q_former(tokenizer),
        text_config=hf.LlamaConfig(**TEXT, vocab_size=len(tokenizer)),
        num_query_tokens=4,
        image_token_index=identify(tokenizer, "<image>"),
    )
    pictures = hf.BlipImageProcessor(size=SIZE)
    processor = hf.InstructBlipProcessor(pictures, tokenizer, tokenizer_of(), num_query_tokens=4)
    return hf.InstructBlipForConditionalGeneration(config), processor


def _paligemma() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<image>")
    config = hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**TOWER),
        text_config=hf.GemmaConfig(**TEXT, head_dim=32, vocab_size=len(tokenizer)),
        image_token_index=identify(tokenizer, "<image>"),
        projection_dim=64,
    )
    pictures = hf.SiglipImageProcessor(size=SIZE)
    pictures.image_seq_length = 16
    return hf.PaliGemmaForConditionalGeneration(config), hf.PaliGemmaProcessor(pictures, tokenizer)


def _kosmos2() -> Checkpoint:
    tokenizer = tokenizer_of()
    marks = ["<image>", "</image>", "<grounding>", "<phrase>", "</phrase>", "<object>", "</object>"]
    marks += ["</delimiter_of_multi_objects/>", *(f"<patch_index_{number:04}>" for number in range(16))]
    tokenizer.add_tokens(marks, special_tokens=True)
    config = hf.Kosmos2Config(
        text_config={
            "vocab_size": len(tokenizer),
            "embed_dim": 64,
            "layers": 2,
            "ffn_dim": 64,
            "attention_heads": 2,
            "max_position_embeddings": 256,
            "pad_token_id": 1,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={**TOWER},
        latent_query_num=64,
    )
    pictures = hf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=SIZE)
    processor = hf.Kosmos2Processor(pictures, tokenizer, num_patch_index_tokens=16)
    return hf.Kosmos2ForConditionalGeneration(config), processor


def _florence2() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<image>")
    config = hf.Florence2Config(
        vision_config={
            "depths": [1, 1],
            "patch_size": [7, 3],
            "patch_stride": [4, 2],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "embed_dim": [16, 32],
            "num_heads": [2, 2],
            "num_groups": [2, 2],
            "window_size": 4,
            "projection_dim": 64,
        },
        text_config=hf.BartConfig(
            vocab_size=len(tokenizer),
            d_model=64,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            max_position_embeddings=512,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_bos_token_id=1,
        ),
        image_token_id=identify(tokenizer, "<image>"),
    )
    pictures = hf.CLIPImageProcessor(size=SIZE, do_center_crop=False)
    pictures.image_seq_length = 50
    return hf.Florence2ForConditionalGeneration(config), hf.Florence2Processor(pictures, tokenizer)


def _got_ocr2() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<imgpad>")
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>", "<img>", "</img>"], special_tokens=True)
    config = hf.GotOcr2Config(
        vision_config={
            **{key: TOWER[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")},
            "image_size": 256,  # of which it always makes 256 tokens
            "patch_size": 4,
            "mlp_dim": 64,
            "output_channels": 16,
            "window_size": 4,
            "global_attn_indexes": [],
        },
        text_config=hf.Qwen2Config(**TEXT, vocab_size=len(tokenizer)),
        image_token_index=identify(tokenizer, "<imgpad>"),
    )
    pictures = hf.GotOcr2ImageProcessor(size={"height": 256, "width": 256})
    return hf.GotOcr2ForConditionalGeneration(config), hf.GotOcr2Processor(pictures, tokenizer)


class _Saved:
    """A picture processor and a tokenizer in one folder, as older checkpoints have them."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def save_pretrained(self, folder: Any) -> None:
        for part in self._parts:
            part.save_pretrained(folder)


def _vit_gpt2() -> Checkpoint:
    tokenizer = tokenizer_of()
    text = hf.GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=64,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        hf.ViTConfig(**TOWER), text, decoder_start_token_id=1, pad_token_id=0, eos_token_id=2
    )
    return hf.VisionEncoderDecoderModel(config), _Saved(hf.ViTImageProcessor(size=SIZE), tokenizer)


CAPTIONERS = {
    "blip": _blip,
    "git": _git,
    "blip-2": _blip2,
    "blip-2 with T5": _blip2_t5,
    "instructblip": _instructblip,
    "paligemma": _paligemma,
    "kosmos-2": _kosmos2,
    "florence2": _florence2,
    "got_ocr2": _got_ocr2,
    "vit-gpt2": _vit_gpt2,
}
