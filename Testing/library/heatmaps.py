"""Heatmaps as a network that is sure of itself would draw them."""

import numpy as np

from InnerEarAILib.landmarks import gaussian_profiles


def encode_heatmap(index_kji: np.ndarray, shape: tuple[int, int, int], amplitude: float, spread: float) -> np.ndarray:
    """A 3D Gaussian on the voxel grid, (k, j, i) float32: `amplitude` at the centre, `spread` voxels wide."""
    along_k, along_j, along_i = gaussian_profiles(index_kji, shape, spread)
    return amplitude * along_k[:, None, None] * along_j[None, :, None] * along_i[None, None, :]
