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
CELL_SIDE = 80
CELL_COUNT = 480
"""Air cells in one period; with a period of 24 mm a cell measures about 3.1 mm across, as mastoid cells do."""

CELL_NEIGHBOURS = 6
LARGEST_CELL, CELL_ROUNDING, JOINED_CELLS = 0.06, 0.014, 0.25
"""By how much the largest cells reach into their neighbours and over what width the corners of a cell are rounded, in
periods; and the share of cells that have run together with their neighbour."""

_NOISE_LOWEST, _NOISE_HIGHEST, _NOISE_FALLOFF = 2.0, 16.0, 2.2
"""Band of the noise in waves per period, and the exponent at which amplitude falls with frequency."""


@lru_cache(maxsize=64)
def noise_lattice(seed: int, device: torch.device | None = None, highest: float = _NOISE_HIGHEST) -> Tensor:
    """Smooth periodic noise, (1, 3, n + 1, n + 1, n + 1) float32: three independent channels of mean 0, SD 1.

    Args:
        seed: of the block.
        device: where it is kept.
        highest: waves per period of its finest part.
    """
    generator = np.random.default_rng((seed, 1))
    frequency = np.fft.fftfreq(NOISE_SIDE, 1 / NOISE_SIDE)
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(frequency, frequency, frequency, indexing="ij")))
    band = (radius >= _NOISE_LOWEST) & (radius <= highest)
    amplitude = np.where(band, np.maximum(radius, 1.0) ** -_NOISE_FALLOFF, 0.0)
    channels = []
    for _ in range(NOISE_CHANNELS):
        white = np.fft.fftn(generator.standard_normal((NOISE_SIDE,) * 3))
        block = np.fft.ifftn(white * amplitude).real
        channels.append(block / block.std())
    return _wrapped(np.stack(channels), device)


@lru_cache(maxsize=16)
def cell_lattice(seed: int, device: torch.device | None = None) -> Tensor:
    """Closely packed rounded cells of very unequal size, (1, 2, n + 1, n + 1, n + 1) float32.

    Channel 0: half the difference between the distances to the two nearest cells (each less the cell's size), in parts
    of the period: near a wall this is the distance to the middle of the wall; it is largest in the centre of a cell.
    The farther of the two is a soft minimum over all other cells, so that walls thicken where several meet. Channel 1:
    a number of the cell, 0 to 1, at random.

    Source:
        Worley, "A cellular texture basis function", 1996, with additive weights.
    """
    generator = np.random.default_rng((seed, 2))
    sites = generator.random((CELL_COUNT, 3))
    weights = LARGEST_CELL * generator.random(CELL_COUNT) ** 3
    joined = np.arange(CELL_COUNT)
    beside = cKDTree(sites, boxsize=1.0).query(sites, k=2)[1][:, 1]
    for site in np.flatnonzero(generator.random(CELL_COUNT) < JOINED_CELLS):
        joined[joined == joined[site]] = joined[beside[site]]
    names = generator.random(CELL_COUNT)
    axis = np.arange(CELL_SIDE) / CELL_SIDE
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    distances, nearest = cKDTree(sites, boxsize=1.0).query(points, k=CELL_NEIGHBOURS)
    distances = distances - weights[nearest]
    first = distances.argmin(1)[:, None]
    own = np.take_along_axis(distances, first, 1)[:, 0]
    cell = joined[np.take_along_axis(nearest, first, 1)]
    others = np.where(joined[nearest] == cell, np.inf, distances)
    least = np.minimum(others.min(1), distances.max(1) + CELL_ROUNDING)
    closeness = np.exp(-np.maximum(others - least[:, None], 0) / CELL_ROUNDING).sum(1)
    walls = 0.5 * (least - CELL_ROUNDING * np.log(np.maximum(closeness, 1.0)) - own)
    both = np.stack([np.maximum(walls, 0), names[cell[:, 0]]]).reshape(2, *(CELL_SIDE,) * 3)
    return _wrapped(both, device)


@lru_cache(maxsize=16)
def wall_quantiles(seed: int, device: torch.device | None = None) -> Tensor:
    """Half thickness of the walls between cells, in periods, at which they fill 0, 1/64 … 1 of the space, (65,)."""
    walls = cell_lattice(seed, device)[0, 0, :-1, :-1, :-1].cpu().numpy()
    return torch.as_tensor(np.quantile(walls, np.linspace(0, 1, 65)), dtype=torch.float32, device=device)


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
