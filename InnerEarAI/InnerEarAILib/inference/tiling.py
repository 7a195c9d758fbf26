"""Tiles: how a volume of any size is cut into overlapping cubes, and how much each cube counts where they overlap.

Torch is imported by what computes with tensors alone, so that tiles can be counted without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


GAUSSIAN_WIDTH = 0.125
"""Standard deviation of the Gaussian tile weights as a share of the tile's edge; as in MONAI and nnU-Net."""

SMALLEST_WEIGHT = 1e-3
"""Floor of the tile weights (MONAI), so that a voxel seen by one corner alone is still divided by something."""

BLOCK_OVERLAP_MM = 24.0
"""Of the locator's blocks: more than the longest extent of a labyrinth, so that every one is whole in some block."""


@dataclass(frozen=True)
class Slab:
    """Tiles that are merged together, in one or more layers along k.

    Attributes:
        first: first plane k of the padded volume that its tiles touch.
        final: planes before it are touched by no later slab.
        stop: end of the planes that its tiles touch.
        starts_kji: first voxel of each tile in the padded volume.
    """

    first: int
    final: int
    stop: int
    starts_kji: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Tiling:
    """A volume as overlapping cubic tiles.

    Attributes:
        shape: voxels (k, j, i) of the volume.
        tile_voxels: edge length of a tile.
        padding: voxels (before, after) added on each axis k, j, i, where the volume is smaller than a tile.
        starts_kji: first voxel of each tile in the padded volume; k slowest.
    """

    shape: tuple[int, int, int]
    tile_voxels: int
    padding: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    starts_kji: tuple[tuple[int, int, int], ...]

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        """Voxels (k, j, i) of the padded volume."""
        k, j, i = (size + before + after for size, (before, after) in zip(self.shape, self.padding, strict=True))
        return (k, j, i)

    def window(self, start_kji: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        """The block of the padded volume that a tile covers."""
        k, j, i = (slice(start, start + self.tile_voxels) for start in start_kji)
        return (k, j, i)

    def pad(self, voxels: Tensor) -> Tensor:
        """The volume (k, j, i) with zeros around it (the mean of a normalised scan) where it is smaller than a tile."""
        if not any(any(ends) for ends in self.padding):
            return voxels
        from torch.nn import functional

        return functional.pad(voxels, [width for ends in reversed(self.padding) for width in ends])

    def unpad(self, padded: Tensor) -> Tensor:
        """The part of a padded (…, k, j, i) that belongs to the volume; a view, not a copy."""
        inner = [slice(before, before + size) for (before, _), size in zip(self.padding, self.shape, strict=True)]
        return padded[(..., *inner)]

    @property
    def slabs(self) -> tuple[Slab, ...]:
        """The tiles by layers along k, from the first plane to the last.

        Layers that share more than half a tile are one slab, up to two tiles high.
        """
        layers = sorted({start[0] for start in self.starts_kji})
        groups: list[list[int]] = []
        for layer in layers:
            near = groups and 2 * (layer - groups[-1][-1]) < self.tile_voxels
            if near and layer - groups[-1][0] <= self.tile_voxels:
                groups[-1].append(layer)
            else:
                groups.append([layer])
        ends = [group[0] for group in groups[1:]] + [self.padded_shape[0]]
        return tuple(
            Slab(
                group[0],
                end,
                group[-1] + self.tile_voxels,
                tuple(start for start in self.starts_kji if start[0] in group),
            )
            for group, end in zip(groups, ends, strict=True)
        )


def tile_volume(shape: Sequence[int], tile_voxels: int, overlap_voxels: int) -> Tiling:
    """Tiles that cover a volume; the last on each axis is moved back to end with the volume.

    Args:
        shape: voxels (k, j, i), any size from 1.
        tile_voxels: edge length of a tile.
        overlap_voxels: voxels that neighbours share, at least; 0 ≤ overlap < tile.

    Raises:
        ValueError: if the volume is empty or the overlap does not fit the tile.

    Source:
        Stebani et al. 2023, "Data processing and augmentation", "Results" (128³ tiles, 25 voxels overlap).
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"a volume has three sizes (k, j, i) of at least 1, got {tuple(shape)}")
    if not 0 <= overlap_voxels < tile_voxels:
        raise ValueError(f"the overlap must be from 0 to below the tile's {tile_voxels} voxels, got {overlap_voxels}")
    missing = [max(tile_voxels - size, 0) for size in shape]
    padding = tuple((lack // 2, lack - lack // 2) for lack in missing)
    starts = [_starts(max(size, tile_voxels), tile_voxels, tile_voxels - overlap_voxels) for size in shape]
    return Tiling(tuple(int(size) for size in shape), tile_voxels, padding, tuple(product(*starts)))


def locator_blocks(shape: Sequence[int], tile_voxels: int, spacing_mm: float) -> tuple[tuple[slice, slice, slice], ...]:
    """The blocks in which a whole scan is searched: evenly spread, overlapping by at least BLOCK_OVERLAP_MM.

    Args:
        shape: voxels (k, j, i) of the scan on the locator's grid, at least a tile each.
        tile_voxels: edge length of a block.
        spacing_mm: of the locator's grid.
    """
    stride = max(1, tile_voxels - int(np.ceil(BLOCK_OVERLAP_MM / spacing_mm)))
    starts = [
        np.linspace(0, size - tile_voxels, 1 + int(np.ceil((size - tile_voxels) / stride))).astype(int).tolist()
        for size in shape
    ]
    return tuple(tuple(slice(start, start + tile_voxels) for start in corner) for corner in product(*starts))


def tile_weight(tile_voxels: int) -> Tensor:
    """How much each voxel of a tile counts, (n, n, n) float32: 1 at the centre, a border voxel next to nothing.

    Args:
        tile_voxels: edge length n.
    """
    import torch

    distance = torch.arange(tile_voxels, dtype=torch.float32) - (tile_voxels - 1) / 2
    profile = torch.exp(-0.5 * (distance / (GAUSSIAN_WIDTH * tile_voxels)) ** 2)
    weight = profile[:, None, None] * profile[None, :, None] * profile[None, None, :]
    return weight.clamp(min=SMALLEST_WEIGHT)


def _starts(size: int, tile: int, stride: int) -> list[int]:
    return [min(start, size - tile) for start in range(0, size - tile + stride, stride)]
