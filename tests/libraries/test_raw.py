"""A camera's RAW and the JPEG of its shot in a library: one question, and the caption beside both."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from captiond.formats import extras
from captiond.libraries import MARKER
from captiond.pictures.pool import Decoders
from formats.making import jpeg
from formats.test_extras import PLAIN
from libraries.library_world import World, said
from libraries.test_revising import LIGHTROOMS, WORDS, rewritten

needs_raw = pytest.mark.skipif(extras.why_not("raw") is not None, reason="the extra raw is not installed")
WIDTH = 200
SHOT = "trip/a.jpg"


def shot(world: World, came: str | None = None) -> None:
    """A JPEG and a RAW, and what a raw converter wrote about it."""
    files = {"trip/a.DNG": PLAIN, SHOT: jpeg(WIDTH, 150)}
    for name, data in files.items():
        path = world.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        world.before[name] = data, path.stat().st_mtime_ns
    if came is not None:
        (world.root / "trip" / came).write_text(LIGHTROOMS)
    time.sleep(0.05)


def written(world: World) -> dict[str, str]:
    """What every .xmp says that captiond may have written, by name."""
    folder = world.record(SHOT).parent
    return {path.name: path.read_text() for path in folder.glob("*.xmp")}


@needs_raw
@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize(
    ("named", "came", "raws"),
    [
        ("full", None, "a.DNG.xmp"),
        ("stem", None, "a.xmp"),
        ("stem", "a.DNG.xmp", "a.DNG.xmp"),
        ("full", "a.xmp", "a.xmp"),
    ],
)
def test_a_raw_and_its_jpeg_are_one_question(
    tmp_path: Path, decoders: Decoders, named: str, came: str | None, raws: str, *, is_mirrored: bool
) -> None:
    """The JPEG's .xmp and the RAW's own say it; an edit and an undo change both; no byte of them changes."""
    more: dict[str, Any] = {"sidecars": str(tmp_path / "mirror")} if is_mirrored else {}
    world = World(tmp_path, decoders, **more)
    if is_mirrored:
        world.mirror.mkdir()
        (world.mirror / MARKER).write_text("")
    world.settings["output"] = {"xmp_sidecar_name": named}
    shot(world, came)
    assert world.serve() == [WIDTH]
    found = written(world)
    assert found.keys() == {"a.jpg.xmp", raws}
    assert all(said(WIDTH) in text for text in found.values())
    assert (came is not None) == ('xmp:Rating="4"' in found[raws])
    assert not world.record("trip/a.DNG").exists()
    told = world.sidecar(SHOT)
    assert told["library"]["raw_xmp"]["name"] == raws
    assert {"target": "raw-sidecar:dc:description", "action": "wrote"} in told["written"]
    assert world.serve() == []
    rewritten(world, name=SHOT)
    assert all(WORDS in text and said(WIDTH) not in text for text in written(world).values())
    assert world.status is not None
    assert (world.status.pictures, world.status.described, world.status.waiting) == (1, 1, 0)


@needs_raw
def test_a_raw_that_was_described_alone_keeps_its_own_words(tmp_path: Path, decoders: Decoders) -> None:
    """Its JPEG comes later: that is a picture of its own, and the RAW's sidecar and .xmp stay as they are."""
    world = World(tmp_path, decoders)
    shot(world)
    (world.root / SHOT).rename(tmp_path / "later.jpg")
    kept = world.before.pop(SHOT)
    (alone,) = world.serve()
    before = {path.name: path.read_bytes() for path in (world.root / "trip").iterdir()}
    assert before.keys() == {"a.DNG", "a.DNG.xmp", "a.DNG.caption.json"} and alone != WIDTH
    (tmp_path / "later.jpg").rename(world.root / SHOT)
    world.before[SHOT] = kept
    time.sleep(0.05)
    assert world.serve() == [WIDTH]
    assert {name: (world.root / "trip" / name).read_bytes() for name in before} == before
    assert said(WIDTH) in written(world)["a.jpg.xmp"]


@needs_raw
def test_a_raw_that_comes_later_gets_its_xmp_without_a_question(tmp_path: Path, decoders: Decoders) -> None:
    """What its JPEG says, a person's words too; the JPEG's own .xmp and texts stay."""
    world = World(tmp_path, decoders)
    shot(world)
    (world.root / "trip/a.DNG").rename(tmp_path / "later.DNG")
    kept = world.before.pop("trip/a.DNG")
    assert world.serve() == [WIDTH]
    rewritten(world, name=SHOT)
    before = written(world)
    (tmp_path / "later.DNG").rename(world.root / "trip/a.DNG")
    world.before["trip/a.DNG"] = kept
    time.sleep(0.05)
    assert world.serve() == []
    assert written(world) == before | {"a.DNG.xmp": written(world)["a.DNG.xmp"]}
    assert WORDS in written(world)["a.DNG.xmp"]
    told = world.sidecar(SHOT)
    assert (told["caption"], told["library"]["raw_xmp"]["name"]) == (WORDS, "a.DNG.xmp")
    assert world.serve() == [] and world.sidecar(SHOT) == told
    assert world.status is not None
    assert (world.status.pictures, world.status.described, world.status.waiting) == (1, 1, 0)


def test_without_the_extra_a_raw_beside_a_jpeg_is_left_alone(tmp_path: Path, decoders: Decoders) -> None:
    """As ever: the JPEG is described, and nothing is written for the RAW."""
    if extras.why_not("raw") is None:
        pytest.skip("the extra raw is installed here")
    world = World(tmp_path, decoders)
    shot(world, "a.xmp")
    assert world.serve() == [WIDTH]
    assert written(world) == {"a.xmp": LIGHTROOMS, "a.jpg.xmp": written(world)["a.jpg.xmp"]}
    assert "raw_xmp" not in world.sidecar(SHOT)["library"]
