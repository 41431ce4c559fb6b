"""Layouts, extreme shapes, small crops, and which crops pass the tower."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phi3v_goldens import CASE, picture
from PIL import Image

from captiond.phi3v import (
    Phi3VConfig,
    Phi3VForCausalLM,
    Phi3VImageProcessor,
    Phi3VProcessor,
    build_prompt,
    image_token_count,
)

SMALL = Phi3VImageProcessor(crop_size=84)
FULL = Phi3VImageProcessor()


@pytest.mark.parametrize(
    ("size", "layouts", "tokens"),
    [
        ((336, 336), [(1, 1), (2, 2), (4, 4)], [313, 757, 2509]),
        ((640, 480), [(1, 1), (2, 2), (3, 4)], [313, 757, 1921]),
        ((4032, 3024), [(1, 1), (2, 2), (3, 4)], [313, 757, 1921]),
        ((480, 640), [(1, 1), (2, 2), (4, 3)], [313, 757, 1933]),
        ((1920, 1080), [(1, 1), (2, 2), (3, 5)], [313, 757, 2353]),
        ((1344, 336), [(1, 1), (1, 4), (2, 8)], [313, 745, 2485]),
        ((100, 1600), [(1, 1), (4, 1), (16, 1)], [313, 781, 2653]),
    ],
)
def test_layouts_are_the_originals(
    size: tuple[int, int], layouts: list[tuple[int, int]], tokens: list[int]
) -> None:
    """With 1, 4 and 16 crops, known sizes get the original's layout and tokens, foretold from the size."""
    for num_crops, layout, count in zip((1, 4, 16), layouts, tokens, strict=True):
        assert FULL.layout(*size, num_crops) == layout
        assert image_token_count(*layout, FULL.merged_side) == count


@settings(max_examples=60)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    num_crops=st.integers(1, 16),
)
def test_layouts_foretell_the_pixels(width: int, height: int, num_crops: int) -> None:
    """For any size and budget the foretold layout is the one that is cut, and stays within the budget."""
    rows, columns = SMALL.layout(width, height, num_crops)
    assert 1 <= rows * columns <= num_crops
    seen = SMALL(Image.new("RGB", (width, height)), num_crops=num_crops)
    assert seen["image_sizes"].tolist() == [[rows * 84, columns * 84]]
    assert seen["pixel_values"].shape == (1, num_crops + 1, 3, 84, 84)
    assert seen["num_img_tokens"].tolist() == [image_token_count(rows, columns, SMALL.merged_side)]
    assert not seen["pixel_values"][0, rows * columns + 1 :].any()


@pytest.mark.parametrize(
    ("size", "num_crops"), [((400, 1), 1), ((1400, 1), 4), ((6000, 1), 16), ((1, 6000), 16), ((1, 1), 1)]
)
def test_extreme_ratios_keep_one_line(size: tuple[int, int], num_crops: int) -> None:
    """Pictures so thin that the original fails become one line of themselves on white."""
    seen = FULL(Image.new("RGB", size, "red"), num_crops=num_crops)
    pixels = seen["pixel_values"][0]
    rows, columns = (length // 336 for length in seen["image_sizes"][0].tolist())
    assert rows * columns <= num_crops
    assert torch.isfinite(pixels).all()
    red = (1 - FULL.image_mean[0]) / FULL.image_std[0]
    no_green = -FULL.image_mean[1] / FULL.image_std[1]
    is_red = (pixels[1 : rows * columns + 1, 1] - no_green).abs() < 1e-6
    assert int(is_red.sum()) == (336 * 336 if size == (1, 1) else 336 * max(rows, columns))
    assert float(pixels[1, 0].max()) == pytest.approx(red)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "F"])
def test_other_modes_are_converted(mode: str) -> None:
    """A picture in another mode gives what its RGB conversion gives."""
    given_picture = picture("square_336").convert("RGB").resize((90, 60)).convert(mode)
    converted = given_picture.convert("RGB")
    assert torch.equal(SMALL(given_picture)["pixel_values"], SMALL(converted)["pixel_values"])


@pytest.mark.parametrize(("crop_size", "per_crop"), [(28, 1), (84, 9), (112, 16), (336, 144)])
def test_crops_of_other_sizes_count_their_own_tokens(crop_size: int, per_crop: int) -> None:
    """The number of tokens follows the side of a crop: (h*w + 1)*k*k + 1 + (h + 1)*k."""
    pictures = Phi3VImageProcessor(crop_size=crop_size)
    assert pictures.num_img_tokens == per_crop
    k = math.isqrt(per_crop)
    rows, columns = pictures.layout(640, 480, 4)
    counted = image_token_count(rows, columns, pictures.merged_side)
    assert counted == (rows * columns + 1) * k * k + 1 + (rows + 1) * k


def test_small_crops_pass_the_whole_network(processor: Phi3VProcessor) -> None:
    """A checkpoint with 84 pixel crops places 9 tokens per crop, and learns through all of its parts."""
    torch.manual_seed(0)
    config = Phi3VConfig(
        vocab_size=576,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        eos_token_id=519,
        pad_token_id=512,
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": 84,
        },
    )
    network = Phi3VForCausalLM(config)
    small = Phi3VProcessor(SMALL, processor.tokenizer)
    batch = small(
        [picture("land_640x480"), picture("tall_480x640")], [build_prompt("a"), build_prompt("b c")]
    )
    assert int(batch["mm_token_type_ids"].sum()) == 2 * image_token_count(2, 2, 3)
    labels = batch["input_ids"].masked_fill(batch["mm_token_type_ids"] == 1, -100)
    network(**batch, labels=labels).loss.backward()
    without = {name for name, weight in network.named_parameters() if weight.grad is None}
    # The tower's last layer and norm are in the file but contribute nothing.
    tower = "model.vision_embed_tokens.img_processor."
    assert without == {
        name
        for name, _ in network.named_parameters()
        if name.startswith((f"{tower}encoder.layers.2.", f"{tower}post_layernorm."))
    }


def test_only_real_crops_pass_the_tower(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """Empty slots never reach the tower, and a picture that is its own global view goes once."""
    seen: list[int] = []
    tower = sdpa.model.vision_embed_tokens.img_processor.embeddings
    watch = tower.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        for name in ("square_336-c1", "land_640x480-c16", "palette_222x99-c4", "two_images-c4", "text_only"):
            sdpa(**CASE[name].batch(processor), logits_to_keep=1)
    finally:
        watch.remove()
    assert seen == [1, 1 + 3 * 4, 1 + 1 * 2, 2 * (1 + 2 * 2)]


def test_a_global_view_of_its_own_is_not_skipped(processor: Phi3VProcessor, sdpa: Phi3VForCausalLM) -> None:
    """With one crop, a global view that differs from it is still looked at."""
    batch = CASE["square_336-c1"].batch(processor)
    embed, sizes = sdpa.model.vision_embed_tokens, batch["image_sizes"]
    same = embed(batch["pixel_values"], sizes)
    changed = batch["pixel_values"].clone()
    changed[:, 0] += 1
    other = embed(changed, sizes)
    local = 12 * 13
    assert torch.allclose(other[: local + 1], same[: local + 1], atol=1e-4)
    assert not torch.allclose(other[local + 1 :], same[local + 1 :], atol=1e-2)


def test_each_picture_may_have_its_own_budget() -> None:
    """A sequence of budgets gives every picture what it would get alone, filled up with empty slots."""
    pictures = [picture("land_640x480"), picture("small_50x37")]
    together = SMALL(pictures, num_crops=[4, 1])
    for index, (one, budget) in enumerate(zip(pictures, (4, 1), strict=True)):
        alone = SMALL(one, num_crops=budget)["pixel_values"][0]
        assert torch.equal(together["pixel_values"][index, : len(alone)], alone)
        assert not together["pixel_values"][index, len(alone) :].any()


def test_impossible_requests_are_refused() -> None:
    """Budgets below one, uneven lists, foreign tensors and contradictory numbers raise, each saying why."""
    one = picture("small_50x37")
    with pytest.raises(ValueError, match="num_crops is 0"):
        SMALL(one, num_crops=0)
    with pytest.raises(ValueError, match="num_crops is -1"):
        Phi3VImageProcessor(num_crops=-1)
    with pytest.raises(ValueError, match="1 budgets for 2 pictures"):
        SMALL([one, one], num_crops=[4])
    with pytest.raises(ValueError, match="only torch tensors"):
        SMALL(one, return_tensors="np")
    with pytest.raises(TypeError, match="do_resize"):
        SMALL(one, do_resize=False)
    with pytest.raises(ValueError, match="num_img_tokens is 144"):
        Phi3VImageProcessor(crop_size=84, num_img_tokens=144)
    with pytest.raises(ValueError, match="multiple of twice"):
        Phi3VImageProcessor(crop_size=100)
