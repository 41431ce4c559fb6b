"""What drawn scenes promise: one right text of each kind, legible and unambiguous pictures."""

import math
import random
import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.checking import Facts, Question, judge
from captiond.demo.scenes import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    LEGIBLE_PIXELS,
    Scene,
    Shape,
    draw,
    places,
    random_scene,
    random_size,
)
from captiond.settings.schema import Caption as CaptionSettings
from captiond.settings.schema import Fields

SEEDS = st.integers(0, 2**32)
SHARES = st.floats(0, 1)
SHAPES = st.builds(Shape, st.sampled_from(KINDS), st.sampled_from(list(COLOURS)), SHARES, SHARES, SHARES)
SCENES = st.builds(
    Scene,
    st.sampled_from(list(BACKGROUNDS)),
    st.lists(SHAPES, min_size=1, max_size=3).map(tuple),
    st.sampled_from(("row", "column")),
    SHARES,
)
SIDES = st.integers(64, 4000)
LIMITS = {"alt_text": Fields().alt_text_characters, "title": Fields().title_characters}
QUESTIONS = (
    Question("caption", CaptionSettings().prompt),
    Question("alt_text", Fields().alt_text_prompt, limit_characters=LIMITS["alt_text"]),
    Question("title", Fields().title_prompt, limit_characters=LIMITS["title"]),
    Question("keywords", Fields().keywords_prompt),
    Question("visible_text", Fields().visible_text_prompt),
)


@given(SEEDS)
def test_the_seed_decides_scene_size_and_picture(seed: int) -> None:
    """The same seed gives the same scene, size and pixels, whenever it is asked."""

    def make() -> tuple[Scene, tuple[int, int], bytes]:
        rng = random.Random(seed)
        scene = random_scene(rng)
        size = random_size(rng, scene, 300)
        return scene, size, draw(scene, *size).tobytes()

    assert make() == make()


@pytest.mark.parametrize(
    ("shapes", "arrangement", "caption"),
    [
        ([("circle", "red")], "row", "A red circle on a white background."),
        ([("star", "orange")], "column", "An orange star on a white background."),
        (
            [("circle", "red"), ("square", "blue")],
            "row",
            "A red circle to the left of a blue square on a white background.",
        ),
        (
            [("ring", "orange"), ("ring", "orange")],
            "column",
            "An orange ring above an orange ring on a white background.",
        ),
        (
            [("circle", "red"), ("square", "blue"), ("cross", "orange")],
            "row",
            "From left to right, a red circle, a blue square and an orange cross on a white background.",
        ),
        (
            [("circle", "red"), ("square", "blue"), ("cross", "pink")],
            "column",
            "From top to bottom, a red circle, a blue square and a pink cross on a white background.",
        ),
    ],
)
def test_captions_read_like_this(shapes: list[tuple[str, str]], arrangement: str, caption: str) -> None:
    """Every form of sentence there is, spelled out."""
    made = tuple(Shape(kind, colour) for kind, colour in shapes)
    assert Scene("white", made, "row" if arrangement == "row" else "column").caption == caption


@given(SCENES)
def test_captions_are_good_english(scene: Scene) -> None:
    """A capital first, a full stop last, "an" before vowels only, no word twice in a row."""
    caption = scene.caption
    assert caption[0].isupper()
    assert caption.endswith(" background.")
    assert caption.count(".") == 1
    for article, letter in re.findall(r"\b(an?) (\w)", caption, re.IGNORECASE):
        assert (article.lower() == "an") == (letter in "aeiou")
    words = re.findall(r"\w+", caption.lower())
    assert all(one != other for one, other in pairwise(words))


@given(SCENES, SCENES)
def test_a_caption_says_everything(one: Scene, other: Scene) -> None:
    """Two scenes share a caption only if they show the same shapes in the same order and place."""

    def content(scene: Scene) -> object:
        arrangement = scene.arrangement if len(scene.shapes) > 1 else None
        return [(shape.kind, shape.colour) for shape in scene.shapes], scene.background, arrangement

    assert (one.caption == other.caption) == (content(one) == content(other))


@given(SCENES, SIDES, SIDES)
def test_shapes_lie_inside_and_apart(scene: Scene, width: int, height: int) -> None:
    """In a picture of any size no shape is cut off and no two touch."""
    found = places(scene, width, height)
    for place in found:
        radius = place.diameter / 2
        assert radius <= place.x <= width - radius
        assert radius <= place.y <= height - radius
    for one, other in pairwise(found):
        assert math.hypot(one.x - other.x, one.y - other.y) > (one.diameter + other.diameter) / 2


@given(SCENES, SIDES, SIDES)
def test_the_order_cannot_be_mistaken(scene: Scene, width: int, height: int) -> None:
    """Neighbours lie in naming order and at least twice as far apart along the arrangement as across it."""
    found = places(scene, width, height)
    for one, other in pairwise(found):
        right, down = other.x - one.x, other.y - one.y
        along, across = (right, down) if scene.arrangement == "row" else (down, right)
        assert along >= 2 * abs(across) * 0.999


@given(SEEDS)
def test_random_sizes_keep_scenes_legible(seed: int) -> None:
    """Sides of 64 to 4000 pixels, 1:3 to 3:1, and no shape smaller than what survives JPEG."""
    rng = random.Random(seed)
    scene = random_scene(rng)
    width, height = random_size(rng, scene)
    assert min(width, height) >= 64
    assert max(width, height) <= 4000
    assert max(width, height) / min(width, height) <= 3.1
    assert min(place.diameter for place in places(scene, width, height)) >= LEGIBLE_PIXELS * 0.99


@given(SCENES, st.integers(64, 300), st.integers(64, 300))
def test_the_middle_of_a_shape_has_its_colour(scene: Scene, width: int, height: int) -> None:
    """What the caption calls red is red in the picture, in the background's colour where a ring is hollow."""
    picture = draw(scene, width, height)
    assert picture.size == (width, height)
    for place in places(scene, width, height):
        pixel = picture.getpixel((int(place.x), int(place.y)))
        is_hollow = place.shape.kind == "ring"
        assert pixel == (BACKGROUNDS[scene.background] if is_hollow else COLOURS[place.shape.colour])


def test_everything_turns_up() -> None:
    """Random scenes use every kind, colour, background, arrangement and number of shapes about equally."""
    scenes = [random_scene(random.Random(seed)) for seed in range(3000)]
    for counted, choices in (
        (Counter(shape.kind for scene in scenes for shape in scene.shapes), len(KINDS)),
        (Counter(shape.colour for scene in scenes for shape in scene.shapes), len(COLOURS)),
        (Counter(scene.background for scene in scenes), len(BACKGROUNDS)),
        (Counter(scene.arrangement for scene in scenes), 2),
        (Counter(len(scene.shapes) for scene in scenes), 3),
    ):
        assert len(counted) == choices
        assert max(counted.values()) < 1.3 * min(counted.values())


def test_colours_are_far_apart() -> None:
    """No two colours, nor a colour and a background, are near each other in any picture worth its name."""
    everything = [*COLOURS.values(), *BACKGROUNDS.values()]
    for index, one in enumerate(everything):
        assert all(math.dist(one, other) > 60 for other in everything[:index])


@pytest.mark.parametrize(
    ("shapes", "arrangement", "alt_text", "title", "keywords"),
    [
        ([("star", "orange")], "row", "Drawing: an orange star.", "Orange star", "orange star, drawing"),
        (
            [("circle", "red"), ("square", "blue")],
            "row",
            "Drawing: a red circle left of a blue square.",
            "Red circle, blue square",
            "red circle, blue square, drawing",
        ),
        (
            [("ring", "pink"), ("ring", "pink")],
            "column",
            "Drawing: a pink ring above a pink ring.",
            "Pink ring, pink ring",
            "pink ring, drawing",
        ),
        (
            [("circle", "red"), ("square", "blue"), ("circle", "blue")],
            "column",
            "Drawing: a red circle, a blue square and a blue circle in a column.",
            "Red circle, blue square, blue circle",
            "red circle, blue square, blue circle, drawing",
        ),
    ],
)
def test_the_other_texts_read_like_this(
    shapes: list[tuple[str, str]], arrangement: str, alt_text: str, title: str, keywords: str
) -> None:
    """Every form of alternative text there is, and titles and keywords, spelled out."""
    scene = Scene("white", tuple(Shape(*one) for one in shapes), arrangement)  # type: ignore[arg-type]
    assert (scene.alt_text, scene.title, ", ".join(scene.keywords)) == (alt_text, title, keywords)


@given(SCENES)
def test_the_right_texts_pass_every_check(scene: Scene) -> None:
    """What is right is delivered as it is: no check shortens, drops or marks it."""
    texts = {
        "caption": scene.caption,
        "alt_text": scene.alt_text,
        "title": scene.title,
        "keywords": ", ".join(scene.keywords),
        "visible_text": "",
    }
    for one in QUESTIONS:
        judged = judge(texts[one.field], one, facts=Facts(scene.caption))
        assert (judged.text, judged.findings, judged.dropped) == (texts[one.field], (), ())
