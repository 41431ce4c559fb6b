"""Training pictures: scenes drawn, sized and JPEG-compressed at random, with what each image token shows.

Everything comes from seeds, and the three uses have ranges of their own.
"""

import io
import math
import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch.utils.data import IterableDataset

from captiond.demo.scenes import BACKGROUNDS, COLOURS, KINDS, Scene, draw, places, random_scene, random_size
from tokenizer import PROMPTS

WATCHED = 0  # measured now and then during training
HELD_OUT = 100_000  # the final figure
TRAINING = 1_000_000  # and all above
IGNORED = -100
FIELDS = tuple(PROMPTS)
OTHER_PROMPTS = {
    "caption": ["What is this?", "Caption:", "Describe the image briefly.", "Describe this picture."],
    "alt_text": [
        "Write an alt text for this picture.",
        "Alt text:",
        "Tell someone who cannot see this picture what it shows.",
    ],
    "title": ["Give this picture a title.", "Title:", "A short title for this image."],
    "keywords": [
        "List keywords for this picture.",
        "Keywords:",
        "Keywords for this image, separated by commas.",
    ],
    "visible_text": ["What words can be read in this picture?", "Copy the text in this picture."],
}
# How often each question is asked, in the order of FIELDS: what can be read in a drawing is soon learned to
# be nothing.
SHARES = (32, 26, 20, 20, 2)

# How many pictures of each layout (rows, columns) of crops make a batch: about as random sizes have them.
LAYOUTS = {(2, 2): 22, (1, 2): 5, (2, 1): 5}

QUESTIONS = 2  # about each training picture, as the tower is the dearest
LENGTHS = (112, 136, 192)  # tokens of a row

# What the auxiliary loss asks of every projected image token, and how many answers there are.
ASPECTS = {
    "kind": len(KINDS) + 1,
    "colour": len(COLOURS) + 1,
    "turn_in_naming": 4,
    "background": len(BACKGROUNDS),
    "arrangement": 3,
}
EMPTY_FIRST = ("kind", "colour", "turn_in_naming")  # these have "nothing here" as answer 0


Asked = tuple[str, str]  # a field and the prompt that asks for it


@dataclass(frozen=True)
class Example:
    scene: Scene
    picture: Image.Image


def example(seed: int, shapes: int | None = None, longest: int = 4000) -> Example:
    """One scene as a picture that went through JPEG; the same seed gives the same bytes."""
    rng = random.Random(seed)
    scene = random_scene(rng, shapes)
    width, height = random_size(rng, scene, longest)
    file = io.BytesIO()
    quality, subsampling = rng.randint(25, 95), rng.choice((0, 1, 2))
    draw(scene, width, height).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Example(scene, Image.open(file).convert("RGB"))


def words_of(scene: Scene, field: str) -> str:
    """The right answer to the question for a field.  Keywords may be said twice: captiond takes each once."""
    if field == "visible_text":
        return ""
    return f"{scene.title.lower()}, drawing" if field == "keywords" else str(getattr(scene, field))


def question(rng: random.Random, field: str, longest_noise: int) -> str:
    """Mostly the built-in prompt; sometimes another, so that the answer does not hang on its every word."""
    kind = rng.random()
    if kind < 0.6:
        return PROMPTS[field]
    if field == "caption" and kind < 0.85:  # whatever is no other question asks for a caption
        return noise(rng, longest_noise)
    if kind < 0.7:
        return f"{PROMPTS[field]} Answer in English."
    return rng.choice(OTHER_PROMPTS[field])


def noise(rng: random.Random, longest: int) -> str:
    letters = string.ascii_letters + string.digits + " " * 12 + ".,;:!?'()-"
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, longest))).strip() or "?"


def image_token_labels(
    scene: Scene, size: tuple[int, int], padded: tuple[int, int], crop: int, cells: int
) -> list[list[int]]:
    """For each image token in order: which shape covers it and what that is; separators are ignored.

    `padded` is (height, width) as the image processor gives it, `cells` the tokens along one side of a crop.
    """
    width, height = size
    rows, columns = padded[0] // crop, padded[1] // crop
    if width >= height:
        used = (padded[1], max(1, int(padded[1] / (width / height))))
    else:
        used = (max(1, int(padded[0] / (height / width))), padded[0])
    left, top = (padded[1] - used[0]) // 2, (padded[0] - used[1]) // 2
    scale_x, scale_y = used[0] / width, used[1] / height
    found = [
        ((place.x * scale_x + left) / padded[1], (place.y * scale_y + top) / padded[0],
         place.diameter / 2 * scale_x / padded[1], place.diameter / 2 * scale_y / padded[0])
        for place in places(scene, width, height)
    ]  # fmt: skip
    background = list(BACKGROUNDS).index(scene.background)
    arrangement = 0 if len(scene.shapes) == 1 else 1 if scene.arrangement == "row" else 2
    nothing = [IGNORED] * len(ASPECTS)

    def grid(down: int, across: int, knows_order: bool) -> Iterator[list[int]]:
        for row in range(down):
            for column in range(across):
                cell = (column / across, row / down, (column + 1) / across, (row + 1) / down)
                index = _covering(found, cell)
                if index is None:
                    label = [0, 0, 0]
                else:
                    shape = scene.shapes[index]
                    label = [KINDS.index(shape.kind) + 1, list(COLOURS).index(shape.colour) + 1, index + 1]
                if not knows_order:
                    label[2] = IGNORED
                yield [*label, background, arrangement if knows_order else IGNORED]
            yield nothing

    return [*grid(rows * cells, columns * cells, False), nothing, *grid(cells, cells, True)]


def _covering(
    found: list[tuple[float, float, float, float]], cell: tuple[float, float, float, float]
) -> int | None:
    """Of the shapes that reach well into the cell, the one nearest to its middle."""
    best, best_distance = None, math.inf
    for index, (x, y, radius_x, radius_y) in enumerate(found):
        dx = max(cell[0] - x, 0, x - cell[2]) / radius_x
        dy = max(cell[1] - y, 0, y - cell[3]) / radius_y
        middle = math.hypot(
            ((cell[0] + cell[2]) / 2 - x) / radius_x, ((cell[1] + cell[3]) / 2 - y) / radius_y
        )
        if math.hypot(dx, dy) < 0.75 and middle < best_distance:
            best, best_distance = index, middle
    return best


class Batches(IterableDataset[dict[str, torch.Tensor]]):
    """The batches of one run in order; each depends on the seed and its number only.

    For the share `only_tower` of the steps the tower learns alone, from its tokens; then come sentences.
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        steps: int,
        seed: int,
        only_tower: float,
        shares: Sequence[int] = SHARES,
    ) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer
        self.steps, self.seed, self.only_tower, self.shares = steps, seed, only_tower, shares

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        torch.set_num_threads(1)
        for step in range(self.steps):
            yield self.batch(step)

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """As many pictures of each layout in every batch: tensors of ever new sizes are slow on a CPU."""
        open_places = dict(LAYOUTS)
        # One long prompt lengthens the whole batch, so long ones come together.
        longest_noise = 86 if step % 12 == 11 else 22
        items: list[tuple[Example, list[Asked]]] = []
        seed = TRAINING * (1 + self.seed) + step * 100 * sum(LAYOUTS.values())
        while any(open_places.values()):
            seed += 1
            rng = random.Random(
                f"beside {seed}"
            )  # nothing here may go with what the scene's own seed decides
            shapes = how_many_shapes(rng, step / self.steps, self.only_tower)
            item = example(seed, shapes, 400 if rng.random() < 0.97 else 1600)
            layout = self.image_processor.layout(*item.picture.size)
            if open_places.get(layout, 0):
                open_places[layout] -= 1
                fields = rng.choices(FIELDS, self.shares, k=QUESTIONS)
                items.append((item, [(field, question(rng, field, longest_noise)) for field in fields]))
        return self.collate(items)

    def watched(self, count: int, batch_size: int = 64) -> list[dict[str, torch.Tensor]]:
        """Scenes that no training seed gives, with the built-in prompts."""
        every = list(PROMPTS.items())
        items = [(example(seed, longest=1600), every) for seed in range(WATCHED, WATCHED + count)]
        return [self.collate(items[start : start + batch_size]) for start in range(0, count, batch_size)]

    def collate(self, items: list[tuple[Example, list[Asked]]]) -> dict[str, torch.Tensor]:
        """First all pictures with their first question, then all with their second; padded to few lengths."""
        images = self.image_processor([item.picture for item, _ in items])
        crop, cells = self.image_processor.crop_size, self.image_processor.merged_side
        labels = [
            image_token_labels(item.scene, item.picture.size, padded, crop, cells)
            for (item, _), padded in zip(items, images["image_sizes"].tolist(), strict=True)
        ]
        rows = [
            self.row(item.scene, asked[turn], len(seen))
            for turn in range(len(items[0][1]))
            for (item, asked), seen in zip(items, labels, strict=True)
        ]
        longest = max(len(ids) for ids, _ in rows)
        length = next((one for one in LENGTHS if one >= longest), longest)
        return {
            "input_ids": torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in rows]),
            "answers": torch.tensor([ids + [IGNORED] * (length - len(ids)) for _, ids in rows]),
            "pixel_values": images["pixel_values"].half(),
            "image_sizes": images["image_sizes"],
            "tokens": torch.tensor([label for seen in labels for label in seen]),
        }

    def row(self, scene: Scene, asked: Asked, picture_tokens: int) -> tuple[list[int], list[int]]:
        """The ids of one question and its answer (-1 for the picture's), and those that are learned."""
        field, prompt = asked
        before = self.tokenizer("<|user|>\n")["input_ids"]
        after = self.tokenizer(f"\n{prompt}<|end|>\n<|assistant|>\n")["input_ids"]
        answer = self.tokenizer(f"{words_of(scene, field)}<|end|>", add_special_tokens=False)["input_ids"]
        asked_ids = [*before, *[-1] * picture_tokens, *after]
        return asked_ids + answer, [IGNORED] * len(asked_ids) + answer


def how_many_shapes(rng: random.Random, progress: float, only_tower: float) -> int:
    """Three most often, as they are the hardest; the first sentences are about one or two."""
    if 0 < only_tower < progress < only_tower + 0.03:
        return rng.choice((1, 2))
    return rng.choices((1, 2, 3), (2, 3, 5))[0]
