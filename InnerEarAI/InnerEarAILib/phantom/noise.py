"""Noise of CT images: Gaussian, correlated between neighbouring voxels as the reconstruction kernel makes it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor
from torch.nn import functional as F

from InnerEarAILib.phantom.lattice import interpolate_grid
from InnerEarAILib.phantom.scanner import Scanner
from InnerEarAILib.phantom.scanner_psf import filter_volume, noise_taps
from InnerEarAILib.volume import Grid

TAPS_IN_SLICE, SPECTRUM_SIZE = 7, 32
"""Edge of the filter of noise with diagonal correlation, and of the spectrum that it is made from."""

SAME_GRID = 0.1
"""Relative difference of voxel edges up to which a grid counts as the scanner's own."""


def scanner_noise(scanner: Scanner, grid: Grid, generator: torch.Generator) -> Tensor:
    """Noise of a scanner on a grid, (k, j, i) float32 HU, on the generator's device.

    On a grid finer than the scanner's, the noise of its own voxels is interpolated as an image would be; on a coarser
    one it is that of the mean over its voxels.
    """
    ratio = grid.spacing_mm / np.array(scanner.spacing_mm)
    deviation, correlation = scanner.noise_hounsfield, np.array(scanner.noise_correlation, float)
    if (np.abs(ratio - 1) <= SAME_GRID).all():
        return correlated_noise(
            grid.shape, deviation, correlation, generator, scanner.noise_diagonal, scanner.noise_ramp
        )
    # Mean of m neighbours with lag-1 correlation c: variance (m + 2c(m − 1)) / m², lag-1 covariance c / m².
    m = np.maximum(ratio, 1)
    summed = np.maximum(m + 2 * correlation * (m - 1), 0.05)
    deviation = deviation * float(np.prod(np.sqrt(summed) / m))
    correlation = np.clip(correlation / summed, -0.7, 0.7)
    diagonal = scanner.noise_diagonal if (ratio < 1 + SAME_GRID).all() else 0.0
    own_shape = tuple(int(np.ceil((n - 1) * min(r, 1.0))) + 2 for n, r in zip(grid.shape, ratio[::-1], strict=True))
    own = correlated_noise(own_shape, deviation, correlation, generator, diagonal, scanner.noise_ramp)
    return interpolate_grid(own, grid.shape, np.diag([*np.minimum(ratio, 1), 1.0]), 0.0)


def correlated_noise(
    shape: tuple[int, int, int],
    deviation: float,
    correlation_ijk: Sequence[float],
    generator: torch.Generator,
    diagonal: float = 0.0,
    ramp: float = 0.0,
) -> Tensor:
    """Gaussian noise on a grid.

    Args:
        shape: voxels (k, j, i).
        deviation: standard deviation.
        correlation_ijk: correlation of neighbouring voxels along i, j, k.
        generator: source of randomness; the noise is made on its device.
        diagonal: correlation of diagonal neighbours in a slice, beyond the product of those along i and j.
        ramp: waves per voxel in a slice below which there is little noise; counts with a diagonal correlation.

    Returns:
        (k, j, i) float32.
    """
    along_i, along_j, along_k = (noise_taps(value) for value in correlation_ijk)
    if not diagonal:
        white = torch.randn([n + 2 for n in shape], generator=generator, device=generator.device)
        return filter_volume(white, (along_k, along_j, along_i)).mul_(deviation)
    taps = _slice_taps(float(correlation_ijk[0]), float(correlation_ijk[1]), diagonal, ramp)
    wider = (shape[0] + 2, shape[1] + TAPS_IN_SLICE - 1, shape[2] + TAPS_IN_SLICE - 1)
    white = torch.randn(wider, generator=generator, device=generator.device)
    kernel = torch.as_tensor(taps, dtype=torch.float32, device=generator.device)[None, None]
    in_slices = F.conv2d(white[:, None], kernel)[:, 0]
    return filter_volume(in_slices, (along_k, np.ones(1), np.ones(1))).mul_(deviation)


@lru_cache(maxsize=64)
def _slice_taps(along_i: float, along_j: float, diagonal: float, ramp: float) -> np.ndarray:
    """Symmetric filter (TAPS_IN_SLICE, TAPS_IN_SLICE) of unit power with the wanted correlations of neighbours.

    The square root of a power spectrum of three cosines, damped towards frequency 0 by the ramp, whose weights are
    fitted to the correlations; where these contradict each other, so that it would be negative, it is zero.
    """
    wanted = np.array([along_i, along_j, along_i * along_j + diagonal])
    frequency = np.fft.fftfreq(SPECTRUM_SIZE)
    u, v = 2 * np.pi * frequency[None, :], 2 * np.pi * frequency[:, None]
    cosines = np.stack([2 * np.cos(u) + 0 * v, 2 * np.cos(v) + 0 * u, 4 * np.cos(u) * np.cos(v)])
    square = frequency[None, :] ** 2 + frequency[:, None] ** 2
    damping = 1 - np.exp(-square / ramp**2) if ramp else np.ones_like(square)

    def power(weights: np.ndarray) -> np.ndarray:
        return damping * np.maximum(1 + np.tensordot(weights, cosines, 1), 0)

    def misfit(weights: np.ndarray) -> np.ndarray:
        covariance = np.fft.ifft2(power(weights)).real
        return np.array([covariance[0, 1], covariance[1, 0], covariance[1, 1]]) / covariance[0, 0] - wanted

    weights = least_squares(misfit, wanted).x if ramp else wanted
    taps = np.fft.fftshift(np.fft.ifft2(np.sqrt(power(weights))).real)
    middle, reach = SPECTRUM_SIZE // 2, TAPS_IN_SLICE // 2
    taps = taps[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    return taps / np.linalg.norm(taps)
