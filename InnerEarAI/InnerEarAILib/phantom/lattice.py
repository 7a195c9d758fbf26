"""Sampling a regular lattice of values at any points: the one interpolation of the phantom."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

POINTS_AT_ONCE = 2_000_000
"""Points that a call to `interpolate` handles in one piece; bounds its working memory."""

GRID_POINTS_AT_ONCE = 200_000
"""Points that a call to `interpolate_grid` handles in one piece: few enough to stay in a processor's cache."""


def interpolate(lattice: Tensor, indices_ijk: Tensor, outside: Tensor | None = None) -> Tensor:
    """Trilinear interpolation of lattices that share one index frame.

    Only the block of the lattice that the points lie in is converted to float32, so that large lattices can be kept in
    small integer types.

    Args:
        lattice: (channels, k, j, i), any real dtype.
        indices_ijk: (n, 3) float32, continuous indices (i, j, k).
        outside: (channels,) value beyond the lattice; None repeats its outermost values.

    Returns:
        (channels, n) float32.
    """
    if not len(indices_ijk):
        return torch.zeros((lattice.shape[0], 0), device=lattice.device)
    pieces = [_interpolate_block(lattice, points, outside) for points in indices_ijk.split(POINTS_AT_ONCE)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


def interpolate_grid(
    lattice: Tensor, shape: tuple[int, int, int], to_indices: np.ndarray, outside: float, nearest: bool = False
) -> Tensor:
    """Interpolation of one lattice at all voxels of a grid; the same as `interpolate` there, several times as fast.

    Args:
        lattice: (k, j, i), any real dtype.
        shape: voxels (k, j, i) of the grid.
        to_indices: (4, 4), maps the grid's indices (i, j, k, 1) to continuous indices (i, j, k) of the lattice.
        outside: value beyond the lattice.
        nearest: take the nearest value instead of interpolating; for labels.

    Returns:
        (k, j, i) float32 on the grid.
    """
    upper = np.array(shape[::-1]) - 1
    corners = np.stack(np.meshgrid(*[(0, edge) for edge in upper], indexing="ij"), -1).reshape(8, 3)
    corners = corners @ to_indices[:3, :3].T + to_indices[:3, 3]
    limits = np.array(lattice.shape[::-1])
    low = np.clip(np.floor(corners.min(0)).astype(int), 0, limits - 1)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, low + 1, limits)
    block = lattice[low[2] : high[2], low[1] : high[1], low[0] : high[0]].to(torch.float32)
    if outside:
        block = block - outside
    to_unit = to_indices.copy()
    to_unit[:3] *= (2 / (high - low))[:, None]
    to_unit[:3, 3] += (1 - 2 * low) / (high - low) - 1
    result = torch.empty(shape, device=lattice.device)
    step = max(1, GRID_POINTS_AT_ONCE // (shape[1] * shape[2]))
    for first in range(0, shape[0], step):
        layers = min(step, shape[0] - first)
        slab = to_unit.copy()
        slab[:3, 3] += to_unit[:3, 2] * first
        points = affine_points((layers, *shape[1:]), slab, lattice.device)
        result[first : first + layers] = F.grid_sample(
            block[None, None],
            points.view(1, layers, *shape[1:], 3),
            mode="nearest" if nearest else "bilinear",
            padding_mode="zeros",
            align_corners=False,
        )[0, 0]
    return result.add_(outside) if outside else result


def lattice_affine(spacing_mm: float, origin: np.ndarray) -> np.ndarray:
    """(4, 4), maps indices (i, j, k, 1) of a cubic lattice to its frame, where voxel (0, 0, 0) lies at `origin`."""
    matrix = np.diag([spacing_mm] * 3 + [1.0])
    matrix[:3, 3] = origin
    return matrix


def affine_points(shape: tuple[int, int, int], affine: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Positions of all voxels of a grid under an affine map, in the order of the voxels.

    Args:
        shape: voxels (k, j, i).
        affine: (4, 4), maps (i, j, k, 1) to the wanted frame.
        device: where the points are wanted.

    Returns:
        (k·j·i, 3) float32.
    """
    matrix = torch.as_tensor(np.asarray(affine)[:3], dtype=torch.float32, device=device)
    along_k, along_j, along_i = (
        torch.arange(n, device=device, dtype=torch.float32)[:, None] * matrix[:, axis]
        for n, axis in zip(shape, (2, 1, 0), strict=True)
    )
    points = (along_k + matrix[:, 3])[:, None, None] + along_j[None, :, None] + along_i[None, None]
    return points.reshape(-1, 3)


def _interpolate_block(lattice: Tensor, indices_ijk: Tensor, outside: Tensor | None) -> Tensor:
    limits = torch.tensor(lattice.shape[:0:-1], device=lattice.device)
    low = torch.minimum(indices_ijk.amin(0).floor().long().clamp(min=0), limits - 1)
    high = torch.maximum(torch.minimum(indices_ijk.amax(0).ceil().long() + 1, limits), low + 1)
    (i0, j0, k0), (i1, j1, k1) = low.tolist(), high.tolist()
    block = lattice[:, k0:k1, j0:j1, i0:i1].to(torch.float32)
    if outside is not None:
        block = block - outside.to(block)[:, None, None, None]
    size = (high - low).to(torch.float32)
    positions = (2 * (indices_ijk.to(torch.float32) - low) + 1) / size - 1
    sampled = F.grid_sample(
        block[None],
        positions[None, None, None],
        mode="bilinear",
        padding_mode="border" if outside is None else "zeros",
        align_corners=False,
    )[0, :, 0, 0]
    return sampled if outside is None else sampled + outside.to(sampled)[:, None]
