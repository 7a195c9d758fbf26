"""Noise of CT images: Gaussian, correlated between neighbouring voxels as the reconstruction kernel makes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from InnerEarAILib.phantom.scanner_psf import filter_volume, noise_taps


def correlated_noise(
    shape: tuple[int, int, int],
    deviation: float,
    correlation_ijk: Sequence[float],
    generator: torch.Generator,
) -> Tensor:
    """Gaussian noise on a grid.

    Args:
        shape: voxels (k, j, i).
        deviation: standard deviation.
        correlation_ijk: correlation of neighbouring voxels along i, j, k.
        generator: source of randomness; the noise is made on its device.

    Returns:
        (k, j, i) float32.
    """
    taps = [noise_taps(value) for value in reversed(correlation_ijk)]
    white = torch.randn([n + 2 for n in shape], generator=generator, device=generator.device)
    return filter_volume(white, taps).mul_(deviation)
