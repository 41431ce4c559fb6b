"""The tower's side of the network: crops in, the vectors for their prompt positions out.

The tower is the library's CLIPVisionModel; this room adds how crops become prompt positions.  Module names
are those of the published checkpoint, so its weights load and save under their own names.  It prepares no
pictures.

Shapes: n pictures, m distinct crops, H the decoder's width, C the tower's, k grid rows per crop.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import CLIPVisionModel

from captiond.phi3v.configuration import Phi3VConfig
from captiond.phi3v.layers import looked

# Crops that pass the tower together: enough to keep a GPU busy, and half a GB of activations at full size.
CROPS_TOGETHER = 32
# A first comparison of two crops looks at every so many numbers only, in each dimension.
SAMPLE_STRIDE = 41


class Phi3VImageEmbedding(nn.Module):
    """Crops to prompt positions: tower, 2x2 merge, separators, projector."""

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        tower = config.vision_config
        merged_width = 4 * tower.hidden_size
        self.merged_side = config.merged_side
        self.crop_size = tower.image_size
        self.img_processor = CLIPVisionModel._from_config(tower)  # type: ignore[no-untyped-call]
        self.glb_GN = nn.Parameter(torch.zeros(1, 1, merged_width))
        self.sub_GN = nn.Parameter(torch.zeros(1, 1, 1, merged_width))
        self.img_projection = nn.Sequential(
            nn.Linear(merged_width, config.hidden_size),
            nn.GELU(),
            nn.Linear(config.hidden_size, config.hidden_size),
        )

    def forward(self, pixel_values: torch.Tensor, image_sizes: torch.Tensor) -> torch.Tensor:
        """`pixel_values` [n, slots, 3, crop, crop] and `image_sizes` [n, 2] -> [all positions, H].

        Raises: ValueError, if crops are of another size than the tower's, or `image_sizes` need more slots.
        """
        layouts = self._checked_layouts(pixel_values, image_sizes)
        crops: list[torch.Tensor] = []
        orders: list[list[int]] = []
        for picture, (rows, columns) in zip(pixel_values, layouts, strict=True):
            firsts, order = different(picture[: rows * columns + 1].unbind())
            orders.append([len(crops) + place for place in order])
            crops += [picture[first] for first in firsts]
        return self.vectors(torch.stack(crops), orders, layouts)

    def vectors(
        self,
        crops: torch.Tensor,
        orders: list[list[int]],
        layouts: list[tuple[int, int]],
        in_fewer_passes: bool = False,
    ) -> torch.Tensor:
        """`crops` [m, 3, crop, crop], each once; `orders`: for each picture which of them are its global view
        and its crops, row by row -> [all positions, H].

        `in_fewer_passes` is for inference with all weights on the device that uses them.
        """
        # A separator's dtype, because a quantised layer's weight is int8.
        crops = crops.to(self.sub_GN.device, self.sub_GN.dtype, non_blocking=True)
        parts = torch.split(crops, CROPS_TOGETHER)
        features = torch.cat([self._second_to_last_layer(part, in_fewer_passes) for part in parts])
        newline, separator = self.sub_GN.flatten(), self.glb_GN.flatten()
        pieces: list[torch.Tensor] = []
        for (rows, columns), (whole, *details) in zip(layouts, orders, strict=True):
            # Slices and single views: an index tensor would make the GPU wait for its copy.
            views = torch.stack([features[index] for index in details])
            pieces += [
                self._with_newlines(views, rows, columns, newline),
                separator[None],
                self._with_newlines(features[whole : whole + 1], 1, 1, newline),
            ]
        projected: torch.Tensor = self.img_projection(torch.cat(pieces))
        return projected

    def _checked_layouts(
        self, pixel_values: torch.Tensor, image_sizes: torch.Tensor
    ) -> list[tuple[int, int]]:
        if pixel_values.ndim != 5 or tuple(pixel_values.shape[-2:]) != (self.crop_size, self.crop_size):
            raise ValueError(
                f"pixel_values are {tuple(pixel_values.shape)}; the tower takes "
                f"[pictures, slots, 3, {self.crop_size}, {self.crop_size}]"
            )
        if len(image_sizes) != len(pixel_values):
            raise ValueError(f"{len(pixel_values)} pictures, but {len(image_sizes)} image_sizes")
        layouts = layouts_of(image_sizes, self.crop_size)
        slots = pixel_values.shape[1]
        for rows, columns in layouts:
            if not 1 <= rows * columns < slots:
                raise ValueError(f"{rows}x{columns} crops do not fit {slots} slots, the first of them global")
        return layouts

    def _second_to_last_layer(self, crops: torch.Tensor, in_fewer_passes: bool) -> torch.Tensor:
        """What `hidden_states[-2][:, 1:]` would be, without running the last layer or keeping the others."""
        hidden = self.img_processor.pre_layrnorm(self.img_processor.embeddings(crops))
        for layer in self.img_processor.encoder.layers[:-1]:
            hidden = looked(layer, hidden) if in_fewer_passes else layer(hidden, attention_mask=None)
        patches: torch.Tensor = hidden[:, 1:]
        return patches

    def _with_newlines(
        self, views: torch.Tensor, rows: int, columns: int, newline: torch.Tensor
    ) -> torch.Tensor:
        """Lay crops [rows * columns, (2k)^2, C] out as one grid of merged patches, a newline after each row.

        Returns [rows * k * (columns * k + 1), 4C].  Grid rows run through all crops of a crop row; the four
        patches of a merge are stacked row by row.
        """
        k = self.merged_side
        grid = views.reshape(rows, columns, k, 2, k, 2, -1).permute(0, 2, 1, 4, 3, 5, 6)
        grid = grid.reshape(rows * k, columns * k, -1)
        newlines = newline.to(grid.dtype).expand(rows * k, 1, -1)
        return torch.cat((grid, newlines), dim=1).flatten(0, 1)


def different(views: Sequence[torch.Tensor]) -> tuple[list[int], list[int]]:
    """Which views differ from those before; and for each view, which of these it is.

    Flat parts of a picture repeat; each passes the tower once.
    """
    samples = [view[(slice(None, None, SAMPLE_STRIDE),) * view.ndim].tolist() for view in views]
    firsts: list[int] = []
    order: list[int] = []
    for index, sample in enumerate(samples):
        twins = (
            place
            for place, first in enumerate(firsts)
            if samples[first] == sample and torch.equal(views[first], views[index])
        )
        place = next(twins, len(firsts))
        if place == len(firsts):
            firsts.append(index)
        order.append(place)
    return firsts, order


def layouts_of(image_sizes: torch.Tensor, crop_size: int) -> list[tuple[int, int]]:
    """(rows, columns) of crops for each [padded height, padded width]."""
    return [(height // crop_size, width // crop_size) for height, width in image_sizes.tolist()]
