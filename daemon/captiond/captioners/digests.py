"""A digest of what a model is shown, whatever form an engine gives it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from captiond import phi3v


def digest_of(prepared: Any) -> bytes:
    """Equal for equal pixels only.  Call it before the model has looked: the pixels are freed then."""
    digest = hashlib.sha256()
    _feed(digest, prepared)
    return digest.digest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        digest.update(flat.view(torch.uint8).numpy())
    elif isinstance(value, Image.Image):
        digest.update(f"image {value.mode} {value.size};".encode())
        digest.update(value.tobytes())
    elif isinstance(value, phi3v.Seen):
        assert value.pictures is not None
        _feed(digest, [one.pixels for one in value.pictures])
    elif isinstance(value, Mapping):
        _feed(digest, sorted(value.items()))
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)} of:".encode())
        for one in value:
            _feed(digest, one)
    else:
        digest.update(f"{value!r};".encode())
