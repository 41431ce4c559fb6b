"""How often the demo model says exactly the right texts: python training/evaluate.py [--scenes 1000]

Scenes come from the held-out seeds, in every size, shape and JPEG quality they may have, and go through the
daemon's own loading, prompt and generation.  Each is asked all the built-in questions.  `--variants` asks for
captions again, with the same scenes in other file formats and with other prompts.
"""

import argparse
import io
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageFilter

import data
from captiond import phi3v
from captiond.demo import checkpoint_path
from captiond.demo.scenes import BACKGROUNDS, COLOURS, KINDS, Scene, draw, random_scene, random_size
from tokenizer import PROMPT, PROMPTS

BATCH = 32
NO_DITHER = Image.Dither.NONE
RELATIONS = ("to the left of", "above", "left to right", "top to bottom")


def parts(caption: str) -> dict[str, list[str]]:
    """What a caption says of each attribute, in order."""
    groups = {"kinds": KINDS, "colours": COLOURS, "background": BACKGROUNDS, "relation": RELATIONS}
    found = {
        name: re.findall(rf"\b(?:{'|'.join(words)})\b", caption.lower()) for name, words in groups.items()
    }
    return found | {"count": [str(len(found["kinds"]))]}


def answers(
    model: Any, processor: Any, pictures: Iterable[Image.Image], prompt: str = PROMPT
) -> Iterator[str]:
    """The model's answers to one question, batch by batch."""
    yield from all_answers(model, processor, pictures, [prompt])[0]


def all_answers(
    model: Any, processor: Any, pictures: Iterable[Image.Image], prompts: Sequence[str]
) -> list[list[str]]:
    """The model's answers to each question, about all pictures."""
    told: list[list[str]] = [[] for _ in prompts]
    waiting = iter(pictures)
    while batch := list(islice(waiting, BATCH)):
        for prompt, answers_so_far in zip(prompts, told, strict=True):
            inputs = processor(images=batch, text=[phi3v.build_prompt(prompt)] * len(batch))
            inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
            said = model.generate(**inputs, do_sample=False, max_new_tokens=40)
            found = processor.answers(said, inputs["input_ids"].shape[1])
            answers_so_far += [answer.text for answer in found]
    return told


def report(scenes: list[Scene], captions: list[str]) -> None:
    """Exact captions, then each attribute, then by number of shapes."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for scene, said in zip(scenes, captions, strict=True):
        right = said == scene.caption
        hits["exact"].append(right)
        wanted, got = parts(scene.caption), parts(said)
        for name in wanted:
            hits[name].append(wanted[name] == got[name])
        arrangement = f" in a {scene.arrangement}" if len(scene.shapes) > 1 else ""
        hits[f"exact, {len(scene.shapes)} shape(s){arrangement}"].append(right)
    for name, column in sorted(hits.items(), key=lambda item: (item[0] != "exact", item[0])):
        show_share(name, column)


def show_share(name: str, hits: Sequence[bool]) -> None:
    print(f"{name:32} {100 * sum(hits) / len(hits):6.2f} %  ({sum(hits)} of {len(hits)})")


def resaved(file_format: str, **options: object) -> Callable[[Image.Image], Image.Image]:
    def save(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, file_format, **options)
        return Image.open(file).convert("RGB")

    return save


VARIANTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "no compression (PNG)": lambda picture: picture,
    "GIF, 256 colours": resaved("GIF"),
    "PNG, 8 colours without dither": lambda picture: picture.quantize(8, dither=NO_DITHER).convert("RGB"),
    "WebP, quality 30": resaved("WEBP", quality=30),
    "AVIF, quality 30": resaved("AVIF", quality=30),
    "CMYK JPEG, quality 75": lambda picture: resaved("JPEG", quality=75)(picture.convert("CMYK")),
    "RGBA": lambda picture: picture.convert("RGBA").convert("RGB"),
    "JPEG, quality 15": resaved("JPEG", quality=15),
    "blurred a little": lambda picture: picture.filter(ImageFilter.GaussianBlur(min(picture.size) / 150)),
}
OTHER_PROMPTS = ("What is this?", "Décris l'image, s'il te plaît.", "Write one detailed sentence. " * 8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--num-crops", type=int, default=None, help="default: as the checkpoint says")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint_path())
    parser.add_argument(
        "--variants", action="store_true", help="also other formats and prompts, 200 scenes each"
    )
    parser.add_argument("--wrong", type=int, default=5, help="how many wrong texts of each kind to show")
    options = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, processor = phi3v.load(
        options.checkpoint, dtype=torch.float32, device_map=device, num_crops=options.num_crops
    )
    started = time.monotonic()
    seeds = range(data.HELD_OUT, data.HELD_OUT + options.scenes)
    scenes = [random_scene(random.Random(seed)) for seed in seeds]  # as data.example draws them
    examples = (data.example(seed).picture for seed in seeds)
    told = dict(zip(PROMPTS, all_answers(model, processor, examples, list(PROMPTS.values())), strict=True))
    print(f"{options.scenes} held-out scenes, {time.monotonic() - started:.0f} s on {device}")
    for name, texts in told.items():
        right = [data.words_of(scene, name) for scene in scenes]
        show_share(name, [said == wanted for said, wanted in zip(texts, right, strict=True)])
    print("\ncaptions in detail")
    report(scenes, told["caption"])
    for name, texts in told.items():
        right = [data.words_of(scene, name) for scene in scenes]
        wrong = [(wanted, said) for wanted, said in zip(right, texts, strict=True) if said != wanted]
        for wanted, said in wrong[: options.wrong]:
            print(f"  right: {wanted}\n  said:  {said}")
    if options.variants:
        print("\n200 held-out scenes each, at most 1600 pixels long")
        few, pictures = clean(200)
        for name, change in VARIANTS.items():
            show(name, few, answers(model, processor, map(change, pictures)))
        for prompt in OTHER_PROMPTS:
            show(f"prompt {prompt[:30]!r}", few, answers(model, processor, pictures, prompt))


def clean(count: int) -> tuple[list[Scene], list[Image.Image]]:
    """Held-out scenes without any compression."""
    scenes, pictures = [], []
    for seed in range(data.HELD_OUT, data.HELD_OUT + count):
        rng = random.Random(seed)
        scenes.append(random_scene(rng))
        pictures.append(draw(scenes[-1], *random_size(rng, scenes[-1], 1600)))
    return scenes, pictures


def show(name: str, scenes: list[Scene], captions: Iterator[str]) -> None:
    right = sum(said == scene.caption for scene, said in zip(scenes, captions, strict=True))
    print(f"{name:40} {100 * right / len(scenes):6.2f} %")


if __name__ == "__main__":
    main()
