"""Phi-3.5-vision, native: configuration, image processing, prompts and network.

It needs torch, transformers 5, safetensors, numpy and pillow, runs no code from a checkpoint, and knows
nothing of inboxes, jobs or daemons.  Importing it imports torch, so no other package imports it at top level.
"""

from captiond.phi3v import memory
from captiond.phi3v.configuration import Phi3VConfig
from captiond.phi3v.generation import Decoder, can_decode
from captiond.phi3v.image_processing import Phi3VImageProcessor, image_token_count
from captiond.phi3v.loading import load, register
from captiond.phi3v.modeling import Phi3VForCausalLM
from captiond.phi3v.processing import Decoded, Phi3VProcessor, build_prompt
from captiond.phi3v.quantization import multiplies_int8, quantization_config, squeeze
from captiond.phi3v.requests import Request, Said, Seen
from captiond.phi3v.tokens import TokenizerMismatch, check_tokenizer, stop_token_ids

__all__ = [
    "Decoded",
    "Decoder",
    "Phi3VConfig",
    "Phi3VForCausalLM",
    "Phi3VImageProcessor",
    "Phi3VProcessor",
    "Request",
    "Said",
    "Seen",
    "TokenizerMismatch",
    "build_prompt",
    "can_decode",
    "check_tokenizer",
    "image_token_count",
    "load",
    "memory",
    "multiplies_int8",
    "quantization_config",
    "register",
    "squeeze",
    "stop_token_ids",
]
