"""Loading, saving, placing and squeezing a checkpoint."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from phi3v_goldens import CASE, CASES, CHECKPOINT, LOGIT_TOLERANCE, batch_of, greedy, logits
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
)
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from captiond.phi3v import (
    Phi3VConfig,
    Phi3VForCausalLM,
    Phi3VImageProcessor,
    Phi3VProcessor,
    load,
    multiplies_int8,
    quantization_config,
    register,
    squeeze,
)
from captiond.phi3v.quantization import Int8Linear

SQUARE = CASE["square_336-c1"]


@pytest.fixture
def edited(tmp_path: Path) -> Any:
    """A copy of the checkpoint with some values of one of its json files changed."""

    def edit(file: str, **changes: Any) -> Path:
        folder = tmp_path / "edited"
        shutil.copytree(CHECKPOINT, folder, dirs_exist_ok=True)
        values = json.loads((folder / file).read_text(encoding="utf-8"))
        values.update(changes)
        (folder / file).write_text(json.dumps(values), encoding="utf-8")
        return folder

    return edit


def test_a_saved_copy_has_the_original_names(
    tmp_path: Path, processor: Phi3VProcessor, sdpa: Phi3VForCausalLM
) -> None:
    """Saving writes every weight under its published name, and the copy loads and answers alike."""
    sdpa.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    original, saved = load_file(CHECKPOINT / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[name], original[name]) for name in original)
    assert all("auto_map" not in path.read_text(encoding="utf-8") for path in tmp_path.glob("*.json"))

    copy, copied_processor = load(tmp_path)
    assert copy.config.rope_parameters == sdpa.config.rope_parameters
    batch = SQUARE.batch(copied_processor)
    assert all(torch.equal(values, batch[name]) for name, values in SQUARE.batch(processor).items())
    assert torch.equal(logits(copy, batch), logits(sdpa, batch))
    assert copied_processor.tokenizer.chat_template == processor.tokenizer.chat_template


def test_every_weight_is_loaded_and_none_left_over() -> None:
    """The published names fill the whole network: nothing missing, nothing unexpected, nothing made up."""
    loaded: Any = Phi3VForCausalLM.from_pretrained(CHECKPOINT, output_loading_info=True)
    assert not any(loaded[1][kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_real_network_has_the_published_size() -> None:
    """With the published configuration, which has no tower in it, the network has the published weights."""
    published: dict[str, Any] = {
        "max_position_embeddings": 131072,
        "rope_scaling": {"type": "su", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48},
        "sliding_window": 262144,
        "img_processor": {"name": "clip_vision_model", "image_dim_out": 1024, "num_img_tokens": 144},
        "eos_token_id": 2,
    }
    config = Phi3VConfig(**published)
    with torch.device("meta"):
        network = Phi3VForCausalLM(config)
    weights = dict(network.named_parameters())
    assert sum(weight.numel() for weight in weights.values()) == 4_146_621_440
    assert len(weights) == 592
    assert weights["model.layers.31.self_attn.qkv_proj.weight"].shape == (9216, 3072)
    assert weights["model.vision_embed_tokens.img_projection.0.weight"].shape == (3072, 4096)
    assert weights["model.vision_embed_tokens.sub_GN"].shape == (1, 1, 1, 4096)
    assert config.merged_side == 12
    assert network.model.rotary_emb.attention_scaling == pytest.approx(1.190238, abs=1e-6)


def test_auto_classes_load_without_remote_code() -> None:
    """Once registered, and however often, the auto classes load the folder without asking for its code."""
    register()
    register()
    ours: dict[Any, type] = {
        AutoConfig: Phi3VConfig,
        AutoImageProcessor: Phi3VImageProcessor,
        AutoModelForCausalLM: Phi3VForCausalLM,
        AutoModelForImageTextToText: Phi3VForCausalLM,
        AutoProcessor: Phi3VProcessor,
    }
    for auto, expected in ours.items():
        assert type(auto.from_pretrained(CHECKPOINT)) is expected
    loaded: Any = AutoProcessor
    assert loaded.from_pretrained(CHECKPOINT, num_crops=16).image_processor.num_crops == 16


@pytest.mark.parametrize(
    "places",
    [
        "auto",
        "cpu",
        {"": "cpu"},
        {
            "model.embed_tokens": "cpu",
            "model.vision_embed_tokens": "disk",
            "model.layers": "disk",
            "model.norm": "cpu",
            "model.rotary_emb": "cpu",
            "lm_head": "cpu",
        },
    ],
    ids=["auto", "cpu", "one-map", "partly-on-disk"],
)
def test_weights_may_live_anywhere(places: Any, tmp_path: Path, processor: Phi3VProcessor) -> None:
    """Wherever device_map puts the weights, the logits are the original's."""
    placed = Phi3VForCausalLM.from_pretrained(CHECKPOINT, device_map=places, offload_folder=tmp_path)
    found = logits(placed, SQUARE.batch(processor), logits_to_keep=1)
    expected = SQUARE.tensor("last_logits").reshape(-1)
    assert torch.allclose(found[0, -1], expected, rtol=0, atol=LOGIT_TOLERANCE)


def test_bfloat16_stays_near(processor: Phi3VProcessor) -> None:
    """In bfloat16, weights and buffers alike, logits stay close to the original's, also with long ropes."""
    halved, _ = load(CHECKPOINT, dtype=torch.bfloat16)
    halved.bfloat16()  # rounds buffers too, which loading does not
    for name in ("square_336-c1", "land_640x480-c16"):
        case = CASE[name]
        found = logits(halved, case.batch(processor), logits_to_keep=1)[0, -1]
        assert found.dtype == torch.float32
        assert torch.cosine_similarity(found, case.tensor("last_logits").reshape(-1), dim=0) > 0.995


def test_the_files_do_not_choose_the_attention(edited: Any) -> None:
    """The published request for flash attention is left to the caller."""
    folder = edited("config.json", _attn_implementation="flash_attention_2")
    assert load(folder)[0].config._attn_implementation == "sdpa"


def test_a_window_longer_than_the_context_is_none(edited: Any) -> None:
    """A sliding window that never masks is dropped, a shorter one kept."""
    config = Phi3VConfig.from_pretrained(CHECKPOINT)
    assert config.max_position_embeddings == 32768
    assert config.sliding_window is None
    shorter = Phi3VConfig.from_pretrained(edited("config.json", sliding_window=1000))
    assert shorter.sliding_window == 1000


def test_the_tower_is_vit_l_14_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    """A configuration without a tower gets the one the original hard-codes, and keeps it when saved."""
    config = Phi3VConfig()
    config.save_pretrained(tmp_path)
    for tower in (config.vision_config, Phi3VConfig.from_pretrained(tmp_path).vision_config):
        shape = (
            tower.hidden_size,
            tower.num_hidden_layers,
            tower.num_attention_heads,
            tower.intermediate_size,
        )
        assert shape == (1024, 24, 16, 4096)
        assert (tower.image_size, tower.patch_size, tower.hidden_act) == (336, 14, "quick_gelu")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"embd_layer": {"hd_transform_order": "glb_sub"}}, "hd_transform_order is 'glb_sub'"),
        ({"embd_layer": {"projection_cls": "linear"}}, "projection_cls"),
        ({"vision_config": {"image_size": 98}}, "do not merge 2x2"),
        ({"img_processor": {"image_dim_out": 512}}, "image_dim_out is 512"),
    ],
)
def test_other_variants_are_refused(changes: dict[str, Any], complaint: str) -> None:
    """A configuration that this network does not implement is refused, naming the key."""
    with pytest.raises(ValueError, match=complaint):
        Phi3VConfig(**changes)


def test_crops_that_do_not_fit_the_tower_are_refused(edited: Any) -> None:
    """An image processor that cuts other crops than the tower takes is found out when loading."""
    folder = edited("preprocessor_config.json", crop_size=84, num_img_tokens=9)
    with pytest.raises(ValueError, match="84 pixel crops in patches of 14, the tower takes 336"):
        load(folder)


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    """A folder that is not there raises OSError and looks nothing up elsewhere."""
    with pytest.raises(OSError):
        load(tmp_path / "nowhere")


def test_loading_may_set_the_budget() -> None:
    """The folder's budget of 4 crops holds unless the caller names another."""
    assert load(CHECKPOINT)[1].image_processor.num_crops == 4
    assert load(CHECKPOINT, num_crops=16)[1].image_processor.num_crops == 16


def test_a_checkpoint_that_lacks_weights_is_refused(edited: Any) -> None:
    """Weights missing from the files are named and refused; the library alone would make them up."""
    folder = edited("config.json")
    weights = load_file(folder / "model.safetensors")
    for name in ("glb_GN", "sub_GN"):
        del weights[f"model.vision_embed_tokens.{name}"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 2 of .* first model\.vision_embed_tokens\.glb_GN"):
        load(folder)
    embed = Phi3VForCausalLM.from_pretrained(folder).model.vision_embed_tokens
    assert not embed.glb_GN.any()
    assert not embed.sub_GN.any()


def test_a_fresh_network_has_sane_weights() -> None:
    """New networks start with separators at zero and everything else finite and small."""
    torch.manual_seed(0)
    config = Phi3VConfig.from_pretrained(CHECKPOINT)
    fresh = Phi3VForCausalLM(config)
    embed = fresh.model.vision_embed_tokens
    assert not embed.glb_GN.any()
    assert not embed.sub_GN.any()
    assert all(torch.isfinite(weight).all() for weight in fresh.parameters())
    assert fresh.model.layers[0].mlp.down_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_no_quantiser_no_quantisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bitsandbytes the request says what to install; other widths are refused."""
    monkeypatch.setattr("captiond.phi3v.quantization.find_spec", lambda _: None)
    with pytest.raises(ImportError, match="pip install bitsandbytes"):
        quantization_config(8)
    monkeypatch.setattr("captiond.phi3v.quantization.find_spec", lambda _: object())
    with pytest.raises(ValueError, match="8 or 4 bits, not 3"):
        quantization_config(3)  # type: ignore[arg-type]


needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is missing")


@needs_bitsandbytes
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.filterwarnings("ignore")  # the quantiser's own, about casts and missing kernels
def test_only_the_decoder_is_quantised(bits: Any) -> None:
    """8 and 4 bits touch the decoder's linear layers and leave tower, projector and head whole."""
    squeezed, _ = load(CHECKPOINT, dtype=torch.float32, quantization_config=quantization_config(bits))
    kinds = {name: type(module) for name, module in squeezed.named_modules() if isinstance(module, nn.Linear)}
    changed = {name for name, kind in kinds.items() if kind is not nn.Linear}
    assert changed == {name for name in kinds if name.startswith("model.layers.")}
    assert len(changed) == 4 * squeezed.config.num_hidden_layers
    assert squeezed.model.vision_embed_tokens.sub_GN.dtype == torch.float32


@needs_bitsandbytes
@pytest.mark.filterwarnings("ignore")
def test_eight_bits_stay_near(processor: Phi3VProcessor) -> None:
    """With an 8-bit decoder logits stay close to the original's, and generation works."""
    squeezed, _ = load(CHECKPOINT, dtype=torch.float32, quantization_config=quantization_config(8))
    found = logits(squeezed, SQUARE.batch(processor), logits_to_keep=1)[0, -1]
    assert torch.cosine_similarity(found, SQUARE.tensor("last_logits").reshape(-1), dim=0) > 0.98
    assert len(greedy(squeezed, SQUARE.batch(processor), max_new_tokens=4)[0]) == 4


needs_whole_numbers = pytest.mark.skipif(
    not multiplies_int8(), reason="this CPU's products of whole numbers are cut off"
)


@needs_whole_numbers
@pytest.mark.parametrize("depth", [2, 3, 16, 31, 64, 257, 3072, 8192])
def test_whole_numbers_are_multiplied_exactly(depth: int) -> None:
    """Whatever the shape, and with the largest numbers there are, products are those of 64-bit integers."""
    made = torch.Generator().manual_seed(depth)
    for rows in (1, 2, 3, 7, 8, 16, 33):
        for columns in (1, 5, 16, 96, 257):
            numbers = torch.randint(-127, 128, (rows, depth), generator=made, dtype=torch.int8)
            weight = torch.randint(-127, 128, (columns, depth), generator=made, dtype=torch.int8)
            numbers[0], weight[0], weight[-1] = 127, 127, -127
            expected = (numbers.double() @ weight.double().T).long()  # exact: all are below 2 ** 53
            assert torch.equal(torch._int_mm(numbers, weight.T).long(), expected), (rows, depth, columns)


@needs_whole_numbers
@pytest.mark.parametrize("inputs", [16, 96, 1024])
def test_in_eight_bits_no_row_hangs_on_another(inputs: int) -> None:
    """A squeezed layer gives a row the same bits alone, among others, and as one position of a prompt."""
    torch.manual_seed(inputs)
    layer = Int8Linear(nn.Linear(inputs, 48))
    rows = torch.randn(33, inputs) * torch.logspace(-6, 4, 33)[:, None]
    rows[5] = 0
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        given = rows.to(dtype)
        alone = torch.cat([layer(row[None]) for row in given])
        assert torch.equal(layer(given), alone)
        assert torch.equal(layer(given.view(3, 11, -1)).view(33, -1), alone)


@needs_whole_numbers
def test_eight_bits_on_the_cpu_stay_near(processor: Phi3VProcessor) -> None:
    """Squeezed for a CPU, the decoder alone is in 8 bits, and the logits are near the original's."""
    squeezed, _ = load(CHECKPOINT, dtype=torch.float32, attn_implementation="sdpa")
    whole = {
        name: module.weight for name, module in squeezed.named_modules() if isinstance(module, nn.Linear)
    }
    squeeze(squeezed)
    for name, weight in whole.items():
        module: Any = squeezed.get_submodule(name)
        assert module.weight.dtype == (torch.int8 if name.startswith("model.layers.") else torch.float32)
        if module.weight.dtype == torch.int8:
            step = module.scales.T
            assert ((module.weight * step - weight).abs() <= step * 0.501).all()
    cases = [SQUARE, CASE["tall_480x640-c4"]]
    found = logits(squeezed, batch_of(cases, processor), logits_to_keep=1)[:, 0]
    for row, case in zip(found, cases, strict=True):
        original = case.tensor("last_logits").reshape(-1)
        assert torch.cosine_similarity(row, original, dim=0) > 0.98
        # Attention's last bits hang on the batch's shape and on the processor, and one of them may round a
        # number of the next layer's input the other way.  How far rounding moves the logits is measured here.
        alone = logits(squeezed, case.batch(processor), logits_to_keep=1)[0, -1]
        assert (row - alone).norm() < (alone - original).norm()


def test_whole_numbers_that_are_cut_off_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU whose sums of two products stay below 16 bits is not trusted with 8-bit weights."""

    def cutting_off(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        pairs = left.int()[:, :, None] * right.int()
        sums: torch.Tensor = pairs.unflatten(1, (-1, 2))  # type: ignore[no-untyped-call]
        sums = sums.sum(dim=2).clamp(-32768, 32767 - 8192)
        return sums.sum(dim=1).int()

    monkeypatch.setattr(torch, "_int_mm", cutting_off)
    assert not multiplies_int8()


def test_the_goldens_are_all_there() -> None:
    """All 31 golden cases take part."""
    assert len({case.name for case in CASES}) == 31
