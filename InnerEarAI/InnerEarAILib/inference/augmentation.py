"""Test-time augmentation (TTA): the ten views of a tile, and the way back from each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PLANES = ((-2, -1), (-3, -1), (-3, -2))
"""Tensor axes that turn into each other when a tile turns about k, about j, about i."""


@dataclass(frozen=True)
class View:
    """A rotation of a tile by quarter turns about one axis; never a mirror: a mirrored ear is the other ear.

    Attributes:
        axis: 0, 1, 2: about k, j, i.
        quarter_turns: 0 to 3.
    """

    axis: int
    quarter_turns: int

    def apply(self, tiles: Tensor) -> Tensor:
        """The rotated tiles: a pure permutation of the voxels.

        Args:
            tiles: (…, n, n, n), any dtype and device; leading axes (batch, channel) stay as they are.

        Raises:
            ValueError: if the last three axes are not equally long.
        """
        return _turn(tiles, self.axis, self.quarter_turns)

    def invert(self, tiles: Tensor) -> Tensor:
        """Tiles (…, n, n, n) turned back: exactly undoes `apply`."""
        return _turn(tiles, self.axis, -self.quarter_turns)


TTA_VIEWS = (View(0, 0), *(View(axis, turns) for axis in range(3) for turns in (1, 2, 3)))
"""Identity; 90°, 180°, 270° about each axis (Stebani et al. 2023, "Data processing and augmentation", N_TTA = 10)."""


def choose_views(count: int) -> tuple[View, ...]:
    """The ten views, or the identity alone.

    Raises:
        ValueError: if `count` is neither 10 nor 1.
    """
    if count not in (1, len(TTA_VIEWS)):
        raise ValueError(f"the number of views must be 1 or {len(TTA_VIEWS)}, got {count}")
    return TTA_VIEWS[:count]


def _turn(tiles: Tensor, axis: int, quarter_turns: int) -> Tensor:
    if tiles.ndim < 3 or len(set(tiles.shape[-3:])) != 1:
        raise ValueError(f"only cubic tiles can be turned by 90°, got {tuple(tiles.shape)}")
    return torch.rot90(tiles, quarter_turns, PLANES[axis]) if quarter_turns else tiles
