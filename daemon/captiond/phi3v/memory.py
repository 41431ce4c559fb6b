"""What the network and its answers take of a card's memory: plain arithmetic on the configuration.

It asks no device and allocates nothing.  Bytes throughout.
"""

from __future__ import annotations

from typing import Any

from captiond.phi3v.configuration import Phi3VConfig
from captiond.phi3v.generation import CACHE_STEP, PREFILL_TOKENS
from captiond.phi3v.image_processing import image_token_count
from captiond.phi3v.tower import CROPS_TOGETHER

# The published checkpoint, as far as sizes go; what is missing here is the library's default for Phi-3.
PUBLISHED: dict[str, Any] = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
# Bytes of one quantized weight: LLM.int8 with its row scales, NF4 with doubly quantised constants.
SQUEEZED = {"int8": 1.002, "int4": 0.516}
# Words around the picture: the default prompt has 20.
PROMPT_TEXT_TOKENS = 64
# CUDA's context, its libraries' workspaces, recorded graphs, and what the allocator cannot use.
CONTEXT_BYTES = 700_000_000
MARGIN_BYTES = 400_000_000
# So many rows already share the reading of a step's weights that more gain little.
MOST_ROWS = 64


def weight_bytes(config: Phi3VConfig, number_bytes: int, quantization: str = "none") -> int:
    """Bytes of all weights; in a quantized model only the decoder's layers are smaller."""
    squeezable = config.num_hidden_layers * _layer_weights(config)
    each = SQUEEZED.get(quantization, number_bytes)
    return int(squeezable * each) + (_other_weights(config)) * number_bytes


def kv_bytes_per_token(config: Phi3VConfig, number_bytes: int) -> int:
    width = config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * _key_heads(config) * width * number_bytes


def longest_prompt(config: Phi3VConfig, num_crops: int) -> int:
    """Tokens of the tallest picture's prompt: crops one above the other have the most newlines."""
    return image_token_count(num_crops, 1, config.merged_side) + PROMPT_TEXT_TOKENS


def row_bytes(config: Phi3VConfig, number_bytes: int, num_crops: int, max_new_tokens: int) -> int:
    """Bytes of one picture's slot in the cache."""
    tokens = longest_prompt(config, num_crops) + max_new_tokens
    return -(-tokens // CACHE_STEP) * CACHE_STEP * kv_bytes_per_token(config, number_bytes)


def working_bytes(config: Phi3VConfig, number_bytes: int, num_crops: int, rows: int) -> int:
    """The peak of a prefill, in bytes: a group of prompts in a layer's widest part, or crops in the tower."""
    prompt = longest_prompt(config, num_crops)
    tokens = max(prompt, min(PREFILL_TOKENS, rows * prompt))
    decoder = tokens * (4 * config.intermediate_size + 6 * config.hidden_size) * number_bytes
    tower = config.vision_config
    patches = (tower.image_size // tower.patch_size) ** 2 + 1
    width = 2 * tower.intermediate_size + 6 * tower.hidden_size
    crops = min(CROPS_TOGETHER, rows * (num_crops + 1)) * patches * width * number_bytes
    vectors = tokens * (2 * 4 * tower.hidden_size + 3 * config.hidden_size) * number_bytes
    logits = rows * config.vocab_size * (number_bytes + 4)
    return int(max(decoder, crops) + vectors + logits) + MARGIN_BYTES


def rows_that_fit(
    config: Phi3VConfig, number_bytes: int, *, free_bytes: int, num_crops: int, max_new_tokens: int
) -> int:
    """How many pictures at once fit into what is free beside the weights; 0 if not even one does."""
    row = row_bytes(config, number_bytes, num_crops, max_new_tokens)
    for rows in range(MOST_ROWS, 0, -1):
        if rows * row + working_bytes(config, number_bytes, num_crops, rows) <= free_bytes:
            return rows
    return 0


def rows_on_card(
    config: Phi3VConfig, card_bytes: int, quantization: str, *, num_crops: int, max_new_tokens: int
) -> int:
    """How many pictures at once fit on a card that nothing else uses, in 16 bits; 0 if not even one does."""
    free = card_bytes - CONTEXT_BYTES - weight_bytes(config, 2, quantization)
    return rows_that_fit(config, 2, free_bytes=free, num_crops=num_crops, max_new_tokens=max_new_tokens)


def _key_heads(config: Phi3VConfig) -> int:
    return config.num_key_value_heads or config.num_attention_heads


def _layer_weights(config: Phi3VConfig) -> int:
    """The matrices of one of the decoder's layers; its norms count as nothing."""
    width = config.hidden_size // config.num_attention_heads
    heads = config.num_attention_heads + 2 * _key_heads(config)
    attention = config.hidden_size * width * (heads + config.num_attention_heads)
    return int(attention + 3 * config.hidden_size * config.intermediate_size)


def tower_layer_weights(config: Phi3VConfig) -> int:
    tower = config.vision_config
    return int(4 * tower.hidden_size**2 + 2 * tower.hidden_size * tower.intermediate_size)


def projector_weights(config: Phi3VConfig) -> int:
    return int(4 * config.vision_config.hidden_size * config.hidden_size + config.hidden_size**2)


def _other_weights(config: Phi3VConfig) -> int:
    """Embeddings, head, tower and projector."""
    tower = config.vision_config
    patches = 3 * tower.patch_size**2 * tower.hidden_size
    layers = tower.num_hidden_layers * tower_layer_weights(config)
    return int(2 * config.vocab_size * config.hidden_size + layers + patches + projector_weights(config))


def decoder_weights(config: Phi3VConfig) -> int:
    """Weights that each token of a prompt meets: the layers without the head."""
    return int(config.num_hidden_layers * _layer_weights(config))
