"""Tiny random checkpoints of many more families that are asked by a chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers

from tiny_families import TEXT, TOWER, identify, template_of, tokenizer_of

hf: Any = transformers  # whose classes take more than their annotations say

Checkpoint = tuple[Any, Any]
SIDE = {"height": 56, "width": 56}
PIXTRAL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def pictures_only(known: Any) -> Any:
    """The processor's class without its parts for videos and sounds, which nobody shows it here."""
    names = [name for name in known.get_attributes() if name in ("image_processor", "tokenizer")]
    return type(known.__name__, (known,), {"get_attributes": classmethod(lambda cls: names)})


def _clip() -> Any:
    return hf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=SIDE)


def _llama(tokenizer: Any) -> Any:
    return hf.LlamaConfig(**TEXT, vocab_size=len(tokenizer))


def _vipllava() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<image>")
    config = hf.VipLlavaConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=_llama(tokenizer),
        image_token_index=identify(tokenizer, "<image>"),
        vision_feature_layers=[-1, -2],
    )
    processor = hf.LlavaProcessor(
        _clip(),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template_of("<image>"),
    )
    return hf.VipLlavaForConditionalGeneration(config), processor


def _llava_next() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<image>")
    pinpoints = [[56, 112], [112, 56], [112, 112]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=_llama(tokenizer),
        image_token_index=identify(tokenizer, "<image>"),
        image_grid_pinpoints=pinpoints,
    )
    pictures = hf.LlavaNextImageProcessor(
        size={"shortest_edge": 56}, crop_size=SIDE, image_grid_pinpoints=pinpoints
    )
    processor = hf.LlavaNextProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template_of("<image>"),
    )
    return hf.LlavaNextForConditionalGeneration(config), processor


def _llava_onevision() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<image>", video_token="<video>")
    pinpoints = [[56, 112], [112, 56], [112, 112]]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**TOWER),
        text_config=hf.Qwen2Config(**TEXT, vocab_size=len(tokenizer)),
        image_token_index=identify(tokenizer, "<image>"),
        video_token_index=identify(tokenizer, "<video>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_4",
    )
    pictures = hf.LlavaOnevisionImageProcessor(size=SIDE, image_grid_pinpoints=pinpoints)
    processor = pictures_only(hf.LlavaOnevisionProcessor)(
        pictures,
        tokenizer,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_4",
        chat_template=template_of("<image>"),
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def _pixtral_processor(tokenizer: Any, merge: int) -> Any:
    pictures = hf.PixtralImageProcessor(
        size={"longest_edge": 56}, patch_size={"height": 14 * merge, "width": 14 * merge}
    )
    return hf.PixtralProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        spatial_merge_size=merge,
        chat_template=template_of("[IMG]"),
    )


def _pixtral_tokenizer() -> Any:
    return tokenizer_of(image_token="[IMG]", image_break_token="[IMG_BREAK]", image_end_token="[IMG_END]")


def _pixtral() -> Checkpoint:
    tokenizer = _pixtral_tokenizer()
    config = hf.LlavaConfig(
        vision_config=hf.PixtralVisionConfig(**PIXTRAL, image_size=56, patch_size=14),
        text_config=_llama(tokenizer),
        image_token_index=identify(tokenizer, "[IMG]"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return hf.LlavaForConditionalGeneration(config), _pixtral_processor(tokenizer, 1)


def _mistral3() -> Checkpoint:
    tokenizer = _pixtral_tokenizer()
    config = hf.Mistral3Config(
        vision_config=hf.PixtralVisionConfig(**PIXTRAL, image_size=56, patch_size=14),
        text_config=hf.MistralConfig(**TEXT, vocab_size=len(tokenizer)),
        image_token_index=identify(tokenizer, "[IMG]"),
        spatial_merge_size=2,
    )
    return hf.Mistral3ForConditionalGeneration(config), _pixtral_processor(tokenizer, 2)


def _idefics2() -> Checkpoint:
    tokenizer = tokenizer_of(
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        end_of_utterance_token="<end_of_utterance>",
        image_boundary_token="<fake_token_around_image>",
    )
    config = hf.Idefics2Config(
        vision_config={**TOWER},
        perceiver_config={
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 16,
            "num_key_value_heads": 2,
            "hidden_size": 64,
        },
        text_config=hf.MistralConfig(**TEXT, vocab_size=len(tokenizer)),
        image_token_id=identify(tokenizer, "<image>"),
    )
    pictures = hf.Idefics2ImageProcessor(
        size={"shortest_edge": 28, "longest_edge": 56}, do_image_splitting=False
    )
    processor = hf.Idefics2Processor(
        pictures, tokenizer, image_seq_len=4, chat_template=template_of("<image>")
    )
    return hf.Idefics2ForConditionalGeneration(config), processor


def _smolvlm() -> Checkpoint:
    tokenizer = tokenizer_of(
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        end_of_utterance_token="<end_of_utterance>",
        global_image_token="<global-img>",
    )
    config = hf.SmolVLMConfig(
        vision_config={**TOWER},
        text_config=_llama(tokenizer),
        scale_factor=2,
        image_token_id=identify(tokenizer, "<image>"),
    )
    pictures = hf.SmolVLMImageProcessor(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    parts = {"image_processor": pictures}
    processor = _Parts("SmolVLMProcessor", tokenizer, template_of("<image>"), parts, image_seq_len=4)
    return hf.SmolVLMForConditionalGeneration(config), processor


class _Parts:
    """A processor that cannot be made here without torchvision, saved as its publisher's would be."""

    def __init__(self, name: str, tokenizer: Any, template: str, parts: dict[str, Any], **more: Any) -> None:
        self._tokenizer, self._template = tokenizer, template
        self._config = {"processor_class": name, **more}
        self._config |= {key: json.loads(part.to_json_string()) for key, part in parts.items()}

    def save_pretrained(self, folder: Path) -> None:
        self._tokenizer.save_pretrained(folder)
        (folder / "processor_config.json").write_text(json.dumps(self._config))
        (folder / "chat_template.jinja").write_text(self._template)


QWEN = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
QWEN |= {"vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>"}
QWEN_TEMPLATE = "<|vision_start|><|image_pad|><|vision_end|>"


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    return {f"{name}_id": identify(tokenizer, piece) for name, piece in QWEN.items()}


def _qwen2_5_vl() -> Checkpoint:
    tokenizer = tokenizer_of(**QWEN)
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    config = hf.Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "num_heads": 2,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        **_qwen_ids(tokenizer),
    )
    pictures = hf.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=112 * 112)
    processor = pictures_only(hf.Qwen2_5_VLProcessor)(
        pictures, tokenizer, chat_template=template_of(QWEN_TEMPLATE)
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3_vl() -> Checkpoint:
    tokenizer = tokenizer_of(**QWEN)
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    config = hf.Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 32, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "num_heads": 2,
            "patch_size": 14,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **_qwen_ids(tokenizer),
    )
    pictures = hf.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=112 * 112, patch_size=14)
    processor = pictures_only(hf.Qwen3VLProcessor)(
        pictures, tokenizer, chat_template=template_of(QWEN_TEMPLATE)
    )
    return hf.Qwen3VLForConditionalGeneration(config), processor


def _qwen3_vl_moe() -> Checkpoint:
    model, processor = _qwen3_vl()
    experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
    config = hf.Qwen3VLMoeConfig(
        text_config={**model.config.text_config.to_dict(), "model_type": "qwen3_vl_moe_text", **experts},
        vision_config={**model.config.vision_config.to_dict(), "model_type": "qwen3_vl_moe_vision"},
        **_qwen_ids(processor.tokenizer),
    )
    return hf.Qwen3VLMoeForConditionalGeneration(config), processor


def _video_llava() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<image>", video_token="<video>")
    config = hf.VideoLlavaConfig(
        vision_config=hf.CLIPVisionConfig(**TOWER),
        text_config=_llama(tokenizer),
        image_token_index=identify(tokenizer, "<image>"),
        video_token_index=identify(tokenizer, "<video>"),
        image_seq_length=17,
    )
    more = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    pictures = hf.VideoLlavaImageProcessor(size={"shortest_edge": 56}, crop_size=SIDE)
    processor = _Parts(
        "VideoLlavaProcessor", tokenizer, template_of("<image>"), {"image_processor": pictures}, **more
    )
    return hf.VideoLlavaForConditionalGeneration(config), processor


def _glm4v() -> Checkpoint:
    special = {"image_token": "<|image|>", "video_token": "<|video|>"}
    marks = {"image_start": "<|begin_of_image|>", "image_end": "<|end_of_image|>"}
    tokenizer = tokenizer_of(**special, **{f"{name}_token": piece for name, piece in marks.items()})
    rope = {
        "rope_type": "default",
        "mrope_section": [2, 3, 3],
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.5,
    }
    config = hf.Glm4vConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "num_heads": 2,
            "patch_size": 14,
            "image_size": 56,
        },
        image_token_id=identify(tokenizer, "<|image|>"),
        video_token_id=identify(tokenizer, "<|video|>"),
        image_start_token_id=identify(tokenizer, "<|begin_of_image|>"),
        image_end_token_id=identify(tokenizer, "<|end_of_image|>"),
    )
    pictures = hf.Glm4vImageProcessor(size={"shortest_edge": 28 * 28 * 2, "longest_edge": 112 * 112 * 2})
    template = template_of("<|begin_of_image|><|image|><|end_of_image|>")
    processor = pictures_only(hf.Glm4vProcessor)(pictures, tokenizer, chat_template=template)
    return hf.Glm4vForConditionalGeneration(config), processor


def _internvl() -> Checkpoint:
    tokenizer = tokenizer_of(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = hf.InternVLConfig(
        vision_config={**TOWER, "image_size": [56, 56], "patch_size": [14, 14]},
        text_config=hf.Qwen2Config(**TEXT, vocab_size=len(tokenizer)),
        image_token_id=identify(tokenizer, "<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    pictures = hf.GotOcr2ImageProcessor(size=SIDE, crop_to_patches=True, max_patches=3)
    processor = pictures_only(hf.InternVLProcessor)(
        pictures, tokenizer, image_seq_length=4, chat_template=template_of("<IMG_CONTEXT>")
    )
    return hf.InternVLForConditionalGeneration(config), processor


def _aya_vision() -> Checkpoint:
    marks = ["<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE_GLOBAL"]
    tokenizer = tokenizer_of(image_token="<image>", **{f"mark_{n}": one for n, one in enumerate(marks)})
    config = hf.AyaVisionConfig(
        vision_config=hf.SiglipVisionConfig(**TOWER),
        text_config=hf.Cohere2Config(**TEXT, vocab_size=len(tokenizer), sliding_window=64),
        image_token_index=identify(tokenizer, "<|IMG_PATCH|>"),
        downsample_factor=2,
        alignment_intermediate_size=64,
    )
    pictures = hf.GotOcr2ImageProcessor(size=SIDE)
    processor = hf.AyaVisionProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        img_size=56,
        downsample_factor=2,
        chat_template=template_of("<image>"),
    )
    return hf.AyaVisionForConditionalGeneration(config), processor


def _mllama() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<|image|>")
    config = hf.MllamaConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 96,
            "max_num_tiles": 2,
            "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
        },
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer) - 1,
            "cross_attention_layers": [1],
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        image_token_index=identify(tokenizer, "<|image|>"),
    )
    pictures = hf.MllamaImageProcessor(size=SIDE, max_image_tiles=2)
    processor = hf.MllamaProcessor(pictures, tokenizer, chat_template=template_of("<|image|>"))
    return hf.MllamaForConditionalGeneration(config), processor


def _ovis2() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<image>")
    marks = ["<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
    tokenizer.add_tokens(marks, special_tokens=True)
    config = hf.Ovis2Config(
        vision_config={**TOWER, "vocab_size": 40, "num_visual_indicator_tokens": 5, "hidden_stride": 2},
        text_config=hf.Qwen2Config(**TEXT, vocab_size=len(tokenizer)),
        image_token_id=identify(tokenizer, "<IMG_ATOM>"),
        visual_indicator_token_ids=[identify(tokenizer, mark) for mark in marks[1:]],
        hidden_size=64,
        vocab_size=len(tokenizer),
    )
    pictures = hf.Ovis2ImageProcessor(size=SIDE, crop_to_patches=False)
    processor = hf.Ovis2Processor(
        pictures, tokenizer, image_seq_length=4, chat_template=template_of("<image>")
    )
    return hf.Ovis2ForConditionalGeneration(config), processor


def _deepseek_vl() -> Checkpoint:
    tokenizer = tokenizer_of(image_token="<image_placeholder>")
    config = hf.DeepseekVLConfig(
        vision_config=hf.SiglipVisionConfig(**TOWER),
        text_config=_llama(tokenizer),
        image_token_id=identify(tokenizer, "<image_placeholder>"),
    )
    pictures = hf.DeepseekVLImageProcessor(size=SIDE, min_size=14)
    processor = hf.DeepseekVLProcessor(
        pictures, tokenizer, chat_template=template_of("<image_placeholder>"), num_image_tokens=16
    )
    return hf.DeepseekVLForConditionalGeneration(config), processor


def _gemma4() -> Checkpoint:
    pieces = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>"}
    pieces |= {"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
    tokenizer = tokenizer_of(**pieces)
    config = hf.Gemma4Config(
        text_config={
            **TEXT,
            "head_dim": 32,
            "global_head_dim": 32,
            "vocab_size": len(tokenizer),
            "vocab_size_per_layer_input": len(tokenizer),
            "hidden_size_per_layer_input": 16,
            "sliding_window": 128,
            "num_kv_shared_layers": 0,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 14,
            "pooling_kernel_size": 2,
        },
        audio_config=None,
        image_token_id=identify(tokenizer, "<|image|>"),
        boi_token_id=identify(tokenizer, "<|image>"),
        eoi_token_id=identify(tokenizer, "<image|>"),
        audio_token_id=identify(tokenizer, "<|audio|>"),
    )
    pictures = hf.Gemma4ImageProcessor(patch_size=14, pooling_kernel_size=2, max_soft_tokens=70)
    parts = {"image_processor": pictures, "feature_extractor": hf.Gemma4AudioFeatureExtractor()}
    processor = _Parts("Gemma4Processor", tokenizer, template_of("<|image|>"), parts)
    return hf.Gemma4ForConditionalGeneration(config), processor


# Whose processors resize by torchvision, so that nothing can stand in for it.
NEED_TORCHVISION = ("mistral3", "pixtral")
# Whose next step needs more than a token, a position, a mask, keys and values; as docs/models.md names them.
IN_WHOLE_BATCHES = {
    "blip": "`blip`",
    "blip-2 with T5": "`blip-2` with T5",
    "florence2": "`florence2`",
    "git": "`git`",
    "kosmos-2": "`kosmos-2`",
    "mllama": "`mllama`",
    "vit-gpt2": "`vision-encoder-decoder`",
}
FAMILIES = {
    "aya_vision": _aya_vision,
    "deepseek_vl": _deepseek_vl,
    "gemma4": _gemma4,
    "glm4v": _glm4v,
    "idefics2": _idefics2,
    "internvl": _internvl,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "mistral3": _mistral3,
    "mllama": _mllama,
    "ovis2": _ovis2,
    "pixtral": _pixtral,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl_moe,
    "video_llava": _video_llava,
    "smolvlm": _smolvlm,
    "vipllava": _vipllava,
}
