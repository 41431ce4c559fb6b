"""A random GGUF of the asked shape for `cpu_engines`: `python cpu_gguf.py FOLDER SHAPE TOWER_LAYERS KIND`.

It runs in llama.cpp's Python.  llama.cpp has Phi-3's text and no projector for Phi-3.5-vision; InternVL's is
nearest, a tower whose patches merge two by two and a layer of two matrices: a view of 336 pixels is 144
tokens as in Phi-3.5-vision, and five views in one question stand for one picture.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf

from engines.tiny_gguf import Weights, byte_pieces, finish, vocabulary

WIDTH, INNER, HEADS, SIDE, PATCH = 1024, 4096, 16, 336, 14
SPREAD = 0.02


def write_text(path: Path, shape: dict[str, Any], kind: str) -> None:
    writer = gguf.GGUFWriter(path, "phi3")
    width, inner, heads = shape["hidden_size"], shape["intermediate_size"], shape["num_attention_heads"]
    writer.add_name("random")
    writer.add_context_length(131_072)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    known = byte_pieces()
    fill = [f"word{number}" for number in range(shape["vocab_size"] - len(known) - 6)]
    count = vocabulary(writer, [*known, *fill])
    weights = Weights(writer, kind, SPREAD)
    weights.random("token_embd.weight", count, width)
    weights.norm("output_norm", width, with_bias=False)
    weights.random("output.weight", count, width)
    for layer in range(shape["num_hidden_layers"]):
        block = f"blk.{layer}"
        weights.norm(f"{block}.attn_norm", width, with_bias=False)
        weights.norm(f"{block}.ffn_norm", width, with_bias=False)
        weights.random(f"{block}.attn_qkv.weight", 3 * width, width)
        weights.random(f"{block}.attn_output.weight", width, width)
        weights.random(f"{block}.ffn_up.weight", 2 * inner, width)
        weights.random(f"{block}.ffn_down.weight", width, inner)
    finish(writer)


def write_tower(path: Path, layers: int, into: int) -> None:
    """In F16, as publishers give it beside a text in eight bits."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "internvl")
    for key, number in {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": INNER,
        "projection_dim": into,
        "attention.head_count": HEADS,
        "block_count": layers,
        "projector.scale_factor": 2,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    weights = Weights(writer, "F16", SPREAD)
    plain = Weights(writer, "F32", SPREAD)
    weights.random("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    plain.random("v.patch_embd.bias", WIDTH)
    plain.random("v.class_embd", WIDTH)
    plain.random("v.position_embd.weight", (SIDE // PATCH) ** 2 + 1, WIDTH)
    for layer in range(layers):
        block = f"v.blk.{layer}"
        weights.norm(f"{block}.ln1", WIDTH, with_bias=True)
        weights.norm(f"{block}.ln2", WIDTH, with_bias=True)
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights.linear(f"{block}.{part}", WIDTH, WIDTH)
        weights.linear(f"{block}.ffn_up", INNER, WIDTH)
        weights.linear(f"{block}.ffn_down", WIDTH, INNER)
    weights.norm("mm.model.mlp.0", 4 * WIDTH, with_bias=True)
    weights.linear("mm.model.mlp.1", into, 4 * WIDTH)
    weights.linear("mm.model.mlp.3", into, into)
    finish(writer)


def main(folder: str, shape: str, tower_layers: str, kind: str) -> None:
    known = json.loads(shape)
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_text(Path(folder, "model.gguf"), known, kind)
    write_tower(Path(folder, "mmproj.gguf"), int(tower_layers), known["hidden_size"])


if __name__ == "__main__":
    main(*sys.argv[1:])
