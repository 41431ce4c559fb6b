"""A folder of sample pictures in every format the daemon reads, for `captiond demo` and for tests.

The pictures are drawn, so the right texts about them are known.  Nothing is fetched, and nothing but the
given folder is written.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, features

from captiond.demo.scenes import Scene, draw, random_scene

_MAKE, _ORIENTATION, _ARTIST = 0x010F, 0x0112, 0x013B


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture on the disk, and the scene drawn on it, which tells the right texts."""

    path: Path
    scene: Scene

    @property
    def caption(self) -> str:
        return self.scene.caption


@dataclass(frozen=True, slots=True)
class _Plan:
    name: str
    size: tuple[int, int]
    shapes: int
    options: dict[str, Any]
    tags: dict[int, Any]


def _plan(
    name: str, width: int, height: int, shapes: int, tags: dict[int, Any] | None = None, **options: Any
) -> _Plan:
    return _Plan(name, (width, height), shapes, options, tags or {})


_PLANS = (
    _plan("scene-01.jpg", 640, 480, 1, quality=90),
    _plan("scene-02.jpg", 480, 640, 2, {_MAKE: "A camera", _ARTIST: "Somebody"}, quality=85),
    _plan("scene-03-turned.jpg", 640, 480, 3, {_ORIENTATION: 6, _MAKE: "A camera"}, quality=85),
    _plan("scene-04.png", 500, 500, 2),
    _plan("scene-05.webp", 720, 480, 3, quality=80),
    _plan("scene-06.tiff", 400, 300, 1, compression="tiff_lzw"),
    _plan("more/scene-07.gif", 320, 320, 2),
    _plan("more/scene-08.bmp", 240, 320, 1),
    _plan("more/scene-09.jpeg", 1600, 1200, 3, quality=70, progressive=True),
    _plan("more/scene-10.heic", 640, 480, 2, quality=80),
    _plan("more/scene-11.avif", 640, 480, 3, quality=80),
    _plan("more/scene-12-small.jpg", 96, 96, 1, quality=60),
)


def write_samples(folder: Path, seed: int = 0) -> list[Sample]:
    """Draw a dozen pictures into the folder, some below `more/`; the same seed draws the same ones.

    HEIC and AVIF are left out if this installation cannot write them.
    """
    can_write = {".heic": _register_heic(), ".avif": features.check("avif")}
    written = []
    for number, plan in enumerate(_PLANS):
        path = folder / plan.name
        if not can_write.get(path.suffix, True):
            continue
        scene = random_scene(random.Random(f"{seed}/{number}"), plan.shapes)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(scene, plan, path)
        written.append(Sample(path, scene))
    return written


def _write(scene: Scene, plan: _Plan, path: Path) -> None:
    picture = draw(scene, *plan.size)
    options = dict(plan.options)
    if plan.tags:
        exif = Image.Exif()
        exif.update(plan.tags)
        options["exif"] = exif
        if plan.tags.get(_ORIENTATION) == 6:  # lies on its side until a viewer turns it a quarter clockwise
            picture = picture.transpose(Image.Transpose.ROTATE_90)
    picture.save(path, **options)


def _register_heic() -> bool:
    """Whether HEIC can be written here; Pillow itself cannot."""
    try:
        import pillow_heif
    except ImportError:
        return False
    register: Callable[[], None] = pillow_heif.register_heif_opener
    register()
    return bool(pillow_heif.libheif_info().get("HEIF"))
