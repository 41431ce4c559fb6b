"""A sample of the points at which a process may end beside a picture; `make torture` has all."""

from __future__ import annotations

import pytest

from captiond.pictures.pool import Decoders
from libraries.crash_points import CHANGES, SCENES, WAYS, sweep


@pytest.mark.parametrize("scene", SCENES)
def test_a_crash_leaves_nothing_half_and_asks_nothing_twice(scene: str, decoders: Decoders) -> None:
    """Killed at a call and started again: the same end, and no question if the caption lay on disk."""
    way = WAYS[SCENES.index(scene) % len(WAYS)]
    score = sweep(scene, way, decoders, every=17, first=SCENES.index(scene))
    assert score.points >= 2 and not score.violations


@pytest.mark.parametrize("scene", CHANGES)
def test_a_crash_leaves_the_former_texts_or_the_new_ones(scene: str, decoders: Decoders) -> None:
    """Killed while texts change: sidecar and .xmp say the same after the next start, and nothing is asked."""
    way = WAYS[CHANGES.index(scene) % len(WAYS)]
    score = sweep(scene, way, decoders, every=11, first=CHANGES.index(scene))
    assert score.points >= 2 and not score.violations
