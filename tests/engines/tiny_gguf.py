"""A tiny Qwen2-VL for llama.cpp, never trained: `python tiny_gguf.py FOLDER [closes]`, model and mmproj.

With `closes` it often ends what it has begun to quote, and likes no white space, so that its JSON gets done.
Runs in the interpreter of llama.cpp's server, with the package gguf.  What this family reads of a picture
grows with the picture: a small context is then too small for some pictures, as in life.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, INNER, HEADS, LAYERS, CONTEXT = 64, 128, 4, 2, 8192
SEEN, SEEN_INNER, PATCH, MERGED = 64, 128, 14, 2
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{{ c['text'] if c['type'] in ('text', 'media_marker') else '' }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_pieces() -> list[str]:
    """GPT-2's alphabet: a printable character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in plain)
    return sorted([*map(chr, plain), *(chr(256 + number) for number, _ in enumerate(others))])


class Weights:
    """Seeded random tensors; a matrix in `kind`, which gguf names (F32, F16, Q8_0)."""

    def __init__(self, writer: Any, kind: str = "F32", spread: float = 0.3) -> None:
        self._writer, self._rng = writer, np.random.default_rng(0)
        self._kind, self._spread = kind, spread

    def random(self, name: str, *shape: int) -> None:
        self.write(name, self.made(*shape))

    def made(self, *shape: int) -> Any:
        return self._rng.standard_normal(shape, np.float32) * np.float32(self._spread)

    def write(self, name: str, made: Any) -> None:
        import gguf

        kind = gguf.GGMLQuantizationType[self._kind if made.ndim == 2 else "F32"]
        self._writer.add_tensor(name, gguf.quantize(made, kind), raw_dtype=kind)

    def norm(self, name: str, width: int, *, with_bias: bool) -> None:
        self._writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
        if with_bias:
            self._writer.add_tensor(f"{name}.bias", np.zeros(width, np.float32))

    def linear(self, name: str, out: int, into: int) -> None:
        self.random(f"{name}.weight", out, into)
        self.random(f"{name}.bias", out)


def finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(writer: Any, pieces: Iterable[str]) -> int:
    import gguf

    pieces = [*pieces, *SPECIAL]
    kinds = [gguf.TokenType.NORMAL] * (len(pieces) - len(SPECIAL)) + [gguf.TokenType.CONTROL] * len(SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(pieces.index("<|endoftext|>"))
    writer.add_eos_token_id(pieces.index("<|im_end|>"))
    writer.add_pad_token_id(pieces.index("<|endoftext|>"))
    writer.add_chat_template(TEMPLATE)
    return len(pieces)


# What a token's vector has at its first place, and what the quote and all that is no letter weigh it at.
ALWAYS, CLOSING, OTHER = 0.05, 0.12, -1.0


def _close_quotes(pieces: list[str], vectors: Any, head: Any) -> None:
    vectors[:, 0] = ALWAYS
    head[: len(pieces), 0] = [0.0 if piece.isascii() else OTHER for piece in pieces]
    quote = pieces.index('"')
    head[quote] -= vectors[quote]  # but not at once, so that something is quoted
    head[quote, 0] = CLOSING


def write_model(path: Path, *, closes: bool = False) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "qwen2vl")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    half = WIDTH // HEADS // 2
    writer.add_rope_dimension_sections([half - 2 * (half // 3), half // 3, half // 3, 0])
    weights = Weights(writer, spread=0.02 if closes else 0.3)  # of its layers little shall come
    pieces = [*byte_pieces(), "ab"]
    count = vocabulary(writer, pieces)
    vectors, head = weights.made(count, WIDTH), weights.made(count, WIDTH)
    head[len(pieces) :] = 0.0  # of all tokens a special one is never the likeliest: it says something
    if closes:
        _close_quotes(pieces, vectors, head)
    weights.write("token_embd.weight", vectors)
    weights.norm("output_norm", WIDTH, with_bias=False)
    weights.write("output.weight", head)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        weights.norm(f"{block}.attn_norm", WIDTH, with_bias=False)
        weights.norm(f"{block}.ffn_norm", WIDTH, with_bias=False)
        for part in ("attn_q", "attn_k", "attn_v"):
            weights.linear(f"{block}.{part}", WIDTH, WIDTH)
        weights.random(f"{block}.attn_output.weight", WIDTH, WIDTH)
        weights.random(f"{block}.ffn_gate.weight", INNER, WIDTH)
        weights.random(f"{block}.ffn_up.weight", INNER, WIDTH)
        weights.random(f"{block}.ffn_down.weight", WIDTH, INNER)
    finish(writer)


def write_projector(path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "qwen2vl_merger")
    writer.add_bool("clip.use_gelu", True)
    for key, number in {
        "image_size": 56 * 4,
        "patch_size": PATCH,
        "embedding_length": SEEN,
        "feed_forward_length": SEEN_INNER,
        "projection_dim": WIDTH,
        "attention.head_count": HEADS,
        "block_count": LAYERS,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    weights = Weights(writer)
    weights.random("v.patch_embd.weight", SEEN, 3, PATCH, PATCH)
    weights.random("v.patch_embd.weight.1", SEEN, 3, PATCH, PATCH)
    weights.norm("v.post_ln", SEEN, with_bias=True)
    for layer in range(LAYERS):
        block = f"v.blk.{layer}"
        weights.norm(f"{block}.ln1", SEEN, with_bias=True)
        weights.norm(f"{block}.ln2", SEEN, with_bias=True)
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights.linear(f"{block}.{part}", SEEN, SEEN)
        weights.linear(f"{block}.ffn_up", SEEN_INNER, SEEN)
        weights.linear(f"{block}.ffn_down", SEEN, SEEN_INNER)
    weights.linear("mm.0", SEEN * MERGED**2, SEEN * MERGED**2)
    weights.linear("mm.2", WIDTH, SEEN * MERGED**2)
    finish(writer)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model.gguf", closes="closes" in sys.argv[2:])
    write_projector(folder / "mmproj.gguf")
