"""Which weights may be squeezed to 8 or 4 bits, and which may not.

Only the decoder's layers: the tower and the projector suffer most and weigh least, and the head decides every
token.  This room writes the request down; bitsandbytes carries it out and is imported by transformers alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig

# Matched from the start of a module's full name, so "vision_embed_tokens" alone would protect nothing; and a
# list replaces the library's own, which is where lm_head stood.
KEPT_WHOLE = ("lm_head", "model.vision_embed_tokens")

_OPTIONS: dict[int, dict[str, Any]] = {
    8: {"load_in_8bit": True},
    4: {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
}


def quantization_config(
    bits: Literal[4, 8], compute_dtype: torch.dtype = torch.bfloat16
) -> BitsAndBytesConfig:
    """The `quantization_config` for from_pretrained.

    8 bits is LLM.int8; 4 bits is NF4 with quantised constants, computing in `compute_dtype`.  Raises
    ImportError, which names the package to install, where bitsandbytes is missing, and ValueError for
    other widths.
    """
    if find_spec("bitsandbytes") is None:
        raise ImportError(f"{bits}-bit weights need the package bitsandbytes: pip install bitsandbytes")
    if bits not in _OPTIONS:
        raise ValueError(f"weights can be squeezed to 8 or 4 bits, not {bits}")
    options = dict(_OPTIONS[bits], llm_int8_skip_modules=list(KEPT_WHOLE))
    if bits == 4:
        options["bnb_4bit_compute_dtype"] = compute_dtype
    return BitsAndBytesConfig(**options)  # type: ignore[no-untyped-call]
