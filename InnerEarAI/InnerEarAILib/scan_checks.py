"""What every scan must pass before it is worked on, wherever it came from: a file, a DICOM folder, a scene."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from InnerEarAILib.volume import InputError, Volume

LEAST_EXTENT_MM = 10.0
"""A volume narrower than this in any direction cannot hold enough of a labyrinth; ours."""

LEAST_SPACING_MM = 0.005
"""Finer than any micro-CT of a temporal bone: the number is then in metres, or wrong; ours."""

LARGEST_SPACING_MM = 3.0
"""A labyrinth is then four slices thick and its canals (1.1 mm lumen) are lost; ours."""

MOST_VOXELS = 2**30
"""1024³: 4 GiB as float32. The paper's scans have a tenth of it (512 × 512 × 405); ours."""

FEWEST_DISTINCT_VALUES = 32
"""A noisy 12-bit scan has hundreds of values; whole numbers from 0, no more of them than this, are labels; ours."""

SAMPLED_VOXELS = 1_000_000
"""How many voxels are looked at before all of them are."""


def check_scan(volume: Volume) -> None:
    """Refuses what cannot be a CT of an ear.

    Args:
        volume: any scan; its shape, spacing and values are looked at, in this order.

    Raises:
        InputError: no voxels, too many, spacing out of range, too small for an ear, complex numbers, NaN or infinity,
            the same value everywhere, or a label map; one sentence.
    """
    check_size(volume.voxels.shape)
    check_spacing(volume.spacing_mm)
    extent = volume.spacing_mm * volume.voxels.shape[::-1]
    if extent.min() < LEAST_EXTENT_MM:
        raise InputError(
            f"The scan is only {_times(extent)} mm large, too small to hold an inner ear; "
            f"choose one that is at least {LEAST_EXTENT_MM:g} mm wide in every direction."
        )
    _check_values(volume.voxels)


def check_size(shape: tuple[int, ...]) -> None:
    """Refuses an empty or a boundless volume by its shape alone, before its voxels are in memory.

    Raises:
        InputError: no voxels, or more than MOST_VOXELS.
    """
    count = int(np.prod([int(n) for n in shape], dtype=object))
    if count == 0:
        raise InputError("The scan is empty: it has no voxels; export it again.")
    if count > MOST_VOXELS:
        raise InputError(
            f"The scan has {_times(shape[::-1])} voxels, more than the "
            f"{MOST_VOXELS / 1e6:.0f} million that are worked on; crop it to the temporal bone first."
        )


def check_spacing(spacing_mm: np.ndarray) -> None:
    """Refuses a voxel size that no ear CT has.

    Args:
        spacing_mm: voxel edge lengths, (3,).

    Raises:
        InputError: smaller than LEAST_SPACING_MM or larger than LARGEST_SPACING_MM.
    """
    if spacing_mm.min() < LEAST_SPACING_MM:
        raise InputError(
            f"The voxels are {_times(spacing_mm)} mm large, which no scanner reaches (is the "
            "spacing in metres?); export the scan again with its spacing in millimetres."
        )
    if spacing_mm.max() > LARGEST_SPACING_MM:
        raise InputError(
            f"The voxels are {_times(spacing_mm)} mm large, too coarse for an inner ear (or the spacing is not in "
            "millimetres); choose a thin-slice reconstruction, best 0.7 mm or finer."
        )


def _check_values(voxels: np.ndarray) -> None:
    if voxels.dtype.kind not in "biuf":
        raise InputError(f"The voxels of the scan are of type {voxels.dtype}, not real numbers; choose a CT volume.")
    if voxels.dtype.kind == "f" and not all(np.isfinite(layer).all() for layer in voxels):
        raise InputError(
            "The scan has voxels that are not numbers (NaN or infinite); replace them, for example by the value of air."
        )
    lowest, highest = voxels.min(), voxels.max()
    if lowest == highest:
        raise InputError(
            f"Every voxel of the scan has the same value ({float(lowest):g}): there is nothing to see in it."
        )
    if _are_labels(voxels, lowest):
        raise InputError(
            "The image has a few whole numbers as its values, as a segmentation has; choose the CT scan itself."
        )


def _are_labels(voxels: np.ndarray, lowest: float) -> bool:
    if lowest != 0:
        return False
    sample = voxels.ravel()[:: max(1, voxels.size // SAMPLED_VOXELS)]
    values = set(np.unique(sample).tolist())
    if len(values) > FEWEST_DISTINCT_VALUES or any(value != round(value) for value in values):
        return False
    for layer in voxels:
        values.update(np.unique(layer).tolist())
        if len(values) > FEWEST_DISTINCT_VALUES:
            return False
    return all(value == round(value) for value in values)


def _times(numbers: Iterable[float]) -> str:
    return " × ".join(f"{number:.3g}" if isinstance(number, float) else f"{number}" for number in numbers)
