"""Random textures in physical space: periodic lattices that are made once and sampled at any point.

A lattice repeats after its period, so one small block of numbers textures a whole head; structures of an anatomy sample
it at steps and orientations of their own, which hides the repetition. Same seed, same texture.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import grid_sample

NOISE_SIDE = 48
NOISE_CHANNELS = 3
CELL_SIDE = 96
CELL_COUNT = 420
"""Air cells in one period; with a period of 24 mm a cell measures about 3.2 mm across, as mastoid cells do."""

_NOISE_LOWEST, _NOISE_HIGHEST, _NOISE_FALLOFF = 2.0, 16.0, 2.2
"""Band of the noise in waves per period, and the exponent at which amplitude falls with frequency."""


@lru_cache(maxsize=16)
def noise_lattice(seed: int, device: torch.device | None = None) -> Tensor:
    """Smooth periodic noise, (1, 3, n + 1, n + 1, n + 1) float32: three independent channels of mean 0, SD 1.

    Args:
        seed: of the block.
        device: where it is kept.
    """
    generator = np.random.default_rng((seed, 1))
    frequency = np.fft.fftfreq(NOISE_SIDE, 1 / NOISE_SIDE)
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(frequency, frequency, frequency, indexing="ij")))
    band = (radius >= _NOISE_LOWEST) & (radius <= _NOISE_HIGHEST)
    amplitude = np.where(band, np.maximum(radius, 1.0) ** -_NOISE_FALLOFF, 0.0)
    channels = []
    for _ in range(NOISE_CHANNELS):
        white = np.fft.fftn(generator.standard_normal((NOISE_SIDE,) * 3))
        block = np.fft.ifftn(white * amplitude).real
        channels.append(block / block.std())
    return _wrapped(np.stack(channels), device)


@lru_cache(maxsize=16)
def cell_lattice(seed: int, device: torch.device | None = None) -> Tensor:
    """Closely packed cells of unequal size, (1, 1, n + 1, n + 1, n + 1) float32, in parts of the period.

    The value is half the difference between the distances to the two nearest cells (each less the cell's size): near a
    wall this is the distance to the middle of the wall; it is largest in the centre of a cell.

    Source:
        Worley, "A cellular texture basis function", 1996, with additive weights.
    """
    generator = np.random.default_rng((seed, 2))
    sites = generator.random((CELL_COUNT, 3))
    weights = 0.05 * generator.random(CELL_COUNT) ** 2
    axis = np.arange(CELL_SIDE) / CELL_SIDE
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    distances, nearest = cKDTree(sites, boxsize=1.0).query(points, k=4)
    ordered = np.sort(distances - weights[nearest], axis=1)
    walls = 0.5 * (ordered[:, 1] - ordered[:, 0])
    return _wrapped(walls.reshape(1, *(CELL_SIDE,) * 3), device)


def sample_lattice(lattice: Tensor, points: Tensor, period_mm: float) -> Tensor:
    """Values of a periodic lattice at points, trilinear.

    Args:
        lattice: (1, c, n + 1, n + 1, n + 1) as made here.
        points: (n, 3) mm.
        period_mm: after which the lattice repeats.

    Returns:
        (c, n) float32.
    """
    fraction = points / period_mm
    where = 2 * (fraction - fraction.floor()) - 1
    return grid_sample(lattice, where.view(1, 1, 1, -1, 3), align_corners=True).view(lattice.shape[1], -1)


def _wrapped(block: np.ndarray, device: torch.device | None) -> Tensor:
    padded = np.pad(block, ((0, 0), (0, 1), (0, 1), (0, 1)), mode="wrap")
    return torch.as_tensor(padded[None], dtype=torch.float32, device=device)
