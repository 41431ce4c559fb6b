"""Drawn scenes and the right texts about each: what the demo model was trained on and is measured by.

A scene is one to three coloured shapes in a row or a column on a plain background.  Everything here is a pure
function of its arguments: the same seed gives the same scene, picture and sentence.  A scene knows nothing of
pixels; `places` lays it out for one picture size and `draw` paints that.
"""

import math
import random
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

Point = tuple[float, float]
Rgb = tuple[int, int, int]

BACKGROUNDS: dict[str, Rgb] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "beige": (236, 222, 190),
}
COLOURS: dict[str, Rgb] = {
    "red": (222, 20, 30),
    "orange": (255, 135, 0),
    "yellow": (255, 222, 0),
    "green": (20, 150, 50),
    "blue": (25, 60, 215),
    "purple": (125, 35, 165),
    "pink": (255, 120, 195),
    "brown": (115, 62, 22),
}
KINDS = ("circle", "square", "triangle", "star", "cross", "ring")

# Degrees by which each kind may turn and keep its name: a square turned by 45 would be a diamond.
_TURNS = {"circle": 0, "square": 12, "triangle": 14, "star": 18, "cross": 12, "ring": 0}

# The smallest shape, in pixels, that still survives JPEG at quality 25 with halved colour resolution.
LEGIBLE_PIXELS = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape; size, along and across are 0..1 within what its neighbours and the picture leave free."""

    kind: str
    colour: str
    size: float = 0.5
    along: float = 0.5
    across: float = 0.5
    turn: float = 0.0

    @property
    def name(self) -> str:
        """The shape with its article: "a red circle", "an orange star"."""
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.kind}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one shape lies in a picture of a certain size, in pixels; every kind fits into its circle."""

    shape: Shape
    x: float
    y: float
    diameter: float


@dataclass(frozen=True, slots=True)
class Scene:
    """One to three shapes in naming order: from left to right in a row, from top to bottom in a column."""

    background: str
    shapes: tuple[Shape, ...]
    arrangement: Literal["row", "column"] = "row"
    offset: float = 0.5

    @property
    def caption(self) -> str:
        """The one right sentence for this scene."""
        names = [shape.name for shape in self.shapes]
        if len(names) == 1:
            what = names[0]
        elif len(names) == 2:
            relation = "to the left of" if self.arrangement == "row" else "above"
            what = f"{names[0]} {relation} {names[1]}"
        else:
            order = "from left to right" if self.arrangement == "row" else "from top to bottom"
            what = f"{order}, {', '.join(names[:-1])} and {names[-1]}"
        return f"{what[0].upper()}{what[1:]} on a {self.background} background."

    @property
    def alt_text(self) -> str:
        """The one right alt text: what there is and how it lies, without the background."""
        names = [shape.name for shape in self.shapes]
        if len(names) == 1:
            return f"Drawing: {names[0]}."
        if len(names) == 2:
            return f"Drawing: {names[0]} {'left of' if self.arrangement == 'row' else 'above'} {names[1]}."
        return f"Drawing: {', '.join(names[:-1])} and {names[-1]} in a {self.arrangement}."

    @property
    def title(self) -> str:
        """The one right title: "Red circle, blue square"."""
        names = ", ".join(f"{shape.colour} {shape.kind}" for shape in self.shapes)
        return f"{names[0].upper()}{names[1:]}"

    @property
    def keywords(self) -> tuple[str, ...]:
        """The right keywords in their order: each shape with its colour, once, and that it is a drawing."""
        names = (f"{shape.colour} {shape.kind}" for shape in self.shapes)
        return tuple(dict.fromkeys((*names, "drawing")))


def random_scene(rng: random.Random, shapes: int | None = None) -> Scene:
    """A scene drawn from all there are; one to three shapes, equally often, unless told how many."""
    count = shapes or rng.randint(1, 3)
    return Scene(
        background=rng.choice(list(BACKGROUNDS)),
        shapes=tuple(_random_shape(rng) for _ in range(count)),
        arrangement=rng.choice(("row", "column")),
        offset=rng.random(),
    )


def _random_shape(rng: random.Random) -> Shape:
    kind = rng.choice(KINDS)
    turn = rng.uniform(-1, 1) * _TURNS[kind]
    return Shape(kind, rng.choice(list(COLOURS)), rng.random(), rng.random(), rng.random(), turn)


def random_size(rng: random.Random, scene: Scene, longest: int = 4000) -> tuple[int, int]:
    """A size in which the scene is legible: 1:3 to 3:1, though three in a column want no wide picture."""
    widest = (3.0, 2.0, 1.5)[len(scene.shapes) - 1]
    stretch = math.exp(rng.uniform(-math.log(widest), math.log(3.0)))  # length along the arrangement / across
    if len(scene.shapes) == 1 and rng.random() < 0.5:
        stretch = 1 / stretch
    long_over_short = max(stretch, 1 / stretch)
    smallest = min(place.diameter for place in places(scene, *_sides(scene, stretch, 1.0)))
    shortest = max(64.0, LEGIBLE_PIXELS / smallest)
    largest = max(shortest, longest / long_over_short)
    short = shortest * (largest / shortest) ** (rng.random() ** 2)
    width, height = _sides(scene, stretch, short)
    return math.ceil(width), math.ceil(height)


def _sides(scene: Scene, stretch: float, short: float) -> tuple[float, float]:
    along, across = (short * stretch, short) if stretch > 1 else (short, short / stretch)
    return (along, across) if scene.arrangement == "row" else (across, along)


def places(scene: Scene, width: float, height: float) -> list[Place]:
    """Where each shape lies: never touching, and neighbours twice as far apart along as across."""
    is_row = scene.arrangement == "row"
    length, breadth = (width, height) if is_row else (height, width)
    count = len(scene.shapes)
    cell = length / count
    room = min(cell, breadth * (0.85 if count == 1 else 0.75))
    smallest = 0.4 if count == 1 else 0.66
    diameters = [room * (smallest + (0.84 - smallest) * shape.size) for shape in scene.shapes]
    margin = max(diameters) * 0.54
    middle = margin + (breadth - 2 * margin) * scene.offset
    found = []
    for index, (shape, diameter) in enumerate(zip(scene.shapes, diameters, strict=True)):
        slack = (cell - diameter * 1.08) * (1.0 if count == 1 else 0.6)
        along = (index + 0.5) * cell + (shape.along - 0.5) * slack
        edge = diameter * 0.54
        across = min(max(middle + (shape.across - 0.5) * 0.3 * cell, edge), breadth - edge)
        x, y = (along, across) if is_row else (across, along)
        found.append(Place(shape, x, y, diameter))
    return found


def draw(scene: Scene, width: int, height: int) -> Image.Image:
    """The scene as an RGB picture with smooth edges."""
    picture = Image.new("RGB", (width, height), BACKGROUNDS[scene.background])
    for place in places(scene, width, height):
        left, top = math.floor(place.x - place.diameter / 2) - 1, math.floor(place.y - place.diameter / 2) - 1
        side = math.ceil(place.diameter) + 4
        mask = _mask(place, left, top, side)
        picture.paste(COLOURS[place.shape.colour], (left, top), mask)
    return picture


def _mask(place: Place, left: int, top: int, side: int) -> Image.Image:
    """The shape in white on black, drawn finer than asked and averaged down (big ones need it less)."""
    fine = 4 if side <= 300 else 2 if side <= 1200 else 1
    mask = Image.new("L", (side * fine, side * fine), 0)
    pen = ImageDraw.Draw(mask)
    x, y, radius = (place.x - left) * fine, (place.y - top) * fine, place.diameter / 2 * fine
    if place.shape.kind in ("circle", "ring"):
        _disc(pen, x, y, radius * 0.96, 255)
        if place.shape.kind == "ring":
            _disc(pen, x, y, radius * 0.55, 0)
    else:
        turn = math.radians(place.shape.turn)
        cos, sin = math.cos(turn) * radius, math.sin(turn) * radius
        pen.polygon(
            [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in _OUTLINES[place.shape.kind]], 255
        )
    return mask if fine == 1 else mask.reduce(fine)


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, ink: int) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), ink)


def _spokes(count: int, radii: tuple[float, ...]) -> list[Point]:
    """Points around the centre, the first straight up, at these radii in turn."""
    angles = [2 * math.pi * step / count for step in range(count)]
    return [
        (radii[step % len(radii)] * math.sin(angle), -radii[step % len(radii)] * math.cos(angle))
        for step, angle in enumerate(angles)
    ]


_ARM = 0.3
_OUTLINES: dict[str, list[Point]] = {
    "square": [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)],
    "triangle": _spokes(3, (1.0,)),
    "star": _spokes(10, (1.0, 0.42)),
    "cross": [
        (-_ARM, -0.95), (_ARM, -0.95), (_ARM, -_ARM), (0.95, -_ARM), (0.95, _ARM), (_ARM, _ARM),
        (_ARM, 0.95), (-_ARM, 0.95), (-_ARM, _ARM), (-0.95, _ARM), (-0.95, -_ARM), (-_ARM, -_ARM),
    ],
}  # fmt: skip
