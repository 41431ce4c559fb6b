"""What the shipped demo checkpoint promises: small, complete, and right about drawn scenes."""

import io
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captiond.captioners.local import LocalCaptioner
from captiond.demo import checkpoint_path
from captiond.demo.scenes import Scene, draw, random_scene, random_size
from captiond.records import Answer, CaptionRequest, Picture, PictureFacts
from captiond.settings.schema import Caption as CaptionSettings
from captiond.settings.schema import Fields

MEGABYTE = 1_000_000
NAMES = ("caption", "alt_text", "title", "keywords", "visible_text")
FACTS = PictureFacts("JPEG", 64, 48)


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
    """JPEGs of scenes that training never drew, and their right captions."""
    pictures, scenes = drawn(seeds)
    return pictures, [scene.caption for scene in scenes]


def drawn(seeds: range) -> tuple[list[Image.Image], list[Scene]]:
    """JPEGs of scenes that training never drew, of many sizes and qualities."""
    pictures: list[Image.Image] = []
    scenes: list[Scene] = []
    for seed in seeds:
        rng = random.Random(seed)
        scene = random_scene(rng)
        file = io.BytesIO()
        draw(scene, *random_size(rng, scene, 1600)).save(file, "JPEG", quality=rng.randint(25, 95))
        pictures.append(Image.open(file))
        scenes.append(scene)
    return pictures, scenes


def test_the_model_is_right_about_scenes_it_never_saw(demo: Caption) -> None:
    """At least 95 % of held-out scenes get exactly the right caption, and every answer ends by itself."""
    pictures, captions = held_out(range(500_000, 500_060))
    right = [said == caption for said, caption in zip(demo(pictures), captions, strict=True)]
    assert sum(right) >= 57


def right_texts(scene: Scene) -> list[str]:
    """What is right to say to each of the built-in questions, in their order."""
    return [scene.caption, scene.alt_text, scene.title, f"{scene.title.lower()}, drawing", ""]


QUESTIONS = [CaptionSettings().prompt, *(getattr(Fields(), f"{name}_prompt") for name in NAMES[1:])]


@pytest.mark.parametrize("turn", range(len(NAMES)), ids=NAMES)
def test_every_built_in_question_is_answered(demo: Caption, turn: int) -> None:
    """At least 95 % of held-out scenes get exactly the right text, whichever is asked for."""
    pictures, scenes = drawn(range(500_000, 500_060))
    said = demo(pictures, QUESTIONS[turn])
    assert sum(one == right_texts(scene)[turn] for one, scene in zip(said, scenes, strict=True)) >= 57


def test_all_questions_at_once_are_answered_from_one_look() -> None:
    """Asked together about several pictures at a time, each field has its own right text, as asked alone."""
    pictures, scenes = drawn(range(500_200, 500_208))
    requests = [CaptionRequest(question, 40) for question in QUESTIONS]
    captioner = LocalCaptioner(model_id="demo", device="cpu", batch_size=4)
    captioner.load()
    with closing(captioner), ThreadPoolExecutor(4) as callers:
        prepared = [captioner.prepare(Picture(one.convert("RGB"), FACTS)) for one in pictures]
        together = list(callers.map(lambda one: captioner.ask_all(one, requests), prepared))
        alone = [[captioner.ask(one, request) for request in requests] for one in prepared[:2]]
    assert together[:2] == alone
    told = [[one.text for one in answers if isinstance(one, Answer)] for answers in together]
    wrong = [
        (said, right)
        for answers, scene in zip(told, scenes, strict=True)
        for said, right in zip(answers, right_texts(scene), strict=True)
        if said != right
    ]
    assert len(wrong) <= 1, wrong


def test_the_prompt_may_be_anything(demo: Caption) -> None:
    """A question in words, letters and bytes that training never used costs few of the captions."""
    pictures, captions = held_out(range(500_100, 500_120))
    said = demo(pictures, "Qu'est-ce qu'on voit ici ? 何が見えますか")
    assert sum(one == other for one, other in zip(said, captions, strict=True)) >= 15
