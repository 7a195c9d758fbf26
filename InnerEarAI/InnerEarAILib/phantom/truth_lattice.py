"""The labyrinth of a drawn anatomy on a finer lattice than its CT numbers: labels sharper than the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from InnerEarAILib.phantom.anatomy import Anatomy, truth_at
from InnerEarAILib.phantom.lattice import affine_points, interpolate_grid, lattice_affine

FULL_SHARE = 255
"""Stored value of a voxel that is labyrinth throughout."""


@dataclass(frozen=True)
class TruthLattice:
    """Share of labyrinth on a cubic lattice along the axes of the anatomy's frame; nothing beyond it.

    Attributes:
        share: (k, j, i) uint8, 0 to FULL_SHARE.
        spacing_mm: edge of the voxels.
        origin: (3,) mm, centre of voxel (0, 0, 0) in the anatomy's frame.
    """

    share: Tensor
    spacing_mm: float
    origin: np.ndarray

    @staticmethod
    def drawn(
        anatomy: Anatomy, low: np.ndarray, high: np.ndarray, spacing_mm: float, device: torch.device | str
    ) -> TruthLattice:
        """The truth of an anatomy in the box from `low` to `high`, (3,) mm each in its frame."""
        counts = np.ceil((high - low) / spacing_mm).astype(int) + 1
        shape = tuple(int(n) for n in counts[::-1])
        points = affine_points(shape, lattice_affine(spacing_mm, low), device)
        share, _ = truth_at(anatomy, points, spacing_mm)
        stored = (share.clamp(0, 1) * FULL_SHARE).round().to(torch.uint8).reshape(shape)
        return TruthLattice(stored, spacing_mm, np.asarray(low, float))

    def share_on(self, shape: tuple[int, int, int], affine: np.ndarray) -> Tensor:
        """Shares 0 to 1, (k, j, i) float32, on a grid whose affine (4, 4) maps indices (i, j, k, 1) to the frame.

        Of a coarser grid each voxel has the share of about its own volume, as a network is to draw it: the shares at
        its middle alone are nearly all 0 or 1, and a surface through these is stepped.
        """
        to_indices = np.linalg.inv(lattice_affine(self.spacing_mm, self.origin)) @ affine
        across = round(float(np.linalg.norm(to_indices[:3, 0])))
        return interpolate_grid(self._averaged(across), shape, to_indices, 0.0).div_(FULL_SHARE)

    def _averaged(self, across: int) -> Tensor:
        """The shares of cubes of so many voxels (rounded up to an odd number) round each voxel."""
        half = across // 2
        if half == 0:
            return self.share
        share = self.share.float()[None, None]
        for axis in range(3):
            kernel, padding = [1, 1, 1], [0, 0, 0]
            kernel[axis], padding[axis] = 2 * half + 1, half
            share = functional.avg_pool3d(share, kernel, stride=1, padding=padding)
        return share[0, 0]

    def to(self, device: torch.device | str) -> TruthLattice:
        """The same on another device."""
        return TruthLattice(self.share.to(device), self.spacing_mm, self.origin)

    def described(self) -> dict[str, Any]:
        """Where it lies, JSON-able."""
        return {"spacing_mm": self.spacing_mm, "origin": self.origin.tolist()}

    @staticmethod
    def from_described(share: Tensor, values: Mapping[str, Any]) -> TruthLattice:
        """What `described` told of these shares."""
        return TruthLattice(share, values["spacing_mm"], np.array(values["origin"]))
