"""Pictures to prompt positions on the device.  The tower looks at each once, however many questions follow.

Its vectors wait in the computer's memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from captiond.phi3v.requests import Seen, pinned
from captiond.phi3v.tower import Phi3VImageEmbedding


def vectors_of(
    pictures: Sequence[Seen], tower: Phi3VImageEmbedding, device: torch.device, dtype: torch.dtype,
    in_fewer_passes: bool = True,
) -> dict[Seen, torch.Tensor]:  # fmt: skip
    """[positions, H] on the device for each picture; new pictures pass the tower together."""
    different = list(dict.fromkeys(pictures))
    new = _looked_at(
        [seen for seen in different if seen.vectors is None], tower, device, dtype, in_fewer_passes
    )
    return {seen: new[seen] if seen in new else sent(seen.vectors, device) for seen in different}


def _looked_at(
    pictures: list[Seen], tower: Phi3VImageEmbedding, device: torch.device, dtype: torch.dtype,
    in_fewer_passes: bool,
) -> dict[Seen, torch.Tensor]:  # fmt: skip
    if not pictures:
        return {}
    views: list[torch.Tensor] = []
    orders: list[list[int]] = []
    for seen in pictures:
        assert seen.pictures is not None
        for one in seen.pictures:
            orders.append([len(views) + place for place in one.order])
            made = seen.processor.views(one.pixels.to(device, non_blocking=True)).to(dtype)
            views += [made[index] for index in one.different]
    layouts = [layout for seen in pictures for layout in seen.layouts]
    vectors = tower.vectors(torch.stack(views), orders, layouts, in_fewer_passes).to(dtype)
    lengths = [sum(seen.token_counts(tower.merged_side)) for seen in pictures]
    found = dict(zip(pictures, torch.split(vectors, lengths), strict=True))
    for seen, own in found.items():
        seen.vectors, seen.pictures = _kept(own), None
    return found


def _kept(vectors: torch.Tensor) -> torch.Tensor:
    """A copy of its own in the computer's memory."""
    if vectors.device.type in ("cpu", "meta"):
        return vectors.clone()
    # From a CUDA device the copy arrives later; a copy back is queued behind it, so it reads the right bytes.
    return vectors.to("cpu", non_blocking=vectors.device.type == "cuda")


def sent(tensor: torch.Tensor | None, device: torch.device) -> torch.Tensor:
    """The tensor on the device; on a GPU without waiting for its present work."""
    assert tensor is not None
    if device.type != "cuda":
        return tensor.to(device)
    return pinned(tensor).to(device, non_blocking=True)
