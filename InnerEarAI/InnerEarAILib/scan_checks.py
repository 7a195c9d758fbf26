"""What every scan must pass before it is worked on, wherever it came from: a file, a DICOM folder, a scene."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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

LEAST_PADDING_SHARE = 0.001
"""Share of the voxels with exactly the lowest value above which it may be a scanner's mark for “not measured”; ours."""

PADDING_DISTANCE = 2.0
"""What lies further below the other values than this many times their width (1st to 99th percentile) is neither tissue
nor air. In Hounsfield units a head is 2000 wide: the usual -3024 stays, since the networks' normalisation bears it;
-10240 and -32768 do not; ours."""

MARK_DISTANCE = 0.1
"""A single lowest value this many times the width of the others below all of them is a scanner's mark as well, though
the normalisation bears it: some 200 Hounsfield units, where noise and partial volumes leave no such gap; ours."""

SMALLEST_RANGE = 1e4 * float(np.finfo(np.float32).tiny)
"""Values closer to each other than this are rounded away in float32."""

SAMPLED_VOXELS = 1_000_000
"""How many voxels are looked at before all of them are."""


def check_scan(volume: Volume) -> None:
    """Refuses what cannot be a CT of an ear.

    Args:
        volume: any scan; its shape, spacing and values are looked at, in this order.

    Raises:
        InputError: no voxels, too many, spacing out of range, too small for an ear, complex numbers, NaN or infinity,
            the same value everywhere, numbers that float32 cannot hold, or a label map; one sentence.
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


class MeasuredScan(NamedTuple):
    """A scan, and where it was not measured.

    Attributes:
        volume: with marks of “not measured” that lie far below all values raised to the lowest value that was measured.
        unmeasured: bool, where there are marks, raised or not; None where there are none.
        note: a sentence on what was raised, or None.
    """

    volume: Volume
    unmeasured: Volume | None = None
    note: str | None = None


def measured_scan(volume: Volume) -> MeasuredScan:
    """What every network is shown of a scan, after check_scan and without_padding.

    Raises:
        InputError: see check_scan.
    """
    check_scan(volume)
    return without_padding(volume)


def without_padding(volume: Volume) -> MeasuredScan:
    """The scan with what was not measured raised to the lowest value that was, as air is.

    Scanners fill the corners outside their field with a value of their own. One far below all others would be what the
    networks' normalisation takes for dark, and all tissue one shade.

    Args:
        volume: as check_scan lets it through, in any unit.

    Returns:
        With the same volume where there is nothing to raise. Also raised is what interpolation left between the padding
        and the scan.
    """
    voxels = volume.voxels
    lowest = voxels.min()
    step = max(1, round((voxels.size / SAMPLED_VOXELS) ** (1 / 3)))
    sample = voxels[::step, ::step, ::step]
    others = sample[sample > lowest].astype(np.float64)
    if others.size == 0:
        return MeasuredScan(volume)
    low, high = np.quantile(others, (0.01, 0.99))
    width = high - low
    if not 0 < MARK_DISTANCE * width < low - float(lowest):
        return MeasuredScan(volume)
    within = (layer[(layer >= low - width) & (layer > lowest)] for layer in voxels)
    floor = min(values.min() for values in within if values.size)
    share = sum(np.count_nonzero(layer == lowest) for layer in voxels) / voxels.size
    distance = (float(floor) - float(lowest)) / width
    if distance <= MARK_DISTANCE or share <= LEAST_PADDING_SHARE:
        return MeasuredScan(volume)
    if distance <= PADDING_DISTANCE:
        return MeasuredScan(volume, volume.with_voxels(voxels == lowest))
    note = f"{100 * share:.3g} % of the voxels have the value {float(lowest):g}: taken as lying outside the scan."
    return MeasuredScan(volume.with_voxels(np.maximum(voxels, floor)), volume.with_voxels(voxels < floor), note)


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
            f"{MOST_VOXELS / 1e6:.0f} million that are worked on; crop it to the temporal bone, or resample it "
            "to larger voxels, first."
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
    if voxels.dtype.kind == "f" and voxels.dtype.itemsize > 8:
        raise InputError(
            f"The voxels of the scan are of type {voxels.dtype}, which is not worked on; save it in 32-bit numbers."
        )
    if voxels.dtype.kind == "f" and not all(np.isfinite(layer).all() for layer in voxels):
        raise InputError(
            "The scan has voxels that are not numbers (NaN or infinite); replace them, for example by the value of air."
        )
    lowest, highest = voxels.min(), voxels.max()
    if lowest == highest:
        raise InputError(
            f"Every voxel of the scan has the same value ({float(lowest):g}): there is nothing to see in it."
        )
    if not SMALLEST_RANGE <= _range_in_float32(lowest, highest) < np.inf:
        raise InputError(
            f"The values of the scan, {float(lowest):.6g} to {float(highest):.6g}, are lost in 32-bit numbers; "
            "export it in Hounsfield units."
        )
    if _are_labels(voxels, lowest):
        raise InputError(
            "The image has a few whole numbers as its values, as a segmentation has; choose the CT scan itself."
        )


def _range_in_float32(lowest: float, highest: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(highest)) - float(np.float32(lowest))


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
