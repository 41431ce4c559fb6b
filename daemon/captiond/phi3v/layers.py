"""The layers as the decoding loop runs them: the library's weights, in fewer passes over memory.

A layer takes fourteen kernels here, forty in the library: each norm is one, queries and keys are rotated
together and in place, one write goes to the cache, and each branch is added by the matrix product that ends
it.  Everything is done in place and for inference alone; `generate` and training go through the library's own
layers, which the tests compare with.  benchmarks/passes.py counts both.

Shapes: B rows, L positions, H the decoder's width.
"""

from __future__ import annotations

from contextlib import suppress
from inspect import signature
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.phi3.modeling_phi3 import Phi3DecoderLayer, Phi3RMSNorm

from captiond.phi3v.slots import RealLengths, SlotCache

varlen_attn: Any = None
with suppress(ImportError):  # torch 2.11 has it, but not yet for rows that fill a part of their slots
    from torch.nn.attention import varlen

    if "seqused_k" in signature(varlen.varlen_attn).parameters:
        varlen_attn = varlen.varlen_attn

# quick_gelu(x) is x * sigmoid(1.702 x), which is silu(1.702 x) / 1.702.
QUICK_GELU = 1.702

# torch before 2.10 cannot say what the CPU has.
_CPU: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
HAS_AMX = bool(_CPU.get("amx_bf16"))


class Phi3VDecoderLayer(Phi3DecoderLayer):  # type: ignore[no-untyped-call]  # its __init_subclass__ is untyped
    """A layer that knows the loop's cache: given a SlotCache, it takes the way with fewer kernels."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = False,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """[B, L, H]; with a SlotCache it changes and returns `hidden_states`, and expects `signed` sines."""
        if not (isinstance(past_key_values, SlotCache) and past_key_values.is_short_way):
            passed: torch.Tensor = super().forward(
                hidden_states,
                attention_mask,
                position_ids,
                past_key_values,
                use_cache,
                position_embeddings,
                **kwargs,
            )
            return passed
        assert position_embeddings is not None
        heard = self._attended(
            normed(hidden_states, self.input_layernorm), position_embeddings, attention_mask, past_key_values
        )
        add(hidden_states, self.self_attn.o_proj, heard)
        widened = product(self.mlp.gate_up_proj, normed(hidden_states, self.post_attention_layernorm))
        gate, up = widened.chunk(2, dim=-1)
        add(hidden_states, self.mlp.down_proj, self.mlp.activation_fn(gate).mul_(up))
        return hidden_states

    def _attended(
        self,
        hidden: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
        cache: SlotCache,
    ) -> torch.Tensor:
        """The attention's output for each position, the heads beside each other."""
        own = self.self_attn
        every = product(own.qkv_proj, hidden).view(*hidden.shape[:-1], -1, own.head_dim)
        heads: int = self.config.num_attention_heads
        key_heads = heads // own.num_key_value_groups
        assert own.layer_idx is not None
        turn(every[:, :, : heads + key_heads], *turns)
        both = every[:, :, heads:].unflatten(2, (2, key_heads))  # type: ignore[no-untyped-call]
        keys, values = cache.store(both, own.layer_idx)
        if cache.real is not None:
            every_key, every_value = cache.flat(own.layer_idx)
            return by_real_lengths(every[:, 0, :heads], every_key, every_value, cache.real, own.scaling).view(
                len(hidden), 1, -1
            )
        queries = every[:, :, :heads].transpose(1, 2)
        heard: torch.Tensor = sdpa_attention_forward(own, queries, keys, values, mask, scaling=own.scaling)[0]
        return heard.flatten(2)


def by_real_lengths(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, real: RealLengths, scale: float
) -> torch.Tensor:
    """Attention of one query a row [rows, heads, width], which reads no place behind the row's last."""
    assert varlen_attn is not None
    heard: torch.Tensor = varlen_attn(
        queries, keys, values, real.queries, real.starts, 1, real.longest,
        scale=scale, enable_gqa=keys.shape[1] != queries.shape[1], seqused_k=real.used,
    )  # fmt: skip
    return heard


def normed(hidden: torch.Tensor, norm: Phi3RMSNorm) -> torch.Tensor:
    """The library's RMSNorm, with sums in float32 like there."""
    if hidden.device.type != "cpu":
        # One kernel, which rounds once; the library rounds twice.
        weight: torch.Tensor = norm.weight
        fused: torch.Tensor = functional.rms_norm(hidden, list(weight.shape), weight, norm.variance_epsilon)
        return fused
    length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
    scale = length.square_().div_(hidden.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    scaled: torch.Tensor = (hidden * scale).to(hidden.dtype).mul_(norm.weight)
    return scaled


def signed(sine: torch.Tensor) -> torch.Tensor:
    """Give the sines [B, L, width] the signs that `turn` expects, in place: once for all layers."""
    sine[..., : sine.shape[-1] // 2].neg_()
    return sine


def turn(states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> None:
    """Rotate heads [B, L, heads, width] in place: a number of the first half with its twin in the second."""
    turned, half = states[..., : cosine.shape[-1]], cosine.shape[-1] // 2
    cosine, sine = cosine.unsqueeze(2), sine.unsqueeze(2)
    crossed = torch.empty_like(turned, memory_format=torch.contiguous_format)
    torch.mul(turned[..., half:], sine[..., :half], out=crossed[..., :half])
    torch.mul(turned[..., :half], sine[..., half:], out=crossed[..., half:])
    torch.addcmul(crossed, turned, cosine, out=turned)


def product(linear: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What `linear` makes of `inputs` [..., C]."""
    if _is_bare(linear) and _is_row(inputs):
        row = torch.mv(linear.weight, inputs.flatten())
        return row.view(*inputs.shape[:-1], len(row))
    made: torch.Tensor = linear(inputs)
    return made


def add(hidden: torch.Tensor, linear: nn.Module, inputs: torch.Tensor) -> None:
    """Add what `linear` makes of `inputs` to `hidden`, in place."""
    if not _is_bare(linear):
        hidden.add_(linear(inputs))
    elif _is_row(inputs):
        hidden.flatten().addmv_(linear.weight, inputs.flatten())
    else:
        hidden.flatten(0, -2).addmm_(inputs.flatten(0, -2), linear.weight.t())


def _is_bare(linear: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is its weight alone: quantized weights have a multiplication of their own."""
    return type(linear) is nn.Linear and linear.bias is None


def _is_row(inputs: torch.Tensor) -> bool:
    """Whether it is one row that `mv` multiplies faster.

    torch 2.13 hands bfloat16 to AMX, for which a row is sixteen: 1.6 times the time.  Without AMX `mv` is no
    faster, or slower.
    """
    if not HAS_AMX or inputs.device.type != "cpu":
        return False
    return inputs.dtype == torch.bfloat16 and inputs.numel() == inputs.shape[-1]


def looked(layer: CLIPEncoderLayer, hidden: torch.Tensor) -> torch.Tensor:
    """Run one of the tower's layers; it changes and returns `hidden` [crops, patches, C]."""
    own = layer.self_attn
    rows = layer.layer_norm1(hidden)
    queries, keys, values = (
        projection(rows).unflatten(-1, (-1, own.head_dim)).transpose(1, 2)
        for projection in (own.q_proj, own.k_proj, own.v_proj)
    )
    heard = functional.scaled_dot_product_attention(queries, keys, values, scale=own.scale)
    hidden.add_(own.out_proj(heard.transpose(1, 2).flatten(2)))
    if layer.mlp.config.hidden_act != "quick_gelu":
        return hidden.add_(layer.mlp(layer.layer_norm2(hidden)))
    rows = layer.layer_norm2(hidden).flatten(0, -2)
    wide = functional.silu(_scaled(layer.mlp.fc1, rows, QUICK_GELU), inplace=True)
    return hidden.add_(_scaled(layer.mlp.fc2, wide, 1.0, inner=1 / QUICK_GELU).view(hidden.shape))


def _scaled(linear: nn.Linear, rows: torch.Tensor, outer: float, inner: float = 1.0) -> torch.Tensor:
    """`outer` times the linear layer, its products `inner` times as large; scaled before they are rounded."""
    return torch.addmm(linear.bias * outer, rows, linear.weight.t(), alpha=outer * inner)
