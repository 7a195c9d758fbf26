"""The point-spread function of a scanner, as separable filters, and the filters of correlated noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

FWHM_OF_SIGMA = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian of standard deviation 1."""

RING_WIDTH = 1.8
"""Standard deviation of the negative part of an edge-enhancing kernel, as a multiple of the positive part's; ours, by
the profile of the capsule's edge in a clinical scan with the BONEPLUS kernel."""

REACH = 3.2
"""Filters end where their widest Gaussian is this many standard deviations out."""


def kernel_sigma(fwhm_mm: float, overshoot: float) -> float:
    """Standard deviation of the positive Gaussian so that (1 + a)·G(σ) − a·G(RING_WIDTH·σ) has the wanted width, mm."""
    if overshoot == 0:
        return fwhm_mm / FWHM_OF_SIGMA
    top = (1 + overshoot) - overshoot / RING_WIDTH

    def excess(ratio: float) -> float:
        """Height above half maximum, half the width out, for σ = ratio · FWHM."""
        square = (0.5 / ratio) ** 2
        value = (1 + overshoot) * math.exp(-square / 2)
        value -= overshoot / RING_WIDTH * math.exp(-square / (2 * RING_WIDTH**2))
        return value - top / 2

    return fwhm_mm * brentq(excess, 0.2, 2.0)


def psf_taps(step_mm: float, fwhm_mm: float, overshoot: float, blur_variance_mm2: float) -> np.ndarray:
    """The point-spread function along one axis, sampled; sum 1, odd length.

    Args:
        step_mm: distance of the samples.
        fwhm_mm: wanted full width at half maximum.
        overshoot: weight of the negative ring.
        blur_variance_mm2: variance of the blur that the samples carry already (their own box and interpolation).
    """
    sigma = kernel_sigma(fwhm_mm, overshoot)
    narrow = math.sqrt(max(sigma**2 - blur_variance_mm2, (0.05 * step_mm) ** 2))
    wide = math.sqrt(max((RING_WIDTH * sigma) ** 2 - blur_variance_mm2, narrow**2))
    reach = math.ceil(REACH * (wide if overshoot else narrow) / step_mm)
    places = np.arange(-reach, reach + 1) * step_mm
    taps = (1 + overshoot) * _gaussian(places, narrow)
    if overshoot:
        taps -= overshoot * _gaussian(places, wide)
    return taps / taps.sum()


def noise_taps(correlation: float) -> np.ndarray:
    """Three taps (b, 1, b) whose filtered white noise has unit variance and the wanted lag-1 correlation.

    Raises:
        ValueError: if |correlation| > 0.7, which three taps cannot give.
    """
    if abs(correlation) > 0.7:
        raise ValueError(f"noise correlation must lie within ±0.7, got {correlation}")
    # 2b / (1 + 2b²) = correlation
    side = 0.0 if correlation == 0 else (1 - math.sqrt(1 - 2 * correlation**2)) / (2 * correlation)
    taps = np.array([side, 1.0, side])
    return taps / np.linalg.norm(taps)


def filter_axis(values: Tensor, taps: np.ndarray, axis: int, step: int = 1) -> Tensor:
    """Valid correlation of a (k, j, i) tensor with symmetric taps along one axis, every `step`-th result kept."""
    if len(taps) == 1 and step == 1:
        return values * float(taps[0])
    length = values.shape[axis] - len(taps) + 1
    # Symmetric taps: each pair of outer slices is added before it is weighed.
    middle = len(taps) // 2

    def shifted(start: int) -> Tensor:
        index = [slice(None)] * values.ndim
        index[axis] = slice(start, start + length, step)
        return values[tuple(index)]

    result = shifted(middle) * float(taps[middle])
    for offset in range(1, middle + 1):
        result.add_(shifted(middle - offset), alpha=float(taps[middle + offset]))
        result.add_(shifted(middle + offset), alpha=float(taps[middle + offset]))
    return result


def filter_volume(values: Tensor, taps_kji: Sequence[np.ndarray], steps_kji: Sequence[int] = (1, 1, 1)) -> Tensor:
    """`filter_axis` along all three axes, the one that shrinks the volume most first."""
    for axis in sorted(range(3), key=lambda a: -steps_kji[a]):
        values = filter_axis(values, taps_kji[axis], axis, steps_kji[axis])
    return values.contiguous()


def generator_from(rng: np.random.Generator, device: torch.device | str) -> torch.Generator:
    """A torch generator on a device, seeded from numpy's."""
    return torch.Generator(device=device).manual_seed(int(rng.integers(2**62)))


def _gaussian(places: np.ndarray, sigma: float) -> np.ndarray:
    density = np.exp(-0.5 * (places / sigma) ** 2)
    return density / density.sum()
