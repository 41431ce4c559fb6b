"""What the shipped demo checkpoint promises: small, complete, and right about drawn scenes."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captiond.demo import checkpoint_path
from captiond.demo.scenes import draw, random_scene, random_size

MEGABYTE = 1_000_000


def test_the_checkpoint_stays_small() -> None:
    """All its files together take at most 8 MB of the repository."""
    assert sum(path.stat().st_size for path in checkpoint_path().iterdir()) <= 8 * MEGABYTE


def test_the_checkpoint_has_the_published_files() -> None:
    """The folder is laid out as the published one, weights in one safetensors file, and holds no code."""
    names = {path.name for path in checkpoint_path().iterdir()}
    assert names >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert not {Path(name).suffix for name in names} & {".py", ".bin", ".pt", ".pickle"}


Caption = Callable[..., list[str]]


@pytest.fixture(scope="module")
def demo() -> Caption:
    import torch

    from captiond import phi3v

    model, processor = phi3v.load(checkpoint_path(), dtype=torch.float32)

    def caption(
        pictures: list[Image.Image], question: str = "Describe what is shown in this image."
    ) -> list[str]:
        inputs = processor(images=pictures, text=[phi3v.build_prompt(question)] * len(pictures))
        generate: Any = model.generate  # type: ignore[misc]  # its `self` has a type of its own
        said = generate(**inputs, do_sample=False, max_new_tokens=40)
        answers = processor.answers(said, inputs["input_ids"].shape[1])
        assert all(answer.is_finished for answer in answers)
        return [answer.text for answer in answers]

    return caption


def held_out(seeds: range) -> tuple[list[Image.Image], list[str]]:
    """JPEGs of scenes that training never drew, of many sizes and qualities, and their right captions."""
    pictures: list[Image.Image] = []
    captions: list[str] = []
    for seed in seeds:
        rng = random.Random(seed)
        scene = random_scene(rng)
        file = io.BytesIO()
        draw(scene, *random_size(rng, scene, 1600)).save(file, "JPEG", quality=rng.randint(25, 95))
        pictures.append(Image.open(file))
        captions.append(scene.caption)
    return pictures, captions


def test_the_model_is_right_about_scenes_it_never_saw(demo: Caption) -> None:
    """At least 95 % of held-out scenes get exactly the right caption, and every answer ends by itself."""
    pictures, captions = held_out(range(500_000, 500_060))
    right = [said == caption for said, caption in zip(demo(pictures), captions, strict=True)]
    assert sum(right) >= 57


def test_the_prompt_may_be_anything(demo: Caption) -> None:
    """A question in words, letters and bytes that training never used changes little about the answers."""
    pictures, captions = held_out(range(500_100, 500_120))
    said = demo(pictures, "Qu'est-ce qu'on voit ici ? 何が見えますか")
    assert sum(one == other for one, other in zip(said, captions, strict=True)) >= 17
