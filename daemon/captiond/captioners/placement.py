"""On which device a model runs and in what precision: what `auto` means on this machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from captiond.errors import CannotStart, ExitCode


class Placement(NamedTuple):
    """Where and how the weights are to lie."""

    device: str
    dtype: torch.dtype
    quantization: str  # none | int8 | int4


def placement(device: str, dtype: str, quantization: str, stored: str | None = None) -> Placement:
    """What `auto` means here: the first device there is, and a precision in which it is fast.

    `stored`: the checkpoint's own precision; on a CPU `auto` means no lower one.
    """
    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise CannotStart(
                f"model.device is {device}, but no CUDA device can be seen",
                exit_code=ExitCode.TRY_AGAIN,
                advice="Check `nvidia-smi`, and in a container that it was started with the GPU; "
                "or set model.device to cpu.",
            )
        device = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device
    if dtype != "auto":
        return Placement(device, getattr(torch, dtype), quantization)
    if device == "cpu":
        is_enough = stored == "bfloat16" and _has_bfloat16()
        return Placement(device, torch.bfloat16 if is_enough else torch.float32, quantization)
    # Turing and older emulate bfloat16 slowly.
    has_bfloat16 = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    return Placement(device, torch.bfloat16 if has_bfloat16 else torch.float16, quantization)


def _has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16; others emulate it.  torch before 2.10 cannot say."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
