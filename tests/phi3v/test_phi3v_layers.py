"""The loop's short way through the layers says what the library's own layers say."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
import torch
from phi3v_goldens import CASE, CHECKPOINT, LOGIT_TOLERANCE, NEW_TOKENS, Case, logits
from torch import nn
from transformers.models.phi3.modeling_phi3 import apply_rotary_pos_emb

from captiond.phi3v import Decoder, Phi3VForCausalLM, Phi3VProcessor, load, squeeze
from captiond.phi3v.layers import add, looked, normed, product, signed, turn
from captiond.phi3v.rows import Row

CASES = [CASE[name] for name in ("tall_480x640-c4", "land_640x480-c1", "crossing-c4", "text_only")]
EXPECTED = [case.greedy_tokens for case in CASES]


def _said(decoder: Decoder, processor: Phi3VProcessor, slots: int) -> list[list[int]]:
    requests = [case.request(processor, NEW_TOKENS) for case in CASES]
    left = deque(requests)
    answers = decoder.run(lambda room: [left.popleft() for _ in range(min(room, len(left)))], slots)
    found = {id(request): said.tokens for request, said in answers}
    return [found[id(request)] for request in requests]


def _first_scores(model: Phi3VForCausalLM, case: Case, processor: Phi3VProcessor) -> torch.Tensor:
    """Those that the loop chooses the first token by."""
    decoder = Decoder(model, ())
    row = Row.of(case.request(processor, 2), None)
    decoder._make_room(row.longest, 1)
    decoder._prefill([row], 0)
    return decoder._scores[0].clone()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_loops_scores_are_the_originals(
    case: Case, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """Fused norms, turns in place and branches added by their products stay within the goldens' tolerance."""
    expected = case.tensor("last_logits").reshape(-1)
    assert torch.allclose(_first_scores(sdpa, case, processor), expected, rtol=0, atol=LOGIT_TOLERANCE)


def test_bfloat16_is_no_less_exact_than_the_librarys_way(
    processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """Rounding less often, the loop stays as near to float32 as the library's layers do."""
    halved, _ = load(CHECKPOINT, dtype=torch.bfloat16, attn_implementation="sdpa")
    ours, theirs = [], []
    for case in CASES:
        expected = case.tensor("last_logits").reshape(-1)
        batch = case.batch(processor)
        if "pixel_values" in batch:
            batch["pixel_values"] = batch["pixel_values"].to(torch.bfloat16)
        ours.append(_first_scores(halved, case, processor) - expected)
        theirs.append(logits(halved, batch, logits_to_keep=1)[0, 0] - expected)
    assert torch.cat(ours).square().mean() < 1.25 * torch.cat(theirs).square().mean()


@torch.inference_mode()
def test_each_part_is_the_librarys(sdpa: Phi3VForCausalLM) -> None:
    """A norm on either kind of device, the turning of heads, and the tower's layer, on random numbers."""
    torch.manual_seed(0)
    model = sdpa.model
    norm, hidden = model.norm, torch.randn(3, 5, sdpa.config.hidden_size)
    assert torch.allclose(normed(hidden, norm), norm(hidden), rtol=0, atol=1e-6)
    fused = torch.nn.functional.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
    assert torch.allclose(fused, norm(hidden), rtol=0, atol=1e-6)
    tower: Any = model.vision_embed_tokens.img_processor.encoder.layers[0]
    patches = torch.randn(2, 9, sdpa.config.vision_config.hidden_size)
    expected = tower(patches, attention_mask=None)
    assert torch.allclose(looked(tower, patches), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("turned_width", [8, 4])
def test_heads_are_turned_as_the_library_turns_them(turned_width: int) -> None:
    """In place, also where only the beginning of each head is turned."""
    torch.manual_seed(0)
    states = torch.randn(2, 3, 6, 8)
    angles = torch.randn(2, 3, turned_width // 2)
    angles = torch.cat((angles, angles), dim=-1)
    queries, keys = (part.transpose(1, 2) for part in (states[:, :, :4], states[:, :, 4:]))
    separate = apply_rotary_pos_emb(queries, keys, angles.cos(), angles.sin())  # type: ignore[no-untyped-call]
    expected = torch.cat(separate, dim=1).transpose(1, 2)
    turn(states, angles.cos(), signed(angles.sin()))
    assert torch.allclose(states, expected, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_a_branch_is_added_whatever_its_layer_is(sdpa: Phi3VForCausalLM) -> None:
    """By the product itself where the weights are whole; squeezed, biased or wrapped ones are called."""
    torch.manual_seed(0)

    class Doubled(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(inputs)

    inputs = torch.randn(2, 3, 8)
    for linear in (nn.Linear(8, 4, bias=False), nn.Linear(8, 4), Doubled(8, 4, bias=False)):
        hidden = torch.randn(2, 3, 4)
        expected = hidden + linear(inputs)
        add(hidden, linear, inputs)
        assert torch.allclose(hidden, expected, rtol=0, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("has_amx", [False, True])
def test_a_row_alone_is_multiplied_as_among_others(has_amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a product of its own where that is faster: rounded once from sums in float32, like any."""
    monkeypatch.setattr("captiond.phi3v.layers.HAS_AMX", has_amx)
    torch.manual_seed(0)
    linear = nn.Linear(3072, 512, bias=False, dtype=torch.bfloat16)
    rows, before = torch.randn(3, 1, 3072).bfloat16(), torch.randn(3, 1, 512).bfloat16()
    exact = rows.double() @ linear.weight.double().t()
    for row, was, expected in zip(rows, before, exact, strict=True):
        assert torch.allclose(product(linear, row).double(), expected, rtol=2**-8, atol=1e-6)
        hidden = was.clone()
        add(hidden, linear, row)
        assert torch.allclose(hidden.double(), was.double() + expected, rtol=2**-7, atol=1e-6)


def test_squeezed_layers_take_the_short_way_too(processor: Phi3VProcessor) -> None:
    """With 8-bit layers the loop's scores are those of the library's way with the same layers."""
    squeezed, _ = load(CHECKPOINT, attn_implementation="sdpa")
    squeeze(squeezed)
    for case in CASES[:2]:
        expected = logits(squeezed, case.batch(processor), logits_to_keep=1)[0, 0]
        found = _first_scores(squeezed, case, processor)
        assert torch.cosine_similarity(found, expected, dim=0) > 0.999


@pytest.mark.parametrize("slots", [1, 3])
def test_the_librarys_layers_say_the_same(
    slots: int, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """The loop through the library's own layers, which stay to compare with, gives the same tokens."""
    assert _said(Decoder(sdpa, (), in_fewer_passes=False), processor, slots) == EXPECTED


def _attended_one_by_one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor, max_q: int, max_k: int, *, scale: float, enable_gqa: bool,
    seqused_k: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """What torch documents of `varlen_attn`, which only a GPU has: row by row, of what each has used."""
    heard = []
    for row, (start, used) in enumerate(zip(cu_seq_k[:-1].tolist(), seqused_k.tolist(), strict=True)):
        assert cu_seq_q[row + 1] - cu_seq_q[row] == max_q == 1 and used <= max_k
        own = slice(start, start + used)
        scores = torch.einsum("hd,phd->hp", query[row], key[own]) * scale
        heard.append(torch.einsum("hp,phd->hd", scores.softmax(-1), value[own]))
    return torch.stack(heard)


@pytest.mark.parametrize("slots", [1, 3])
def test_attention_by_real_lengths_reads_each_rows_own_places(
    slots: int, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of several lengths, which come and go, are read from where their slots begin to where they end."""
    monkeypatch.setattr("captiond.phi3v.layers.varlen_attn", _attended_one_by_one)
    assert _said(Decoder(sdpa, (), by_real_lengths=True), processor, slots) == EXPECTED


def test_real_lengths_are_refused_where_torch_has_none(
    sdpa: Phi3VForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older torch is told of when the loop is made, not by a picture."""
    monkeypatch.setattr("captiond.phi3v.layers.varlen_attn", None)
    with pytest.raises(ValueError, match="newer torch"):
        Decoder(sdpa, (), by_real_lengths=True)
