"""The three landmarks: their names, and their heatmaps: the Gaussian (encoding) and its peak (decoding).

Definitions (Stebani et al. 2023, "Datasets description", made exact for the phantom):
helicotrema: the blind end of the cochlear lumen, where the last turn ends (annotators mark it there; the point furthest
along the modiolar axis lies 0.5 mm off);
oval window, round window: the centre of the membrane that closes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LANDMARK_NAMES = ("helicotrema", "oval window", "round window")
"""Order of the heatmap channels (paper, "Algorithm and network architecture")."""

REFINEMENT_RADIUS = 5
"""Voxels on each side of the maximum that the fit of a Gaussian looks at; ours."""

FITTED_SHARE = 0.5
"""Share of the maximum from which a voxel among them counts; its direct neighbours count in any case; ours."""

LARGEST_SHIFT = 2.5
"""Voxels from the maximum to the fitted middle at most; ours."""


@dataclass(frozen=True)
class HeatmapPeak:
    """Where a heatmap is highest.

    Attributes:
        index_kji: continuous voxel index of the peak, (3,).
        height: value of the heatmap at its highest voxel.
    """

    index_kji: np.ndarray
    height: float


def gaussian_profiles(index_kji: np.ndarray, shape: tuple[int, int, int], spread: float) -> list[np.ndarray]:
    """The three 1D factors of an unnormalised 3D Gaussian: their outer product is the heatmap of amplitude 1.

    Args:
        index_kji: continuous voxel index of the centre, (3,); may lie outside the grid.
        shape: voxels (k, j, i).
        spread: standard deviation in voxels, > 0.

    Returns:
        Three float32 arrays of lengths k, j, i.

    Raises:
        ValueError: if the spread is not positive.

    Source:
        Stebani et al. 2023, "Algorithm and network architecture" (amplitude α, spread β).
    """
    if spread <= 0:
        raise ValueError(f"heatmap spread must be positive, got {spread}")
    return [
        np.exp(-0.5 * ((np.arange(n) - centre) / spread) ** 2).astype(np.float32)
        for n, centre in zip(shape, index_kji, strict=True)
    ]


def decode_heatmap(heatmap: np.ndarray) -> HeatmapPeak:
    """The middle of the Gaussian that fits the top of a heatmap best.

    Among the voxels at the top of a flat heatmap chance decides which is highest, so the place is not that voxel but
    the vertex of the isotropic paraboloid through the logarithms of those round it: for a noiseless Gaussian it is
    exact. On 32 drawn ears of development it lies 0.17 mm from the truth, the highest voxel, refined along each axis,
    0.20 mm.

    Args:
        heatmap: (k, j, i), any real values.

    Returns:
        The peak, at most LARGEST_SHIFT from the highest voxel along each axis; on it where no Gaussian fits.
    """
    top = np.array(np.unravel_index(int(np.argmax(heatmap)), heatmap.shape))
    height = float(heatmap[tuple(top)])
    start = np.maximum(top - REFINEMENT_RADIUS, 0)
    near = heatmap[tuple(slice(a, b) for a, b in zip(start, top + REFINEMENT_RADIUS + 1, strict=True))]
    return HeatmapPeak(top + _vertex(np.asarray(near, float), top - start), height)


def _vertex(near: np.ndarray, top: np.ndarray) -> np.ndarray:
    """From the highest voxel to the vertex of the paraboloid through the logarithms; zeros where there is none."""
    away = np.indices(near.shape).reshape(3, -1).T - top
    values = near.ravel()
    counts = (values > 0) & ((values >= FITTED_SHARE * values.max()) | (np.abs(away).max(axis=1) <= 1))
    away, values = away[counts], values[counts]
    terms = np.column_stack([np.ones(len(away)), away, (away**2).sum(axis=1)])
    # A value's error is about the same everywhere, so that its logarithm's is the inverse of the value.
    (_, *slope, curvature), _, rank, _ = np.linalg.lstsq(values[:, None] * terms, values * np.log(values), rcond=None)
    if rank < terms.shape[1] or curvature >= 0:
        return np.zeros(3)
    return np.clip(-np.array(slope) / (2 * curvature), -LARGEST_SHIFT, LARGEST_SHIFT)
