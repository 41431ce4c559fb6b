"""Which weights may be quantized to 8 or 4 bits, and which may not.

Only the decoder's layers may: the tower and the projector suffer most and weigh least, and the head decides
every token.  On a GPU this room makes the configuration; bitsandbytes carries it out and is imported by
transformers alone.  On a CPU, where bitsandbytes is slower than whole weights, 8 bits are multiplied here.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from captiond.phi3v.modeling import Phi3VForCausalLM

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

    8 bits is LLM.int8; 4 bits is NF4 with quantised constants, computing in `compute_dtype`.

    Raises: ImportError, which names the package to install, if bitsandbytes is missing; ValueError, if
    `bits` is another width.
    """
    if find_spec("bitsandbytes") is None:
        raise ImportError(f"{bits}-bit weights need the package bitsandbytes: pip install bitsandbytes")
    if bits not in _OPTIONS:
        raise ValueError(f"weights can be squeezed to 8 or 4 bits, not {bits}")
    # bitsandbytes warns of a cast from bfloat16 for each product of each step, which fills the journal.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    options = dict(_OPTIONS[bits], llm_int8_skip_modules=list(KEPT_WHOLE))
    if bits == 4:
        options["bnb_4bit_compute_dtype"] = compute_dtype
    return BitsAndBytesConfig(**options)  # type: ignore[no-untyped-call]


class Int8Linear(nn.Module):
    """A linear layer in integers, with a scale for each row of the weights and, at each call, of the inputs.

    The sums are exact, so that a row's result does not depend on its neighbours.
    """

    def __init__(self, whole: nn.Linear) -> None:
        super().__init__()
        weight, scales = _rounded(whole.weight.detach())
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scales = nn.Parameter(scales.T.contiguous(), requires_grad=False)
        self.bias = whole.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        numbers, scales = _rounded(inputs.flatten(0, -2))
        products: torch.Tensor = torch._int_mm(numbers, self.weight.T).float()
        products.mul_(self.scales).mul_(scales)
        if self.bias is not None:
            products.add_(self.bias)
        return products.to(inputs.dtype).view(*inputs.shape[:-1], -1)


def squeeze(model: Phi3VForCausalLM) -> None:
    """Put Int8Linear into the place of each linear layer of the decoder."""
    for layer in model.model.layers:
        for name, module in list(layer.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, own = name.rpartition(".")
                setattr(layer.get_submodule(parent), own, Int8Linear(module))


def multiplies_int8() -> bool:
    """Whether this CPU multiplies integers correctly: older ones saturate sums of two products at 16 bits."""
    extreme = torch.full((2, 256), 127, dtype=torch.int8)
    against = torch.tensor([[127], [-127]], dtype=torch.int8).repeat(8, 256)
    try:
        found = torch._int_mm(extreme, against.T)
    except RuntimeError:
        return False
    return torch.equal(found.double(), extreme.double() @ against.double().T)


def _rounded(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row as numbers from -127 to 127, and its scale [rows, 1]."""
    rows = rows.float()
    scales = rows.abs().amax(dim=-1, keepdim=True).clamp_(min=1e-12) / 127
    return (rows / scales).round_().to(torch.int8), scales
