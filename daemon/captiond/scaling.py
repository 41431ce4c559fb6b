"""How a model scales pictures before it looks at them: what it says, so that a decoder can do it.  Frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scaling:
    """Pillow's bilinear filter, to this size in pixels."""

    width: int
    height: int
    # Mirrored on the diagonal before, and back afterwards: Pillow goes along the rows first and rounds in
    # between, so that the result is another.
    is_mirrored: bool = False


ScalingOf = Callable[[int, int], Scaling]  # for an upright picture of this width and height
