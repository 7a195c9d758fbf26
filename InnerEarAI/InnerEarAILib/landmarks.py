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

REFINEMENT_RADIUS = 2
"""Voxels on each side of the maximum that the sub-voxel fit looks at; ours."""


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
    """The highest voxel of a heatmap, refined below the voxel.

    Near its top a Gaussian's logarithm is a parabola, so each axis is refined by the least-squares parabola through the
    logarithms of the neighbours of the maximum; for a noiseless Gaussian this is exact.

    Args:
        heatmap: (k, j, i), any real values.

    Returns:
        The peak. Where a neighbour is not positive (no Gaussian), the axis keeps its whole voxel.
    """
    top = np.array(np.unravel_index(int(np.argmax(heatmap)), heatmap.shape))
    index = top.astype(float)
    for axis in range(3):
        line = np.moveaxis(heatmap, axis, 0)[(slice(None), *np.delete(top, axis))]
        index[axis] += _parabola_offset(line, int(top[axis]))
    return HeatmapPeak(index, float(heatmap[tuple(top)]))


def _parabola_offset(line: np.ndarray, top: int) -> float:
    reach = min(REFINEMENT_RADIUS, top, len(line) - 1 - top)
    around = np.asarray(line[top - reach : top + reach + 1], float)
    if reach == 0 or (around <= 0).any():
        return 0.0
    curvature, slope, _ = np.polyfit(np.arange(-reach, reach + 1), np.log(around), 2)
    if curvature >= 0:
        return 0.0
    return float(np.clip(-slope / (2 * curvature), -0.5, 0.5))
