"""One upright picture in, the crops the network wants out.

This room chooses how many crops a picture gets, resizes, pads, normalises and cuts, with PIL, numpy and torch
only, and bit for bit as the original code does.  It opens no files, knows no prompts and touches no network.
Lengths are pixels throughout; a layout is (rows, columns) of crops.

`scaled` and `padded` need the picture, and are done ahead of the device, on any core: they leave a byte for
each number.  `views` makes floats of those, on the device that will look at them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
WHITE = (255, 255, 255)


def image_token_count(rows: int, columns: int, merged_side: int) -> int:
    """Positions one picture takes in the prompt.

    The crops and the global view, a separator between the two, and a newline after each grid row of either;
    `merged_side` is the number of grid rows in one crop (12 at 336 pixels).
    """
    views = (rows * columns + 1) * merged_side**2
    return views + 1 + (rows + 1) * merged_side


class Phi3VImageProcessor(BaseImageProcessor):
    """Pictures to `pixel_values`.

    `num_crops` is the budget for rows * columns (published default 4; 16 is advised for a single picture);
    `crop_size` and `patch_size` are those of the tower.  `num_img_tokens`, the tokens of one crop, follows
    from them and is only checked.

    Raises: ValueError, if these numbers contradict each other.
    """

    model_input_names = ["pixel_values", "image_sizes"]  # noqa: RUF012  # the base has it so

    def __init__(
        self,
        num_crops: int = 4,
        crop_size: int = 336,
        patch_size: int = 14,
        num_img_tokens: int | None = None,
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("auto_map", None)  # a copy saved from here asks for no code
        super().__init__(**kwargs)
        if crop_size % (2 * patch_size):
            raise ValueError(f"crop_size {crop_size} is not a multiple of twice the patch_size {patch_size}")
        self.num_crops = checked_budget(num_crops)
        self.crop_size = crop_size
        self.patch_size = patch_size
        self.num_img_tokens = self.merged_side**2
        if num_img_tokens not in (None, self.num_img_tokens):
            raise ValueError(
                f"num_img_tokens is {num_img_tokens}, but {crop_size} pixel crops in patches of {patch_size} "
                f"make {self.num_img_tokens}"
            )
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)

    @property
    def merged_side(self) -> int:
        """Tokens along one side of a crop."""
        return self.crop_size // self.patch_size // 2

    def layout(self, width: int, height: int, num_crops: int | None = None) -> tuple[int, int]:
        """(rows, columns) of crops for a picture of this size."""
        long_side, short_side = self._resized(max(width, height), min(width, height), self._budget(num_crops))
        across, down = long_side // self.crop_size, math.ceil(short_side / self.crop_size)
        return (across, down) if width < height else (down, across)

    def long_side(self, width: int, height: int) -> int:
        """Pixels on the long side to which a picture of this size is resized, before it is padded and cut."""
        return self._resized(max(width, height), min(width, height), self.num_crops)[0]

    def __call__(  # type: ignore[override]  # the base takes anything and hands it on
        self,
        images: Image.Image | Sequence[Image.Image],
        num_crops: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        return self.preprocess(images, num_crops, **kwargs)

    def preprocess(
        self,
        images: Image.Image | Sequence[Image.Image],
        num_crops: int | Sequence[int] | None = None,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Crop and normalise n pictures, each within its own budget if `num_crops` is a sequence.

        Returns `pixel_values` float32 [n, largest budget + 1, 3, crop_size, crop_size] (slot 0 the global
        view, then the crops row by row, then zeros), `image_sizes` int64 [n, 2] (padded height and width) and
        `num_img_tokens` int64 [n].

        Raises: ValueError, if a budget is below 1, there are not n budgets, or other tensors are wanted.
        """
        if return_tensors not in (None, "pt"):
            raise ValueError(f"only torch tensors are made here, not {return_tensors!r}")
        if kwargs:
            raise TypeError(f"unexpected keyword argument {next(iter(kwargs))!r}")
        pictures = [images] if isinstance(images, Image.Image) else list(images)
        if num_crops is None or isinstance(num_crops, int):
            budgets = [self._budget(num_crops)] * len(pictures)
        else:
            budgets = [checked_budget(budget) for budget in num_crops]
        if len(budgets) != len(pictures):
            raise ValueError(f"{len(budgets)} budgets for {len(pictures)} pictures")
        slots = max(budgets, default=0) + 1
        pixel_values = torch.empty(len(pictures), slots, 3, self.crop_size, self.crop_size)
        image_sizes = torch.zeros(len(pictures), 2, dtype=torch.int64)
        counts = torch.zeros(len(pictures), dtype=torch.int64)
        for index, (picture, budget) in enumerate(zip(pictures, budgets, strict=True)):
            pixels = self.padded(self.scaled(picture, budget))
            height, width = pixels.shape[:2]
            views = self.views(pixels)
            pixel_values[index, : len(views)] = views
            pixel_values[index, len(views) :] = 0
            image_sizes[index, 0], image_sizes[index, 1] = height, width
            counts[index] = image_token_count(*self.layout_of(pixels), self.merged_side)
        return BatchFeature(
            {"pixel_values": pixel_values, "image_sizes": image_sizes, "num_img_tokens": counts}
        )

    def _budget(self, num_crops: int | None) -> int:
        return self.num_crops if num_crops is None else checked_budget(num_crops)

    def _resized(self, width: int, height: int, budget: int) -> tuple[int, int]:
        """The size a landscape picture is resized to.

        The division and the truncation are the original's; exact arithmetic gives another height for a few
        sizes (448x309 at 16 crops).  The original fails if the height comes to 0; here it is 1.
        """
        ratio = width / height
        columns = 1
        while (columns + 1) * math.ceil((columns + 1) / ratio) <= budget:
            columns += 1
        new_width = self.crop_size * columns
        return new_width, max(1, int(new_width / ratio))

    def scaling(self, width: int, height: int, num_crops: int | None = None) -> tuple[int, int, bool]:
        """(width, height) to which a picture of this size is resized, and whether it is a portrait, which
        happens mirrored on the diagonal."""
        is_portrait = width < height
        size = self._resized(max(width, height), min(width, height), self._budget(num_crops))
        return (*(size[::-1] if is_portrait else size), is_portrait)

    def scaled(self, picture: Image.Image, num_crops: int | None = None) -> Image.Image:
        """In RGB, resized by Pillow's bilinear filter."""
        picture = picture if picture.mode == "RGB" else picture.convert("RGB")
        width, height, is_portrait = self.scaling(*picture.size, num_crops)
        if not is_portrait:
            return picture.resize((width, height), Image.Resampling.BILINEAR)
        mirrored = picture.transpose(Image.Transpose.TRANSPOSE)
        mirrored = mirrored.resize((height, width), Image.Resampling.BILINEAR)
        return mirrored.transpose(Image.Transpose.TRANSPOSE)

    def padded(self, picture: Image.Image) -> torch.Tensor:
        """What `scaled` returned, padded with white to whole crops: uint8 [height, width, 3]."""
        right, below = -picture.width % self.crop_size, -picture.height % self.crop_size
        shape = picture.height + below, picture.width + right, len(WHITE)
        pixels = torch.full(shape, WHITE[0], dtype=torch.uint8)
        left, top = right // 2, below // 2
        inner = pixels[top : top + picture.height, left : left + picture.width]
        inner.numpy()[:] = np.asarray(picture)
        return pixels

    def layout_of(self, pixels: torch.Tensor) -> tuple[int, int]:
        """(rows, columns) of crops in what `padded` returned."""
        return pixels.shape[0] // self.crop_size, pixels.shape[1] // self.crop_size

    def views(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the tower looks at, of what `padded` returned, on the same device.

        Returns float32 [1 + rows * columns, 3, crop_size, crop_size] in the tower's units: the global view,
        then the crops row by row.
        """
        values = self._normalised(pixels)
        crops = self.crops(values.permute(1, 2, 0))
        return torch.stack([self._global_view(values), *(crop.permute(2, 0, 1) for crop in crops)])

    def crops(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The crops [crop_size, crop_size, n] of [height, width, n], row by row, none copied."""
        side = self.crop_size
        return [crop for row in torch.split(pixels, side) for crop in torch.split(row, side, dim=1)]

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Float32 [3, height, width], in the tower's units."""
        values = pixels.permute(2, 0, 1).contiguous().float()
        # Tensors, even for 255: CUDA multiplies by a plain number's reciprocal instead, and rounds otherwise.
        levels, mean, std = (
            _of_channels(tuple(numbers), pixels.device)
            for numbers in ((255.0,), self.image_mean, self.image_std)
        )
        return values.div_(levels).sub_(mean).div_(std)

    def _global_view(self, values: torch.Tensor) -> torch.Tensor:
        """The whole padded picture squeezed into one crop; bicubic overshoots and is not clamped."""
        side = (self.crop_size, self.crop_size)
        return torch.nn.functional.interpolate(values[None], size=side, mode="bicubic")[0]


@cache
def _of_channels(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """[n, 1, 1] on the device.  Kept, since a GPU would wait for each copy."""
    return torch.tensor(numbers, device=device).view(-1, 1, 1)


def checked_budget(num_crops: int) -> int:
    if num_crops < 1:
        raise ValueError(f"num_crops is {num_crops}; a picture needs at least one crop")
    return num_crops
