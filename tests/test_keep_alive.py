"""model.keep_alive_seconds: an idle daemon frees its GPU, and nobody's picture pays for it."""

from __future__ import annotations

import gc
import io
import random
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from captiond.captioners.batches import Completion
from captiond.captioners.engines import Engine, open_engine
from captiond.captioners.local import LocalCaptioner
from captiond.captioners.placement import Placement
from captiond.demo.scenes import draw, random_scene
from captiond.errors import CannotStart, Surroundings
from captiond.records import CaptionRequest, Picture, PictureFacts
from captiond.settings import load
from daemon_process import Place
from test_local_captioner import FakeEngine

REQUEST = CaptionRequest("Describe what is shown in this image.", 40)


def _picture(seed: int) -> Picture:
    return Picture(draw(random_scene(random.Random(seed), 2), 480, 360), PictureFacts("PNG", 480, 360))


def _gray(shade: int) -> Picture:
    return Picture(Image.new("RGB", (32, 32), (shade,) * 3), PictureFacts("PNG", 32, 32))


def _ask(captioner: LocalCaptioner, picture: Picture) -> str:
    return captioner.ask(captioner.prepare(picture), REQUEST).text


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_the_weights_are_really_let_go_and_say_the_same_when_they_are_back() -> None:
    """After idle time nobody holds the network any more; the next question gets the very same caption."""
    networks: list[weakref.ref[Any]] = []

    def opening(folder: Path, place: Placement, num_crops: int) -> Engine:
        engine = open_engine(folder, place, num_crops)
        networks.append(weakref.ref(engine.model))
        return engine

    captioner = LocalCaptioner(model_id="demo", device="cpu", keep_alive_seconds=0.3, open_engine=opening)
    captioner.load()
    before = _ask(captioner, _picture(1))
    _until(lambda: not captioner.is_loaded)
    _until(lambda: gc.collect() >= 0 and networks[0]() is None)
    assert _ask(captioner, _picture(1)) == before and len(networks) == 2
    captioner.close()


def test_a_model_is_kept_while_somebody_asks() -> None:
    """However short the time to live, a question in work gets its answer, and those behind it as well."""
    engine = FakeEngine()
    opened: list[int] = []

    def opening(*_: object) -> FakeEngine:
        opened.append(1)
        return engine

    captioner = LocalCaptioner(
        model_id="demo", device="cpu", batch_size=2, keep_alive_seconds=0.02, open_engine=opening
    )
    captioner.load()
    slow = engine.generate

    def slowly(batch: Sequence[Any]) -> list[Completion]:
        time.sleep(0.05)
        return slow(batch)

    engine.generate = slowly  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as callers:
        shades = range(1, 25)
        said = list(callers.map(lambda shade: _ask(captioner, _gray(shade)), shades))
    assert said == [f"Shade {shade}." for shade in shades]
    _until(lambda: not captioner.is_loaded)
    assert _ask(captioner, _gray(7)) == "Shade 7." and len(opened) >= 2
    captioner.close()


@pytest.mark.parametrize("asks", ["anew", "with what was prepared before"])
@pytest.mark.parametrize("trouble", [torch.OutOfMemoryError("no room"), OSError("no such folder")])
def test_a_model_that_cannot_come_back_now_pauses_the_work(trouble: Exception, asks: str) -> None:
    """No memory on the card or a checkpoint that went away is the surroundings' trouble, for each who asks;
    when it ends, the same question is answered."""
    engine, troubles = FakeEngine(), [None, trouble, None]

    def opening(*_: object) -> FakeEngine:
        met = troubles.pop(0)
        if met is not None:
            raise met
        return engine

    captioner = LocalCaptioner(model_id="demo", device="cpu", keep_alive_seconds=0.05, open_engine=opening)
    captioner.load()
    prepared = captioner.prepare(_gray(9))
    _until(lambda: not captioner.is_loaded)
    ask: Callable[[], Any] = {
        "anew": lambda: captioner.prepare(_gray(9)),
        "with what was prepared before": lambda: prepared,
    }[asks]
    with pytest.raises(Surroundings):
        captioner.ask(ask(), REQUEST)
    assert captioner.ask(ask(), REQUEST).text == "Shade 9."
    captioner.close()


def test_a_servers_model_is_not_ours_to_let_go(tmp_path: Path) -> None:
    """With `model.backend: openai` the key is refused by name: doing nothing would look like a promise."""
    file = tmp_path / "captiond.yaml"
    file.write_text("model: {backend: openai, base_url: http://x/v1, keep_alive_seconds: 60}")
    with pytest.raises(CannotStart, match=r"keep_alive_seconds.*line 1"):
        load(file, {}, tmp_path)


@pytest.mark.long
def test_an_idle_daemon_lets_go_and_comes_back(tmp_path: Path) -> None:
    """Caption, idle, freed, caption again: both pictures are delivered at their first attempt."""
    place = Place(tmp_path, {"model": {"keep_alive_seconds": 0.3}})
    scenes = {f"{seed}.png": random_scene(random.Random(seed), 2) for seed in (3, 4)}
    with place.running() as running:
        for name, scene in scenes.items():
            running.until(
                lambda: _last(running.log(), "is let go") > _last(running.log(), "loading the model")
            )
            buffer = io.BytesIO()
            draw(scene, 480, 360).save(buffer, "PNG")
            place.drop(buffer.getvalue(), name)
            running.until((place.done / f"{name}.caption.json").exists)
        assert running.log().count("loading the model again") == 2
    for name, scene in scenes.items():
        assert place.sidecar(name)["caption"] == scene.caption
        assert place.sidecar(name)["attempts"] == 1


def _last(log: str, words: str) -> int:
    return log.rfind(words)
